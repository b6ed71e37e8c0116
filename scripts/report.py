"""Turn a run's folder into one HTML page, or several runs' into one that compares them; needs neither the model nor a network.

python scripts/report.py outputs/demo_exp
python scripts/report.py outputs/demo_exp outputs/other --out comparison.html

A page that is there is replaced: it is derived from the folders, which may belong to runs that are still training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Write the page and say where it is; 2 if there is no such run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    parser.add_argument("--out", type=Path, help="the page; RUN/report.html if left out, of several runs it has to be given")
    options = parser.parse_args(arguments)
    if options.out is None and len(options.runs) > 1:
        parser.error("several runs make one page: say where, with --out comparison.html")

    from gen.report.page import write_run_page

    out = options.out or options.runs[0] / "report.html"
    try:
        write_run_page(options.runs, out)
    except ValueError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"report: {error}; say with --out where the page can be written", file=sys.stderr)
        return 2
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
