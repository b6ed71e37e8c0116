"""Compare methods on held-out scenes against the rendered truth, or check the shipped model's row.

python scripts/benchmark.py --quick
python scripts/benchmark.py --methods scripts/benchmark_methods.json --out docs/results/benchmark

The methods file is a list of {"name": ..., "kind": "pipeline", "folders": ["outputs/a/pipeline", ...]}: a folder for each training seed,
"shipped" for the package's weights. A key "cannot" lists operations that a method is not asked for: a dash in the tables. The first method
is ours: targets, differences and noise floors are told of it.
"""

from __future__ import annotations

import argparse
import sys
from functools import reduce
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; 1 if --quick finds a figure that differs, 2 if something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--quick", action="store_true", help="measure the shipped model's main row again, on 64 scenes")
    what.add_argument("--methods", type=Path, metavar="FILE", help="JSON list of methods")
    what.add_argument("--results", type=Path, nargs="+", metavar="FILE", help="join runs' benchmark_scenes.json, write their tables")
    parser.add_argument("--stored", type=Path, default=Path("docs/results/benchmark/benchmark.json"), help="what --quick compares with")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark"), help="folder for tables, JSON and pictures")
    parser.add_argument("--scenes", type=int, default=256, help="of every operation and split")
    parser.add_argument("--operations", nargs="+", help="all if left out")
    parser.add_argument("--splits", nargs="+", help="all if left out")
    parser.add_argument("--sampling-seeds", type=int, default=3, help="of the first method, for the noise floor")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)

    from gen.artefact import ArtefactError
    from gen.evaluation.benchmark import Results
    from gen.evaluation.evaluation import compare_methods
    from gen.evaluation.quick import measure_again
    from gen.evaluation.report import write_report

    try:
        if options.quick:
            table, same = measure_again(options.stored)
            print(table)
            return 0 if same else 1
        if options.results:
            write_report(options.out, reduce(Results.joined, map(Results.load, options.results)))
            return 0
        choices = (options.scenes, options.operations, options.splits, options.sampling_seeds, options.steps, options.device)
        compare_methods(options.methods, options.out, *choices)
        print(f"tables: {options.out / 'benchmark.md'}")
    except (ArtefactError, ValueError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
