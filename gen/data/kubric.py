"""Scenes that Kubric's workers wrote, as a dataset: frames, instances, and how cameras and objects are turned."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from gen.data.clip_data import ClipData, ClipFrame, Shot
from gen.data.picture import Picture
from gen.data.viewpoint import Viewpoint, turn
from image_utils import io

# Of Google Scanned Objects, in the order of MOVi's features.
GSO_CATEGORIES = (
    "Action Figures", "Bag", "Board Games", "Bottles and Cans and Cups", "Camera", "Car Seat", "Consumer Goods", "Hat", "Headphones",
    "Keyboard", "Legos", "Media Cases", "Mouse", "None", "Shoe", "Stuffed Toys", "Toys",
)  # fmt: skip

CAMERA_DISTANCE = 9.0  # MOVi's cameras stand 7 to 12 from the world's origin, around which the objects lie
_DEPTH_REACH = 5.0


@dataclass(frozen=True)
class Tracks:
    """Where the camera and the instances of one clip are, frame by frame, in Kubric's world (z up).

    Attributes:
        name: of the clip, for messages and contact sheets.
        camera_positions: of every frame.
        camera_quaternions: (w, x, y, z), from the camera's axes (x right, y up, z towards the viewer) to the world's.
        positions: of every instance in every frame.
        quaternions: (w, x, y, z), from the instance's axes to the world's.
        categories: number of each instance's category in `GSO_CATEGORIES`, -1 where it has none.
    """

    name: str
    camera_positions: Float[np.ndarray, "s 3"]
    camera_quaternions: Float[np.ndarray, "s 4"]
    positions: Float[np.ndarray, "m s 3"]
    quaternions: Float[np.ndarray, "m s 4"]
    categories: Int[np.ndarray, " m"]

    def shot(self, frame: int, image: Image.Image, label_map: Int[Tensor, "h w"]) -> Shot:
        """Return a frame with all that is known of the instances it shows.

        Instance i has the id i + 1. Its depth is (distance along the optical axis - 9) / 5. One with a category is a scanned object: its
        rotation has no period, since its texture goes round with it, though the data would not say if it had none.

        Raises:
            ValueError: if a quaternion is no rotation or a number is not finite.
        """
        if frame >= len(self.camera_positions):
            raise ValueError(f"{self.name} tells the camera of {len(self.camera_positions)} frames, not of frame {frame}; render it again")
        seen = [key for key in label_map.unique().tolist() if 0 < key <= len(self.positions)]
        numbers = (self.camera_positions[frame], *(self.positions[key - 1, frame] for key in seen))
        if not all(np.isfinite(values).all() for values in numbers):
            raise ValueError(f"{self.name}: a position in frame {frame} is not finite; render it again")
        try:
            viewpoint = Viewpoint.of_blender(self.camera_positions[frame], self.camera_quaternions[frame])
            turns = {key: turn(self.quaternions[key - 1, frame]) for key in seen}
        except ValueError as error:
            raise ValueError(f"{self.name}, frame {frame}: {error}; render it again") from error
        middles = {key: self.positions[key - 1, frame] for key in seen}
        categories = {key: int(self.categories[key - 1]) for key in seen}
        picture = Picture(
            image,
            label_map,
            labels={"gso_category": categories},
            rotations={key: viewpoint.rotation(middles[key], turns[key]) for key in seen},
            rotation_period={key: 360 for key in seen if categories[key] >= 0},
            depth={key: float((viewpoint.seen(middles[key])[2] - CAMERA_DISTANCE) / _DEPTH_REACH) for key in seen},
            name=f"{self.name}, frame {frame}",
        )
        return Shot(picture, viewpoint)


@dataclass(kw_only=True)
class Kubric(ClipData):
    """What a worker of Kubric writes, in the layout that MOVi's workers have.

    A folder a scene: `rgba_00000.png`, ..., `segmentation_00000.png`, ... (instance i of the metadata has the value i + 1, 0 is the
    background) and `metadata.json` (`camera`, `instances`: positions and quaternions frame by frame, category). Other layers may lie
    beside them. Transparent pixels show white.

    Label `gso_category`: number in `GSO_CATEGORIES`. Source: https://github.com/google-research/kubric, Apache-2.0; what is rendered has
    the licence of its assets (Google Scanned Objects: CC BY 4.0, HDRI Haven: CC0).
    """

    root: str = "data/kubric"

    label_names = ("gso_category",)
    camera_distance = CAMERA_DISTANCE

    def clips(self) -> list[tuple[Path, int]]:
        """List the scenes by name."""
        scenes = sorted(path.parent for path in Path(self.root).glob("*/metadata.json"))
        counted = [(scene, len(list(scene.glob("rgba_*.png")))) for scene in scenes]
        clips = [(scene, count) for scene, count in counted if count]
        if not clips:
            raise ValueError(
                f"dataset.root={self.root!r} holds no scene of Kubric; give the folder of the scenes' folders, in each of which lie "
                "metadata.json, rgba_00000.png and segmentation_00000.png"
            )
        return clips

    def check(self, entry: ClipFrame) -> None:
        """Refuse a frame without its segmentation; scenes are many, so no header is read."""
        for path in _layers(entry.clip, entry.frame):
            if not path.is_file():
                raise ValueError(f"{path} is missing; render the scene again with kb.write_image_dict, or remove its folder")

    def shots(self, clip: Path, frames: list[int]) -> list[Shot]:
        """Read frames of a scene."""
        tracks = _tracks(clip / "metadata.json")
        shots = []
        for frame in frames:
            rgba, segmentation = _layers(clip, frame)
            shots.append(tracks.shot(frame, io.load_image(rgba), io.load_label_map(segmentation)))
        return shots


def _layers(scene: Path, frame: int) -> tuple[Path, Path]:
    return scene / f"rgba_{frame:05d}.png", scene / f"segmentation_{frame:05d}.png"


def _tracks(path: Path) -> Tracks:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        camera, instances = metadata["camera"], metadata["instances"]
        length = len(camera["positions"])
        return Tracks(
            path.parent.name,
            np.array(camera["positions"], np.float64).reshape(length, 3),
            np.array(camera["quaternions"], np.float64).reshape(length, 4),
            np.array([instance["positions"] for instance in instances], np.float64).reshape(len(instances), length, 3),
            np.array([instance["quaternions"] for instance in instances], np.float64).reshape(len(instances), length, 4),
            np.array([_category(instance) for instance in instances], np.int64),
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{path} is not what Kubric's workers write ({reason}); it needs positions and quaternions of each frame, of the camera and of "
            "every instance; render the scene again, or remove its folder"
        ) from error


def _category(instance: dict[str, Any]) -> int:
    name = instance.get("category")
    return GSO_CATEGORIES.index(name) if name in GSO_CATEGORIES else -1
