"""Copy a trained pipeline into the package, in half precision; gen/weights/scenes64 came from these two commands.

python train.py +experiment=scenes64 && python scripts/ship_weights.py --pipeline outputs/scenes64/pipeline
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

MOST_MEGABYTES = 12.5


def main(arguments: list[str] | None = None) -> int:
    """Load, halve, save, and refuse what is too large for a package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="the package's own folder if left out")
    options = parser.parse_args(arguments)

    import torch

    from gen.models.pipeline import RegionPipeline, shipped_folder

    pipeline = RegionPipeline.from_pretrained(options.pipeline)
    megabytes = (
        sum(2 * p.numel() for part in pipeline.components.values() if isinstance(part, torch.nn.Module) for p in part.parameters()) / 1e6
    )
    if megabytes > MOST_MEGABYTES:
        print(
            f"ship_weights: {options.pipeline} has {megabytes:.1f} MB of weights in half precision, more than {MOST_MEGABYTES}",
            file=sys.stderr,
        )
        return 2
    out = options.out or shipped_folder()
    pipeline.to(torch.float16).save_pretrained(out)
    print(f"{out}: {megabytes:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
