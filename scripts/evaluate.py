"""Score a pipeline on held-out scenes against rendered counterfactuals; writes a table and a picture.

python scripts/evaluate.py --pipeline outputs/demo_exp/pipeline --out outputs/demo_exp/evaluation
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, print the table, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, help="a pipeline folder; the shipped weights if left out")
    parser.add_argument("--out", type=Path, required=True, help="folder for figures.json, figures.md and edits.png")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--preset", default="simple", choices=("simple", "unseen_pairs", "five_objects"))
    parser.add_argument("--steps", type=int, default=4, help="denoising steps")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling noise")
    parser.add_argument("--scene-seed", type=int, help="of the scenes; those for development if left out")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    from gen.artefact import ArtefactError
    from gen.evaluation.evaluation import Evaluation
    from gen.models.pipeline import shipped_folder

    evaluation = Evaluation(
        num_scenes=options.scenes,
        preset=options.preset,
        num_inference_steps=options.steps,
        seed=options.seed,
        scene_seed=options.scene_seed,
        device=options.device,
    )
    try:
        evaluation(options.pipeline or shipped_folder(), options.out)
    except (ArtefactError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print((options.out / "figures.md").read_text())
    print(f"picture: {options.out / 'edits.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
