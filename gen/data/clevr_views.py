"""CLEVR scenes seen by several cameras as a dataset: pictures, masks, and how cameras and objects are turned."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen.data.clevr_masks import DEPTH_REACH, MIDDLE_DEPTH
from gen.data.clip_data import ClipData, ClipFrame, Shot
from gen.data.picture import Picture
from gen.data.viewpoint import Viewpoint, turn
from image_utils import io

CLASSES = {
    "clevr_shape": ("shape", ("cube", "sphere", "cylinder", "horse", "dolphin")),
    "clevr_colour": ("color", ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow")),
    "clevr_material": ("material", ("rubber", "metal")),
    "clevr_size": ("size", ("large", "small")),
}
_PERIODS = {"cube": 90, "sphere": 0, "cylinder": 0, "horse": 360, "dolphin": 360}


@dataclass(kw_only=True)
class ClevrViews(ClipData):
    """Multi-view CLEVR: every scene is a clip whose frames are its views, and the pairs are views of one scene.

    `scenes/<scene>.json` (objects with `shape`, `color`, `material`, `size`, `rotation`, `3d_coords` and `pixel_coords` a view;
    `camera.location` a view; `depth_orders`: the objects of a view in the order of its labels), `images/<scene>_00.png`, ... and
    `masks/<scene>_00.npy`, ... (height x width x channels; channel 0 is the label map).

    Cameras look at the world's origin, z up. An object's `rotation` is a turn about its vertical axis in radians, though drawn in
    [0, 360), as in CLEVR's own script. Labels: `CLASSES`; a value that is not listed is unknown. Depth as in `ClevrMasks`.

    Source: multi-view CLEVR of https://github.com/NanboLi/MulMON, MIT.
    """

    root: str = "data/clevr_multiview"
    max_frame_distance: int = 9

    label_names = tuple(CLASSES)
    camera_distance = MIDDLE_DEPTH

    def clips(self) -> list[tuple[Path, int]]:
        """List the scenes by name."""
        scenes = sorted(Path(self.root, "scenes").glob("*.json"))
        if not scenes:
            raise ValueError(f"dataset.root={self.root!r} holds no scenes/*.json; give the folder that holds scenes, images and masks")
        views = Counter(path.stem[: -len("_00")] for path in Path(self.root, "images").glob("*_[0-9][0-9].png"))
        return [(scene, views[scene.stem]) for scene in scenes]

    def check(self, entry: ClipFrame) -> None:
        """Refuse a view with a bad header, or without its mask."""
        image, mask = self._paths(*entry[:2])
        io.check_image(image)
        if not mask.is_file():
            raise ValueError(f"{mask} is missing beside {image}; download the scene again")

    def shots(self, clip: Path, frames: list[int]) -> list[Shot]:
        """Read views of a scene."""
        try:
            scene = json.loads(clip.read_text(encoding="utf-8"))
            told = [_told(scene, frame) for frame in frames]
        except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{clip} is not what multi-view CLEVR has ({type(error).__name__}: {error}); download it again") from error
        shots = []
        for frame, (viewpoint, ids, known) in zip(frames, told, strict=True):
            image, mask = self._paths(clip, frame)
            shots.append(Shot(Picture(io.load_image(image), _label_map(mask, ids), **known, name=image.name), viewpoint))
        return shots

    def _paths(self, clip: Path, frame: int) -> tuple[Path, Path]:
        name = f"{clip.stem}_{frame:02d}"
        return Path(self.root, "images", f"{name}.png"), Path(self.root, "masks", f"{name}.npy")


def _told(scene: dict[str, Any], frame: int) -> tuple[Viewpoint, Int[np.ndarray, " m"], dict[str, Any]]:
    """Return a view's camera, the id of each of its labels, and what is known of the objects: fields of `Picture`."""
    viewpoint = Viewpoint.looking_at(_point(scene["camera"]["location"][frame]), np.zeros(3))
    objects = dict(enumerate(scene["objects"], start=1))
    middles = {key: _point(item["3d_coords"]) for key, item in objects.items()}
    halves = {key: float(item["rotation"]) / 2 for key, item in objects.items()}
    turns = {key: turn(np.array([math.cos(half), 0.0, 0.0, math.sin(half)])) for key, half in halves.items()}
    labels = {
        name: {key: values.index(item[given]) if item[given] in values else -1 for key, item in objects.items()}
        for name, (given, values) in CLASSES.items()
    }
    rotations = {key: viewpoint.rotation(middles[key], turns[key]) for key in objects}
    periods = {key: _PERIODS.get(item["shape"], -1) for key, item in objects.items()}
    depth = {key: float((viewpoint.seen(middle)[2] - MIDDLE_DEPTH) / DEPTH_REACH) for key, middle in middles.items()}
    # The place of an object in the view's order, counted from 1, is its label; object i of the list has the id i + 1.
    ids = np.array([0, *(number + 1 for number in scene["depth_orders"][frame])])
    return viewpoint, ids, {"labels": labels, "rotations": rotations, "rotation_period": periods, "depth": depth}


def _point(numbers: list[float]) -> Float[np.ndarray, "3"]:
    point = np.array(numbers, np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise ValueError(f"{numbers} is no point")
    return point


def _label_map(path: Path, ids: Int[np.ndarray, " m"]) -> Int[Tensor, "h w"]:
    """Return the ids of a file's labels, which are the numbers of `ids`."""
    try:
        labels = np.load(path, mmap_mode="r", allow_pickle=False)[:, :, 0].astype(np.int64)  # mapped, so not larger than the file
    except (ValueError, EOFError, IndexError) as error:
        raise ValueError(f"mask {path} cannot be read ({error}); download the scene again") from error
    if labels.min() < 0 or labels.max() >= len(ids):
        raise ValueError(f"mask {path} has labels {labels.min()}..{labels.max()} for {len(ids) - 1} objects; download the scene again")
    return torch.from_numpy(ids[labels])
