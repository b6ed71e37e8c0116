"""Break trainings in every way that is documented to do no harm, and write the table of faults tried, survived and bit-identical.

python scripts/fault_drill.py                           the whole matrix; minutes on two threads
python scripts/fault_drill.py --faults 12 --seed 1      a part of it, at other moments

Linux only. Disks are filled where a small one can be mounted: as root, or under `unshare -rm`. Exit status 1 if anything was lost, differs,
or did not strike.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from gen.training.fault_drill.drill import Drill, draw_faults, report
from gen.training.fault_drill.struck_run import WORDS, LostError, NoStrikeError


def main(arguments: list[str] | None = None) -> int:
    """Conduct the drill and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, help="how many, spread evenly over the matrix; all of it once if left out")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--out", type=Path, default=Path("docs/fault_drill.md"))
    options = parser.parse_args(arguments)

    options.out.parent.mkdir(parents=True, exist_ok=True)
    begin, faults = time.monotonic(), draw_faults(options.seed, options.faults)
    program = (sys.executable, str(Path(__file__).parents[1] / "train.py"), *WORDS)
    drill = Drill(program, Path(tempfile.mkdtemp(prefix="fault_drill_")), options.jobs)
    try:
        drill.prepare()
    except (LostError, NoStrikeError) as error:
        print(f"fault_drill: nobody disturbed it, and yet {error}; all it said is in {drill.work}", file=sys.stderr)
        return 2
    outcomes = drill.run(faults)
    command = shlex.join(["python", "scripts/fault_drill.py", *(arguments or sys.argv[1:])])
    options.out.write_text(report(outcomes, options.seed, command, (time.monotonic() - begin) / 60))
    bad = sum(not outcome.good for outcome in outcomes)
    print(f"{options.out}: {len(outcomes)} faults, {sum(outcome.identical for outcome in outcomes)} bit-identical, {bad} bad")
    if bad:
        print(f"what they left is in {drill.work}", file=sys.stderr)
    else:
        shutil.rmtree(drill.work)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
