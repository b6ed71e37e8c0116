"""Score a pipeline on held-out scenes against rendered counterfactuals; writes a table and a picture.

python scripts/evaluate.py --pipeline outputs/demo_exp/pipeline --out outputs/demo_exp/evaluation
"""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import date
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, print the table, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, help="a pipeline folder; the shipped weights if left out")
    parser.add_argument("--out", type=Path, required=True, help="folder for figures.json, figures.md and edits.png")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--preset", default="simple", choices=("simple", "standard", "hard"))
    parser.add_argument("--steps", type=int, default=10, help="denoising steps")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling noise")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    import torch

    from gen.artefact import ArtefactError
    from gen.evaluation.benchmark import run_edits, score
    from gen.evaluation.counterfactuals import build_cases
    from gen.evaluation.report import table, write_report
    from gen.models.pipeline import RegionPipeline, shipped_folder

    folder = options.pipeline or shipped_folder()
    try:
        pipeline = RegionPipeline.from_pretrained(folder, device=options.device)
    except ArtefactError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    pipeline.set_progress_bar_config(disable=True)
    cases = build_cases(options.scenes, pipeline.resolution, pipeline.num_regions, options.preset)
    edited = run_edits(pipeline, cases, options.steps, options.seed)
    figures = score(edited, cases)
    hardware = (
        torch.cuda.get_device_name()
        if options.device.startswith("cuda")
        else f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"
    )
    facts = {
        "scenes": f"{options.scenes} held-out scenes, preset {options.preset}, {pipeline.resolution} px",
        "denoising steps": options.steps,
        "seed": options.seed,
        "hardware": hardware,
        "date": date.today().isoformat(),
    }
    write_report(options.out, figures, edited, cases, facts=facts)
    print(table(figures))
    print(f"\npicture: {options.out / 'edits.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
