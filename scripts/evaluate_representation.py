"""Measure what the appearance tokens of a pipeline tell: probes, context leakage, swap test, DCI; writes a table.

python scripts/evaluate_representation.py --pipeline outputs/demo_exp/pipeline --out outputs/demo_exp/representation
python scripts/evaluate_representation.py --tokens train.safetensors test.safetensors --out outputs/representation
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Measure, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, help="a pipeline folder; the shipped weights if left out")
    parser.add_argument("--tokens", type=Path, nargs=2, metavar=("TRAIN", "TEST"), help="exported tokens instead: probes and DCI only")
    parser.add_argument("--out", type=Path, required=True, help="folder for representation.json and representation.md")
    parser.add_argument("--split", default="simple", help="preset of the scenes on which is measured")
    parser.add_argument("--train-scenes", type=int, default=528, help="to which the probes are fitted")
    parser.add_argument("--test-scenes", type=int, default=176)
    parser.add_argument("--no-oracle", action="store_true", help="leave the swap test out")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    from gen.artefact import ArtefactError
    from gen.evaluation.probes import fit_probes
    from gen.evaluation.report import circumstances, write_table
    from gen.evaluation.representation import evaluate_representation, table, token_figures
    from gen.evaluation.tokens import read_tokens
    from gen.models.pipeline import RegionPipeline, shipped_folder

    try:
        if options.tokens:
            train, test = (read_tokens(path) for path in options.tokens)
            facts: dict = {"trained on": str(train.origin), "tested on": str(test.origin)}
            figures = token_figures(train, test, fit_probes(train))
        else:
            from gen.evaluation.oracle import shipped_oracle

            folder, oracle = options.pipeline or shipped_folder(), None if options.no_oracle else shipped_oracle()
            pipeline = RegionPipeline.from_pretrained(folder, device=options.device)
            numbers = {"num_train_scenes": options.train_scenes, "num_test_scenes": options.test_scenes, "split": options.split}
            facts = {"pipeline": folder.resolve().name, "resolution": pipeline.resolution, **numbers}
            figures = evaluate_representation(pipeline, oracle, **numbers)
    except (ArtefactError, ValueError) as error:
        print(f"evaluate_representation: {error}", file=sys.stderr)
        return 2
    write_table(options.out, "representation", {"figures": figures}, table(figures), facts | circumstances(options.device))
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
