"""Refine the tokens of held-out scenes and print the figures of their reconstructions, moves and removals before and after.

python scripts/refine.py --out docs/results/refinement
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main(arguments: list[str] | None = None) -> None:
    """Refine, score, write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, help="a pipeline folder; the shipped weights if left out")
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--new-regions", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)

    from gen.editing.refine import Refinement
    from gen.evaluation.oracle import shipped_oracle
    from gen.evaluation.refinement import measure_refinement
    from gen.models.pipeline import RegionPipeline, shipped_folder

    pipeline = RegionPipeline.from_pretrained(options.pipeline or shipped_folder())
    settings = Refinement(num_steps=options.steps, num_new_regions=options.new_regions, seed=options.seed)
    print(measure_refinement(pipeline, options.scenes, settings, options.out, shipped_oracle()))


if __name__ == "__main__":
    main()
