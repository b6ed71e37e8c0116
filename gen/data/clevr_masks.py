"""CLEVR with masks, DeepMind's TFRecord file, as a dataset: pictures, masks, shapes, colours, materials and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from gen.data.formats.gzip_records import GzipRecords
from gen.data.formats.tf_example import Example
from gen.data.picture import Picture
from gen.data.picture_data import PictureData

FILE = "clevr_with_masks_train.tfrecords"
_HEIGHT, _WIDTH, _ENTITIES = 240, 320, 11
_FEATURES = {"clevr_shape": "shape", "clevr_colour": "color", "clevr_material": "material", "clevr_size": "size"}

# CLEVR's cameras stand about 11 from what they look at; objects lie up to 4 nearer or farther.
MIDDLE_DEPTH, DEPTH_REACH = 11.0, 4.0


@dataclass(kw_only=True)
class ClevrMasks(PictureData):
    """CLEVR (with masks) of the Multi-Object Datasets: 100,000 pictures of 320x240 pixels with up to ten objects.

    The folder holds `clevr_with_masks_train.tfrecords`, gzipped as it is published. At the first use it is copied once beside itself, so
    that pictures can be read in any order (see `GzipRecords`): as much space again, and an hour for the whole file.

    Labels `clevr_shape` (3), `clevr_colour` (8), `clevr_material` (2), `clevr_size` (2): the numbers of the file less one, whose order the
    authors do not name. Depth: (distance along the optical axis - 11) / 4. Cameras are not in the file, and so rotations are unknown.

    Source: https://github.com/google-deepmind/multi_object_datasets, Apache-2.0.
    """

    root: str = "data/clevr_with_masks"

    label_names = tuple(_FEATURES)

    def entries(self) -> list[int]:
        """List the records; the first time, copy the file."""
        path = Path(self.root, FILE)
        if not path.is_file() and not path.with_suffix(".by_record.npy").is_file():
            raise ValueError(
                f"dataset.root={self.root!r} holds no {FILE}; download it there with "
                f"gcloud storage cp gs://multi-object-datasets/clevr_with_masks/{FILE} ."
            )
        self._records = GzipRecords(path)
        return list(range(len(self._records)))

    def read(self, entry: int) -> Picture:
        """Read a record."""
        example = Example(self._records[entry], self._records.name(entry))
        pixels = example.single_bytes("image", _HEIGHT, _WIDTH, 3)
        masks = example.single_bytes("mask", _ENTITIES, _HEIGHT, _WIDTH)  # 0 or 255; the first is the background's
        there = [int(key) for key in example.floats("visibility", _ENTITIES).nonzero()[0] if key]
        depth = example.floats("pixel_coords", _ENTITIES, 3)[:, 2]
        labels = {}
        for name, feature in _FEATURES.items():
            numbers = example.single_bytes(feature, _ENTITIES)  # 0: no object
            labels[name] = {key: int(numbers[key]) - 1 for key in there}
        return Picture(
            Image.fromarray(pixels),
            torch.from_numpy(masks.argmax(0)),
            labels=labels,
            depth={key: float((depth[key] - MIDDLE_DEPTH) / DEPTH_REACH) for key in there},
            name=f"{FILE} {entry}",
        )
