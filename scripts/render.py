"""Render scenes into files: NAME.png, its regions as NAME.mask.png, and the scene itself as NAME.json.

python scripts/render.py --scenes 16 10 --names table mugs --out pictures       (the scenes of docs/examples)
python scripts/render.py --preset standard --resolution 128 --seed 7 --scenes 0 1 2 --out pictures
python scripts/render.py --scenes 16 --frame 8 --names later --out pictures      its objects some steps later
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gen.scenes import PRESETS, clip, render, sample_scene
from image_utils.convert import to_pil
from image_utils.io import save_image, save_label_map

HELD_OUT = 2_000_003  # the seed of scenes that no experiment trains on and no benchmark scores


def main(arguments: list[str] | None = None) -> int:
    """Render the scenes and say where they are; files that exist are refused before anything is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="simple", choices=PRESETS)
    parser.add_argument("--seed", type=int, default=HELD_OUT, help="of the scenes (default: one that is never trained on)")
    parser.add_argument("--scenes", type=int, nargs="+", default=[0], metavar="NUMBER", help="which scenes of the seed")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="one a scene (default: scene_NUMBER)")
    parser.add_argument("--resolution", type=int, default=64, help="side in pixels, a multiple of 4")
    parser.add_argument("--frame", type=int, default=0, help="of a clip that begins with the scene")
    parser.add_argument("--clip-seed", type=int, default=0, help="which of the possible clips")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    options = parser.parse_args(arguments)
    names = options.names or [f"scene_{number}" for number in options.scenes]
    if len(names) != len(options.scenes):
        parser.error(f"--names: {len(names)} names for {len(options.scenes)} scenes; give one a scene")
    if len(set(names)) < len(names):
        parser.error(f"--names: {' '.join(names)}: two scenes of one name would be one file; give each scene its own")
    files = [options.out / f"{name}.{kind}" for name in names for kind in ("png", "mask.png", "json")]
    there = [path for path in files if path.exists()]
    if there:
        parser.error(f"{there[0]} exists; give other --names or another --out, or delete it")
    try:
        scenes = [sample_scene(options.seed, number, options.preset) for number in options.scenes]
        specs = [clip(scene, options.frame + 1, options.clip_seed)[-1] for scene in scenes]
        rendering = render(specs, options.resolution)
    except ValueError as error:
        parser.error(str(error))
    for name, spec, pixel_values, label_map in zip(names, specs, rendering.pixel_values, rendering.label_map, strict=True):
        save_image(to_pil(pixel_values), options.out / f"{name}.png")
        save_label_map(label_map, options.out / f"{name}.mask.png")
        (options.out / f"{name}.json").write_text(spec.to_json() + "\n")
    print(f"wrote {len(names)} scenes to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
