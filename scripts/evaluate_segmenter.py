"""Score segmenters on held-out rendered scenes: ARI, FG-ARI and mean best overlap in both conventions.

python scripts/evaluate_segmenter.py classical superpixels whole_picture ground_truth --out docs/results/segmenters
python scripts/evaluate_segmenter.py classical sam_tiny --out docs/results/masks
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SEGMENTERS = {"classical": "Classical", "superpixels": "Superpixels", "whole_picture": "WholePicture", "ground_truth": "GroundTruth"}
SEGMENTERS |= {"sam_tiny": "Sam"}


def main(arguments: list[str] | None = None) -> int:
    """Render, segment, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segmenters", nargs="+", choices=SEGMENTERS)
    parser.add_argument("--out", type=Path, help="folder for segmenters.json and segmenters.md; nothing is written if left out")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--preset", default="simple", choices=("simple", "standard", "hard"))
    parser.add_argument("--resolution", type=int, default=64, help="side of the pictures, in pixels")
    options = parser.parse_args(arguments)

    from dataclasses import asdict

    from gen import scenes, segmentation
    from gen.evaluation.cases import DEVELOPMENT_SEED
    from gen.evaluation.report import circumstances, write_table
    from gen.evaluation.segmentation_metrics import score_segmenter, score_table
    from gen.segmentation.sams.sam import Sam

    try:
        specs = [scenes.sample_scene(DEVELOPMENT_SEED, number, options.preset) for number in range(options.scenes)]
        truth = scenes.render(specs, options.resolution)
        made = {name: getattr(segmentation, SEGMENTERS[name])() for name in options.segmenters if name != "sam_tiny"}
        made |= {"sam_tiny": Sam(weights="tiny", device="cpu")} if "sam_tiny" in options.segmenters else {}
        scores = {name: score_segmenter(segmenter, truth.pixel_values, truth.label_map) for name, segmenter in made.items()}
    except ValueError as error:
        print(f"evaluate_segmenter: {error}", file=sys.stderr)
        return 2
    table = score_table(scores)
    print(table)
    if options.out:
        facts = {
            "scenes": f"{options.scenes} held-out scenes, preset {options.preset}, {options.resolution} px",
            "scene seed": DEVELOPMENT_SEED,
            "settings": ", ".join(str(segmenter) for segmenter in made.values()),
        }
        write_table(options.out, "segmenters", {name: asdict(score) for name, score in scores.items()}, table, facts | circumstances("cpu"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
