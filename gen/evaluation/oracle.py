"""Oracle: a small network, trained on true renders, that says what stands in a box: its mask, shape, colour, material and yaw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gen.artefact import verify_folder
from gen.models.component import Component
from gen.models.rotation import view_yaw, yaw_phase
from gen.regions import TensorFields, cell_centres
from gen.scenes import COLOURS, MATERIALS, SHAPES, SceneSpec, rotation_periods, viewed_rotations

SIDE = 32  # pixels of a crop
_MARGIN = 1.6  # side of a crop, in longer sides of the box
_GROUPS = 8
_AT_ONCE = 256  # crops


@dataclass(frozen=True)
class Reading(TensorFields):
    """What the oracle says of objects, one a row.

    Attributes:
        mask: probability that a pixel of the whole picture is the object's; 0 outside the crop.
        present: probability that there is an object in the box at all, in [0, 1].
        shape: probabilities, in the order of `gen.scenes.SHAPES`.
        colour: probabilities, in the order of `gen.scenes.COLOURS`.
        material: probabilities, in the order of `gen.scenes.MATERIALS`.
        yaw: (sin, cos) of 2 pi times the viewer's azimuth in the object's frame, as a share of the turn after which the object looks the
            same; means nothing for an object that looks the same at every turn.
        features: what the answers are made of, for distances between sets of objects.
    """

    mask: Float[Tensor, "m h w"]
    present: Float[Tensor, " m"]
    shape: Float[Tensor, "m 8"]
    colour: Float[Tensor, "m 8"]
    material: Float[Tensor, "m 3"]
    yaw: Float[Tensor, "m 2"]
    features: Float[Tensor, "m f"]


class Answers(NamedTuple):
    """What the network says of crops: logits, a vector of yaw for every shape it could be, and the features."""

    mask: Float[Tensor, "m s s"]
    present: Float[Tensor, " m"]
    shape: Float[Tensor, "m 8"]
    colour: Float[Tensor, "m 8"]
    material: Float[Tensor, "m 3"]
    yaw: Float[Tensor, "m 8 2"]
    features: Float[Tensor, "m f"]


class Oracle(Component):
    """Convolutions from a crop down to features, from which everything is named, and up again to the mask.

    Args:
        width: channels of the first stage; the stages have 1, 2, 4 and 6 times as many, a multiple of 8.
        num_features: f.

    Raises:
        ValueError: if `width` does not divide into the normalisation's groups.

    Source: the way up with sums of both ways: Lin et al. 2017 (FPN), arXiv 1612.03144, section 3.
    """

    def __init__(self, width: int = 24, num_features: int = 128) -> None:
        super().__init__()
        if width < _GROUPS or width % _GROUPS:
            raise ValueError(f"width={width} of an oracle is not a multiple of {_GROUPS}")
        widths = [width, 2 * width, 4 * width, 6 * width]
        self.first = _block(3, width)
        self.stages = nn.ModuleList(_Stage(narrow, wide) for narrow, wide in pairwise(widths))
        cells = (SIDE // 2 ** len(self.stages)) ** 2
        self.to_features = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * cells, num_features), nn.SiLU())
        self.sides = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.to_mask = nn.Sequential(nn.SiLU(), nn.Conv2d(width, 1, 3, padding=1))
        answers = {"present": 1, "shape": len(SHAPES), "colour": len(COLOURS), "material": len(MATERIALS)}
        self.answers = nn.ModuleDict({name: nn.Linear(num_features, count) for name, count in answers.items()})
        self.to_yaw = nn.Sequential(nn.Linear(num_features, num_features), nn.SiLU(), nn.Linear(num_features, 2 * len(SHAPES)))

    def forward(self, crops: Float[Tensor, "m 3 s s"]) -> Answers:
        """Answer for crops of `SIDE` x `SIDE` pixels in [-1, 1], made by `cut`."""
        levels = [self.first(crops)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        features = self.to_features(levels[-1])
        up = self.sides[-1](levels[-1])
        for level, side in zip(levels[-2::-1], self.sides[-2::-1], strict=False):
            up = side(level) + F.interpolate(up, scale_factor=2.0, mode="nearest")
        named = {name: head(features).float() for name, head in self.answers.items()}
        return Answers(
            mask=self.to_mask(up)[:, 0].float(),
            present=named["present"][:, 0],
            shape=named["shape"],
            colour=named["colour"],
            material=named["material"],
            yaw=self.to_yaw(features).float().unflatten(-1, (len(SHAPES), 2)),
            features=features.float(),
        )

    @torch.no_grad()
    def read(self, images: Float[Tensor, "m 3 h w"], boxes: Float[Tensor, "m 4"]) -> Reading:
        """Read the object that stands in or near each box.

        Args:
            images: in [-1, 1]; a picture is repeated for each of its objects.
            boxes: (left, top, right, bottom) in [0, 1]; the object may be off by a fifth of its box and smaller or larger by a quarter.

        Raises:
            ValueError: if a box is empty.
        """
        device, names = next(self.parameters()).device, [field.name for field in fields(Reading)]
        parts = [
            self._read(images[rows].to(device), boxes[rows].to(device)).to(images.device)
            for rows in (slice(start, start + _AT_ONCE) for start in range(0, max(len(images), 1), _AT_ONCE))
        ]
        return Reading(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _read(self, images: Float[Tensor, "m 3 h w"], boxes: Float[Tensor, "m 4"]) -> Reading:
        said = self(cut(images, boxes))
        chosen = said.yaw[torch.arange(len(boxes), device=boxes.device), said.shape.argmax(-1)]
        return Reading(
            mask=_put_back(said.mask.sigmoid(), boxes, images.shape[-2], images.shape[-1]),
            present=said.present.sigmoid(),
            shape=said.shape.softmax(-1),
            colour=said.colour.softmax(-1),
            material=said.material.softmax(-1),
            yaw=F.normalize(chosen, dim=-1),
            features=said.features,
        )


class _Stage(nn.Module):
    """Halve the picture's sides, and add two convolutions to it."""

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.down = _block(narrow, wide, stride=2)
        self.inside = nn.Sequential(_block(wide, wide), _block(wide, wide))

    def forward(self, x: Float[Tensor, "m c s s"]) -> Float[Tensor, "m d t t"]:
        x = self.down(x)
        return x + self.inside(x)


def _block(narrow: int, wide: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(narrow, wide, 3, stride, 1), nn.GroupNorm(_GROUPS, wide), nn.SiLU())


def shipped_oracle() -> Oracle:
    """Load the oracle that comes with the package: for pictures of 64 px of the rendered world.

    Raises:
        ArtefactError: if its folder is damaged.
    """
    folder = Path(__file__).resolve().parents[1] / "weights" / "oracle64"
    verify_folder(folder)
    return Oracle.from_pretrained(folder)


def cut(pictures: Float[Tensor, "m c h w"], boxes: Float[Tensor, "m 4"]) -> Float[Tensor, "m c s s"]:
    """Cut a square around each box out of its picture, bilinear, 0 outside the picture.

    Args:
        pictures: one a box.
        boxes: (left, top, right, bottom) in [0, 1].

    Raises:
        ValueError: if a box is empty.
    """
    middle, reach = _places(boxes)
    return _sample(pictures, middle[:, None] + reach[:, None] * _points(SIDE, SIDE, boxes.device), SIDE)


def _put_back(masks: Float[Tensor, "m s s"], boxes: Float[Tensor, "m 4"], height: int, width: int) -> Float[Tensor, "m h w"]:
    """Put masks of crops where `cut` took them from."""
    middle, reach = _places(boxes)
    return _sample(masks[:, None], (_points(height, width, boxes.device) - middle[:, None]) / reach[:, None], height)[:, 0]


def _places(boxes: Float[Tensor, "m 4"]) -> tuple[Float[Tensor, "m 2"], Float[Tensor, "m 1"]]:
    """Return middle and half the side of the crops, where the picture is [-1, 1]."""
    sides = boxes[:, 2:] - boxes[:, :2]
    empty = (~(sides > 0)).any(-1)
    if empty.any():
        raise ValueError(f"boxes: {boxes[empty][0].tolist()} is empty, so nothing can be read there; leave absent objects out")
    return boxes[:, :2] + boxes[:, 2:] - 1, _MARGIN * sides.amax(-1, keepdim=True)


def _points(height: int, width: int, device: torch.device) -> Float[Tensor, "p 2"]:
    return cell_centres(height, width, device) * 2 - 1


def _sample(pictures: Float[Tensor, "m c h w"], points: Float[Tensor, "m p 2"], height: int) -> Float[Tensor, "m c t u"]:
    """Look up a picture of so many rows at points in [-1, 1], bilinear, 0 outside."""
    grid = points.unflatten(1, (height, -1))
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def mask_centroid(mask: Float[Tensor, "m h w"]) -> Float[Tensor, "m 2"]:
    """Return where objects are: the mean place of the pixels whose probability is at least 1/2, weighted by it.

    Args:
        mask: probabilities in [0, 1].

    Returns:
        (x, y) in image units; NaN where no pixel reaches 1/2, for then there is no object whose place could be told.
    """
    weight = torch.where(mask >= 0.5, mask, 0).flatten(1)
    places = cell_centres(mask.shape[1], mask.shape[2], mask.device)
    return (weight @ places) / weight.sum(1, keepdim=True)


def yaw_error_degrees(reading: Reading, specs: Sequence[SceneSpec], numbers: Sequence[int]) -> Float[Tensor, " m"]:
    """Return how far the yaw that was read is from the true one.

    Args:
        reading: of m objects.
        specs: the m scenes that they stand in.
        numbers: of the objects in their scenes; k is `objects[k - 1]`.

    Returns:
        In [0, period / 2] degrees, where the period is the turn after which the object looks the same; NaN where it looks the same at every
        turn or is absent, for then no yaw is visible.
    """
    rows, columns = torch.arange(len(specs)), torch.tensor(list(numbers), dtype=torch.long)
    most = 1 + max((len(spec.objects) for spec in specs), default=0)
    period = rotation_periods(specs, most)[rows, columns]
    true = yaw_phase(view_yaw(viewed_rotations(specs, most)[rows, columns]), period)
    read = torch.atan2(reading.yaw[:, 0], reading.yaw[:, 1]).cpu() / (2 * torch.pi)
    apart = (read - true).remainder(1.0)
    return torch.where(period > 0, torch.minimum(apart, 1 - apart) * period, torch.nan)
