"""Write the appearance tokens of rendered objects with their labels to a safetensors file.

python scripts/export_tokens.py --pipeline outputs/demo_exp/pipeline --out outputs/demo_exp/tokens.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Render, encode, write, and say how many objects there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, help="a pipeline folder; the shipped weights if left out")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file")
    parser.add_argument("--scenes", type=int, default=528)
    parser.add_argument("--split", default="simple", help="preset of the scenes")
    parser.add_argument("--seed", type=int, help="of the scenes; that of the probes' training scenes if left out")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    from gen.artefact import ArtefactError
    from gen.evaluation.tokens import TRAIN_SEED, collect, write_tokens
    from gen.models.pipeline import RegionPipeline, shipped_folder

    folder, seed = options.pipeline or shipped_folder(), TRAIN_SEED if options.seed is None else options.seed
    try:
        pipeline = RegionPipeline.from_pretrained(folder, device=options.device)
        tokens = collect(pipeline, options.scenes, options.split, seed, name=folder.resolve().name)
    except (ArtefactError, ValueError) as error:
        print(f"export_tokens: {error}", file=sys.stderr)
        return 2
    write_tokens(options.out, tokens)
    objects, queries, width = tokens.tokens.shape
    print(f"{options.out}: {objects} objects, {queries} tokens of {width} numbers each; labels {', '.join(tokens.labels)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
