"""Edit a picture's regions, or list them.

python scripts/edit.py --image a.png --list --out regions.png
python scripts/edit.py --image a.png --move 2 0.1 -0.2 --remove 3 --out b.png
python scripts/edit.py --image a.png --plan plan.json --out b.png
python scripts/edit.py --image a.png --plan b.png --out again.png      (the plan lies in the picture)
"""

from __future__ import annotations

import sys

from gen.editing.command import main
from gen.segmentation.named import SEGMENTERS

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], SEGMENTERS, __doc__))
