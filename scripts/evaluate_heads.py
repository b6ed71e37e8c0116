"""Score a pipeline's heads on held-out scenes: labels, rotations, and how much position the tokens tell.

python scripts/evaluate_heads.py --pipeline outputs/heads_exp/pipeline --out outputs/heads_exp/heads
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Evaluate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, required=True, help="a pipeline folder of a model that was trained with heads")
    parser.add_argument("--out", type=Path, help="folder for heads.json and heads.md; nothing is written if left out")
    parser.add_argument("--scenes", type=int, default=256)
    parser.add_argument("--preset", default="simple", choices=("simple", "standard", "hard"))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    from gen.artefact import ArtefactError
    from gen.evaluation.heads import HeadsEvaluation, table
    from gen.models.pipeline import RegionPipeline

    try:
        pipeline = RegionPipeline.from_pretrained(options.pipeline, device=options.device)
        figures = HeadsEvaluation(num_scenes=options.scenes, preset=options.preset)(pipeline, options.out)
    except (ArtefactError, ValueError) as error:
        print(f"evaluate_heads: {error}", file=sys.stderr)
        return 2
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
