"""Time automatic masks beside the generator of the `segment_anything` package: same weights, picture and grid, in turns.

python scripts/benchmark_masks.py --weights random --repeats 2 --out docs/results/masks
python scripts/benchmark_masks.py --weights random --points_per_side 32 --repeats 1 --out docs/results/masks
python scripts/benchmark_masks.py --weights tiny --out docs/results/masks

Random weights are a ViT-B that sees a photograph at 1024 px; the tiny network comes with the package and sees a rendered scene. IoU is of
each mask's best match in the other set: of the reference's masks, then of ours.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Compare, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="random", choices=("random", "tiny"))
    parser.add_argument("--points_per_side", type=int, default=16)
    parser.add_argument("--dtypes", nargs="+", default=["fp32", "bf16"], choices=("fp32", "bf16"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="our image encoder through torch.compile")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for <weights>_<points>.json and .md; nothing is written if left out")
    options = parser.parse_args(arguments)

    import torch

    from gen.evaluation.mask_benchmark import compare, comparison_table, mask_case
    from gen.evaluation.report import circumstances, write_table
    from gen.segmentation.sams.promptable_weights import computes_in

    torch.set_num_threads(options.threads)
    try:
        case = mask_case(options.weights, options.points_per_side, options.device, options.seed)
        dtypes = {name: computes_in(name, torch.device(case.device)) for name in options.dtypes}
        result = compare(case, dtypes, options.repeats, options.compile)
    except ValueError as error:
        print(f"benchmark_masks: {error}", file=sys.stderr)
        return 2
    table = comparison_table(result)
    print(table)
    if options.out:
        facts = {"command": " ".join(["python scripts/benchmark_masks.py", *(arguments or sys.argv[1:])]), "seed": options.seed}
        facts |= {"weights": options.weights, "picture": f"{case.picture.shape[2]} x {case.picture.shape[1]} pixels"}
        facts |= {"settings": case.settings, "repetitions": options.repeats}
        write_table(options.out, f"{options.weights}_{options.points_per_side}", result, table, facts | circumstances(case.device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
