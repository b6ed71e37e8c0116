"""Say how accurate the oracle is, on held-out true renders; gen/weights/oracle64 came from the first command and a copy of its pipeline.

python train.py +experiment=oracle
python scripts/evaluate_oracle.py --oracle outputs/oracle/pipeline --out outputs/oracle/accuracy
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Evaluate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=Path, help="the folder of a trained oracle; the one that comes with the package if left out")
    parser.add_argument("--out", type=Path, help="folder for oracle.json and oracle.md; nothing is written if left out")
    parser.add_argument("--scenes", type=int, default=256, help="of each split")
    options = parser.parse_args(arguments)
    if options.scenes < 1:
        parser.error(f"--scenes {options.scenes}: must be at least 1")

    from gen.artefact import ArtefactError
    from gen.evaluation.oracle import Oracle, shipped_oracle
    from gen.evaluation.oracle_accuracy import accuracies, table

    try:
        oracle = Oracle.from_pretrained(options.oracle) if options.oracle else shipped_oracle()
    except ArtefactError as error:
        print(f"evaluate_oracle: {error}", file=sys.stderr)
        return 2
    print(table(accuracies(oracle, options.scenes, options.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
