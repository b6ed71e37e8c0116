"""Draw a gallery: what a pipeline can do with pictures, as sheets with the figures beside them.

python scripts/gallery.py --out gallery                                    the shipped weights, two rendered scenes, every panel
python scripts/gallery.py --images a.png b.png --panels position_sweep removal_grid --out gallery
python scripts/gallery.py --images first.png --later last.png --panels interpolation --out gallery
python scripts/gallery.py --pipeline outputs/photos/pipeline --images photos/*.png --segmenter sam --out gallery
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from gen.gallery.previews import PANELS
from gen.segmentation.named import SEGMENTERS

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


def main(arguments: list[str] | None = None) -> int:
    """Open the pictures, draw, write, and print the page with every panel's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, help="folder of a trained pipeline (default: the one that comes with the package)")
    parser.add_argument("--images", type=Path, nargs="+", default=[EXAMPLES / "table.png", EXAMPLES / "mugs.png"], help="of any size")
    parser.add_argument("--later", type=Path, help="another frame of the picture, regions numbered alike: `interpolation` goes there")
    parser.add_argument("--panels", nargs="+", choices=PANELS, default=list(PANELS), metavar="PANEL", help=", ".join(PANELS))
    parser.add_argument("--segmenter", choices=list(SEGMENTERS), help="cut all pictures, also those with a NAME.mask.png")
    parser.add_argument("--steps", type=int, default=4, help="of denoising")
    parser.add_argument("--guidance-scale", type=float, default=1.0, help="1 is no guidance")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of a gallery that is there")
    options = parser.parse_args(arguments)
    from gen.evaluation.report import circumstances
    from gen.gallery import gallery
    from gen.gallery.panel import Sampling
    from gen.models.pipeline import RegionPipeline

    try:
        if not options.overwrite:
            gallery.refuse_existing(options.out, [path.stem for path in options.images], options.panels)
        sampling = Sampling(num_inference_steps=options.steps, guidance_scale=options.guidance_scale, seed=options.seed)
        pipeline = RegionPipeline.from_pretrained(options.pipeline, options.device)
        pictures = gallery.open_pictures(pipeline, options.images, options.segmenter)
        later = None if options.later is None else gallery.open_pictures(pipeline, [options.later], options.segmenter)[options.later.stem]
        words = shlex.join(sys.argv[1:] if arguments is None else arguments)
        facts = {"command": f"python scripts/gallery.py {words}"} | circumstances(options.device)
        done = gallery.write(options.out, gallery.draw(pictures, options.panels, sampling, later), facts)
    except (ValueError, OSError) as error:
        print(f"gallery: {error}", file=sys.stderr)
        return 2
    print(f"{gallery.page(done, facts)}\nwrote {options.out / gallery.PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
