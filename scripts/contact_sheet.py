"""Draw what the rendered world looks like: scenes, their regions, one twin of each operation, a clip.

python scripts/contact_sheet.py --preset simple --out docs/scenes_simple.png

The columns of the rows "before" and "after" are move, remove, rotate, resize, recolour, swap, insert.
"""

from __future__ import annotations

import argparse
import sys
from itertools import count
from pathlib import Path

from gen.scenes import OPERATIONS, PRESETS, clip, make_twin, render, sample_scene
from image_utils.convert import to_pil
from image_utils.draw import overlay_regions
from image_utils.grid import image_grid
from image_utils.io import save_image

COLUMNS = len(OPERATIONS)


def main(arguments: list[str] | None = None) -> int:
    """Render the sheet and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="simple", choices=PRESETS)
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="docs/scenes_<preset>.png if left out")
    options = parser.parse_args(arguments)
    out = options.out or Path("docs") / f"scenes_{options.preset}.png"

    scenes = [sample_scene(options.seed, scene_id, options.preset) for scene_id in range(3 * COLUMNS)]
    numbers = count(len(scenes))
    twins = []
    for operation in OPERATIONS:  # the next scene that has such a twin
        candidates = (make_twin(sample_scene(options.seed, next(numbers), options.preset), operation, options.seed) for _ in range(100))
        twins.append(next(twin for twin in candidates if twin is not None))
    frames = clip(scenes[1], COLUMNS, options.seed)
    specs = [*scenes, *(twin.before for twin in twins), *(twin.after for twin in twins), *frames]
    rendering = render(specs, options.resolution, supersampling=3)
    pictures = [to_pil(pixel_values) for pixel_values in rendering.pixel_values]
    rows = [pictures[i : i + COLUMNS] for i in range(0, len(pictures), COLUMNS)]
    regions = [overlay_regions(picture, label_map) for picture, label_map in zip(pictures[:COLUMNS], rendering.label_map, strict=False)]
    rows.insert(1, regions)
    save_image(image_grid(rows, row_labels=["scenes", "regions", "scenes", "scenes", "before", "after", "clip"]), out)
    print(f"{out}: preset {options.preset}, seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
