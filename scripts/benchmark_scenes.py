"""Measure how many scenes one core draws and renders a second, and print a fingerprint of the pictures.

python scripts/benchmark_scenes.py --images 64

Times are processor times of one thread, so that other programs disturb little. The fingerprint is the start of the SHA-256 of all
outputs: equal on every machine where the renderer promises equal bits.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from dataclasses import fields

import torch

from gen.scenes import PRESETS, Rendering, render, sample_scene


def main(arguments: list[str] | None = None) -> int:
    """Print one line for each preset, resolution and supersampling."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=PRESETS)
    parser.add_argument("--resolutions", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--supersampling", nargs="+", type=int, default=[1, 2])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"{'preset':9} {'pixels':>6} {'s':>2} {'sampled/s':>10} {'rendered/s':>10}  fingerprint")
    for preset in options.presets:
        begin = time.process_time()
        specs = [sample_scene(0, scene_id, preset) for scene_id in range(options.images)]
        sampled = options.images / (time.process_time() - begin)
        for resolution in options.resolutions:
            for supersampling in options.supersampling:
                rendering = render(specs, resolution, supersampling)  # also warms up
                begin = time.process_time()
                render(specs, resolution, supersampling)
                rendered = options.images / (time.process_time() - begin)
                print(f"{preset:9} {resolution:6} {supersampling:2} {sampled:10.0f} {rendered:10.0f}  {fingerprint(rendering)}")
    return 0


def fingerprint(rendering: Rendering) -> str:
    """Hash the picture and all of its ground truth."""
    digest = hashlib.sha256()
    for field in fields(rendering):
        digest.update(getattr(rendering, field.name).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
