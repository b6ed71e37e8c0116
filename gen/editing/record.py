"""What a saved picture says about its own making, so that it can be made again: plan, pipeline, pictures and their regions."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from gen.editing.plan import EditPlan, from_values, to_values
from image_utils.io import MAX_PIXELS, read_text

KEY = "region_edit"  # of the PNG's text chunk
EDITED = ""  # the name under which a record lists the picture that was edited; the others have the plan's names


@dataclass(frozen=True)
class PictureRecord:
    """A picture that was used, and how it was cut.

    Attributes:
        sha256: of its size and pixels.
        label_map: its regions, 0 is the background.
    """

    sha256: str
    label_map: Int[Tensor, "h w"]


@dataclass(frozen=True)
class EditRecord:
    """Everything, beside the pictures and the pipeline themselves, that determines an edited picture.

    Attributes:
        plan: what was done.
        pipeline: name of its folder.
        pipeline_sha256: of its manifest, which lists every file's checksum.
        pictures: by name; `EDITED` is the one that was edited.
    """

    plan: EditPlan
    pipeline: str
    pipeline_sha256: str
    pictures: Mapping[str, PictureRecord]

    def to_text(self) -> str:
        """Write the record as JSON."""
        pictures = {name: {"sha256": used.sha256, **_packed(used.label_map)} for name, used in self.pictures.items()}
        pipeline = {"name": self.pipeline, "manifest_sha256": self.pipeline_sha256}
        return json.dumps({"plan": to_values(self.plan), "pipeline": pipeline, "pictures": pictures})


def read_record(path: Path) -> EditRecord:
    """Read the record out of a PNG that was saved with one.

    Raises:
        ValueError: if the file is no PNG, has no record, or its record is damaged.
    """
    text = read_text(path).get(KEY)
    if text is None:
        raise ValueError(f"{path} holds no plan: it is a PNG, but not one that an edit was saved in; give such a one, or a plan as JSON")
    try:
        values = json.loads(text)
        pictures = {name: PictureRecord(str(used["sha256"]), _unpacked(used)) for name, used in values["pictures"].items()}
        pipeline = values["pipeline"]
        record = EditRecord(from_values(values["plan"]), str(pipeline["name"]), str(pipeline["manifest_sha256"]), pictures)
        missing = [name for name in (EDITED, *record.plan.sources()) if name not in pictures]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        raise ValueError(f"{path}: the plan in its text is damaged ({error!r}); make the picture anew from a plan as JSON") from error
    if missing:
        raise ValueError(f"{path}: the plan in its text lacks the regions of the picture {missing[0]!r}; make it anew from a plan as JSON")
    return record


def picture_sha256(image: Image.Image) -> str:
    """Return the checksum of an RGB picture's size and pixels; the file format does not matter."""
    return hashlib.sha256(f"{image.width}x{image.height}".encode() + image.tobytes()).hexdigest()


def _packed(label_map: Int[Tensor, "h w"]) -> dict[str, Any]:
    assert 0 <= int(label_map.min()) <= int(label_map.max()) < 256, "no pipeline holds 256 regions"
    height, width = label_map.shape
    labels = base64.b64encode(zlib.compress(label_map.to(torch.uint8).cpu().numpy().tobytes(), 9)).decode()
    return {"width": width, "height": height, "labels": labels}


def _unpacked(values: dict[str, Any]) -> Int[Tensor, "h w"]:
    width, height = int(values["width"]), int(values["height"])
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise ValueError(f"a label map of {width}x{height} pixels")
    labels = zlib.decompressobj().decompress(base64.b64decode(values["labels"]), width * height)
    if len(labels) != width * height:
        raise ValueError(f"a label map of {len(labels)} pixels instead of {width}x{height}")
    return torch.frombuffer(bytearray(labels), dtype=torch.uint8).view(height, width).long()
