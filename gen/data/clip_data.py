"""ClipData: the base of data sets of clips, or of scenes seen by several cameras: pairs of frames, and whole clips held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from gen.data.picture import Picture
from gen.data.picture_data import PictureData, drawn_to_hold_out
from gen.data.region_data import sample_seed
from gen.data.viewpoint import Viewpoint
from gen.segmentation import GroundTruth

_PAIRED, _WHICH = 2_000_003, 2_000_004  # seeds of the draws, far from those of the held-out clips


class Shot(NamedTuple):
    """One frame of a clip, and the camera that saw it where the data know it."""

    picture: Picture
    viewpoint: Viewpoint | None = None


class ClipFrame(NamedTuple):
    """Tells a frame apart: its clip, its number in it, the frames that the clip has, and the number from which its pair follows."""

    clip: Any
    frame: int
    length: int
    number: int | None


@dataclass(kw_only=True)
class ClipData(PictureData):
    """Base of data sets of clips: a subclass says which clips there are and reads frames of one; an object has one id in all of them.

    Every frame is a sample. Validation shows single frames, of clips of which no frame is trained on: first one of each clip.

    Attributes:
        pair_probability: share of the samples whose target is another frame of the clip, in [0, 1]; never when overfitting.
        max_frame_distance: largest distance of that frame from the source.
        num_held_out: clips kept for validation, drawn once; 0 validates on the training clips. Not used where the data set has a
            validation split of its own.
    """

    pair_probability: float = 0.5
    max_frame_distance: int = 8
    num_held_out: int = 8

    # About how far the data set's cameras stand from what they look at, in its own units: relative cameras tell lengths in units of it.
    camera_distance = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.pair_probability <= 1:
            raise ValueError(f"dataset.pair_probability={self.pair_probability} is not a probability in [0, 1]")
        if self.max_frame_distance < 1:
            raise ValueError(f"dataset.max_frame_distance={self.max_frame_distance} is too small; it must be at least 1")
        if self.pair_probability and not self.overfit_items and not isinstance(self.segmenter, GroundTruth):
            raise ValueError(
                f"dataset.segmenter={type(self.segmenter).__name__} cuts the two pictures of a pair independently, so region k would not "
                "be the same object in both; use dataset/segmenter=ground_truth, or single pictures: dataset.pair_probability=0"
            )
        self._held_out_clips: list[tuple[Any, int]] | None = None
        super().__post_init__()
        self._held_out = [entry._replace(number=None) for entry in self._held_out]
        # In an order that does not follow from what is held out.
        self._all = [ClipFrame(clip, frame, length, None) for clip, length in self._every_clip for frame in range(length)]

    def clips(self) -> list[tuple[Any, int]]:
        """Return what tells each clip apart and how many frames it has, in a fixed order; no pixel is read.

        Raises:
            ValueError: if the folder is not laid out as the data set is, naming what is missing.
        """
        raise NotImplementedError

    def validation_clips(self) -> list[tuple[Any, int]] | None:
        """Return the same of the data set's own validation split; None where it has none."""
        return None

    def shots(self, clip: Any, frames: list[int]) -> list[Shot]:
        """Read frames of one clip.

        Raises:
            ValueError: if a file is damaged, naming it.
        """
        raise NotImplementedError

    def entries(self) -> list[ClipFrame]:
        """List the frames of the training clips."""
        clips, self._held_out_clips = self.clips(), self.validation_clips()
        self._every_clip = [*clips, *(self._held_out_clips or [])]
        if self._held_out_clips is None and self.num_held_out:
            if not 0 <= self.num_held_out < len(clips):
                raise ValueError(
                    f"dataset.num_held_out={self.num_held_out} leaves no clip to train on: {self.root} holds {len(clips)}; "
                    "give more clips or a smaller number (0 validates on the training clips)"
                )
            held_out = set(drawn_to_hold_out(self.num_held_out, len(clips)))
            self._held_out_clips = [clip for index, clip in enumerate(clips) if index in held_out]
            clips = [clip for index, clip in enumerate(clips) if index not in held_out]
        places = [(clip, frame, length) for clip, length in clips for frame in range(length)]
        return [ClipFrame(*place, number) for number, place in enumerate(places)]

    def validation_entries(self) -> list[ClipFrame] | None:
        """List the frames of the held-out clips: the first of each clip, the second of each, and so on."""
        if self._held_out_clips is None:
            return None
        frames = [ClipFrame(clip, frame, length, None) for clip, length in self._held_out_clips for frame in range(length)]
        return sorted(frames, key=lambda entry: entry.frame)

    def read(self, entry: ClipFrame) -> Picture:
        """Read a frame, with the frame that it is paired with."""
        other = self._other_frame(entry)
        shots = self.shots(entry.clip, [entry.frame] if other is None else [entry.frame, other])
        source, target = shots[0], shots[-1]
        if other is None:
            return replace(source.picture, camera=None if source.viewpoint is None else torch.eye(3, 4).flatten())
        camera = None
        if source.viewpoint is not None and target.viewpoint is not None:
            camera = source.viewpoint.relative(target.viewpoint, self.camera_distance)
        return replace(source.picture, camera=camera, target=target.picture)

    def _other_frame(self, entry: ClipFrame) -> int | None:
        if entry.number is None or self.overfit_items:
            return None
        return paired_frame(entry.number, entry.frame, entry.length, self.pair_probability, self.max_frame_distance)


def paired_frame(number: int, frame: int, length: int, probability: float, max_distance: int) -> int | None:
    """Return the frame that a frame is paired with, each of those near enough as likely; None for a frame of its own.

    Args:
        number: from which the draw follows.
        frame: of the source, in [0, length).
        length: frames of the clip.
        probability: that there is a pair, if the clip has more than one frame.
        max_distance: largest difference of the two frames.
    """
    first, last = max(0, frame - max_distance), min(length - 1, frame + max_distance)
    if first == last or sample_seed(_PAIRED, number) >= probability * 2**62:
        return None
    other = first + sample_seed(_WHICH, number) % (last - first)
    return other + (other >= frame)
