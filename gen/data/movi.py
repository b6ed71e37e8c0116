"""MOVi, as published in TFRecord shards, as a dataset: frames, instances, and how cameras and objects are turned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen.data.clip_data import ClipData, Shot
from gen.data.formats.tf_example import Example
from gen.data.formats.tfrecord import TFRecords
from gen.data.kubric import CAMERA_DISTANCE, Tracks
from image_utils import io


@dataclass(kw_only=True)
class Movi(ClipData):
    """MOVi-C, D, E or F as TensorFlow Datasets stores it; not all shards need to be there, and TensorFlow is not needed.

    The folder holds `movi_e-train.tfrecord-00000-of-01024`, ... and `movi_e-validation.tfrecord-...`: a record is a clip of 24 frames.
    Without a shard of the validation split, `num_held_out` clips of the training split are held out.

    Label `gso_category`: number in `gen.data.kubric.GSO_CATEGORIES`. Source: gs://kubric-public/tfds, described in
    https://github.com/google-research/kubric/tree/main/challenges/movi, Apache-2.0; objects CC BY 4.0, backgrounds CC0.
    """

    root: str = "data/movi_e/256x256/1.0.0"

    label_names = ("gso_category",)
    camera_distance = CAMERA_DISTANCE

    def clips(self) -> list[tuple[tuple[str, int], int]]:
        """List the records of the training shards."""
        self._records = {split: TFRecords(sorted(Path(self.root).glob(f"*-{split}.tfrecord-*"))) for split in ("train", "validation")}
        if not len(self._records["train"]):
            raise ValueError(
                f"dataset.root={self.root!r} holds no record of MOVi; give the folder with movi_e-train.tfrecord-00000-of-01024 and so on, "
                "copied with gcloud storage cp -r gs://kubric-public/tfds/movi_e/256x256/1.0.0 ."
            )
        return self._clips("train")

    def validation_clips(self) -> list[tuple[tuple[str, int], int]] | None:
        """List the records of the validation shards."""
        return self._clips("validation") if len(self._records["validation"]) else None

    def shots(self, clip: tuple[str, int], frames: list[int]) -> list[Shot]:
        """Read frames of a record; of the record's megabytes only theirs are looked at."""
        example = self._example(*clip)
        tracks = _tracks(example)
        video, segmentations = example.byte_strings("video"), example.byte_strings("segmentations")
        shots = []
        for frame in frames:
            if frame >= min(len(video), len(segmentations)):
                raise ValueError(f"{example.name} has {len(video)} frames and {len(segmentations)} segmentations, none for frame {frame}")
            name = f"in {example.name}, frame {frame}"
            image, label_map = io.decode_image(bytes(video[frame]), name), io.decode_label_map(bytes(segmentations[frame]), name)
            shots.append(tracks.shot(frame, image, label_map))
        return shots

    def _clips(self, split: str) -> list[tuple[tuple[str, int], int]]:
        length = len(self._example(split, 0).byte_strings("video"))  # all clips of a data set are as long
        return [((split, index), length) for index in range(len(self._records[split]))]

    def _example(self, split: str, index: int) -> Example:
        return Example(self._records[split][index], self._records[split].name(index))


def _tracks(example: Example) -> Tracks:
    """Read the poses. TFDS stores a tensor of every instance as one list, instance by instance, then frame by frame."""
    length = len(example.byte_strings("video"))
    positions = example.floats("instances/positions", -1, length, 3)
    count = len(positions)
    return Tracks(
        b"".join(example.byte_strings("metadata/video_name")).decode("utf-8", errors="replace"),
        example.floats("camera/positions", length, 3),
        example.floats("camera/quaternions", length, 4),
        positions,
        example.floats("instances/quaternions", count, length, 4),
        example.integers("instances/category", count) if "instances/category" in example else np.full(count, -1),
    )
