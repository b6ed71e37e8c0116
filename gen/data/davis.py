"""DAVIS 2017 as a dataset: frames of videos with the masks of their objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from gen.data.clip_data import ClipData, ClipFrame, Shot
from gen.data.picture import Picture
from image_utils import io

_VOID = 255  # pixels that nobody has labelled


class Video(NamedTuple):
    """A video and the names of its frames, in their order and without suffix; some data sets number every fifth."""

    name: str
    stems: tuple[str, ...]


@dataclass(kw_only=True)
class Davis(ClipData):
    """DAVIS 2017 at 480p, and every data set in its layout.

    `JPEGImages/480p/<video>/00000.jpg`, ..., `Annotations/480p/<video>/00000.png`, ... (palette or grey: 0 background, k the k-th object
    of the video, 255 unlabelled) and `ImageSets/2017/train.txt` and `val.txt` with a video's name a line. Where val.txt is missing,
    `num_held_out` videos are held out. Nothing is known of the objects but their masks.

    Source: https://davischallenge.org/davis2017/code.html, CC BY 4.0 (videos of others have the licences that its SOURCES.md names).
    """

    root: str = "data/DAVIS"

    def clips(self) -> list[tuple[Video, int]]:
        """List the videos of the training split."""
        names = self._listed("train")
        if not names:
            raise ValueError(
                f"dataset.root={self.root!r} lists no video in ImageSets/2017/train.txt; give the folder DAVIS that holds ImageSets, "
                "JPEGImages and Annotations"
            )
        return [self._clip(name) for name in names]

    def validation_clips(self) -> list[tuple[Video, int]] | None:
        """List the videos of the validation split."""
        names, trained_on = self._listed("val"), set(self._listed("train"))
        shared = [name for name in names if name in trained_on]
        if shared:
            raise ValueError(
                f"{Path(self.root, 'ImageSets', '2017')}: train.txt and val.txt share {len(shared)} videos, {shared[0]} for one; "
                "list each in one of them"
            )
        return [self._clip(name) for name in names] or None

    def check(self, entry: ClipFrame) -> None:
        """Refuse a frame with a bad header, or whose annotation is missing or has another size."""
        image, annotation = self._paths(entry.clip, entry.frame)
        size, found = io.check_image(image), io.check_label_map(annotation)
        if size != found:
            raise ValueError(
                f"annotation {annotation} is {found[0]}x{found[1]} pixels but its frame is {size[0]}x{size[1]}; take both of one download"
            )

    def shots(self, clip: Video, frames: list[int]) -> list[Shot]:
        """Read frames of a video."""
        shots = []
        for frame in frames:
            image, annotation = self._paths(clip, frame)
            label_map = io.load_label_map(annotation)
            label_map = torch.where(label_map == _VOID, 0, label_map)
            shots.append(Shot(Picture(io.load_image(image), label_map, name=f"{clip.name}/{image.name}")))
        return shots

    def _listed(self, split: str) -> list[str]:
        path = Path(self.root, "ImageSets", "2017", f"{split}.txt")
        names = path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []
        return list(dict.fromkeys(names))  # a video that is listed twice could be held out once

    def _clip(self, name: str) -> tuple[Video, int]:
        folder = self.inside("JPEGImages", "480p", name=name)
        stems = tuple(sorted(path.stem for path in folder.glob("*.jpg")))
        if not stems:
            raise ValueError(f"{folder} holds no frame, but ImageSets/2017 lists it; unpack the video or remove the line")
        return Video(name, stems), len(stems)

    def _paths(self, clip: Video, frame: int) -> tuple[Path, Path]:
        images, annotations = (Path(self.root, kind, "480p", clip.name) for kind in ("JPEGImages", "Annotations"))
        return images / f"{clip.stems[frame]}.jpg", annotations / f"{clip.stems[frame]}.png"
