"""Joint augmentation: one draw of parameters moves image, label map and pose together."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ViewTransform:
    """A crop of an image, turned and mirrored: output coordinates -> input coordinates, both in [-1, 1].

    Attributes:
        scale: side of the crop as a share of the image's side, in (0, 1].
        degrees: how far the content turns clockwise on the screen, after the flip.
        flip: mirror left to right.
        shift: (x, y) of the crop's centre in [-1, 1].
    """

    scale: float = 1.0
    degrees: float = 0.0
    flip: bool = False
    shift: tuple[float, float] = (0.0, 0.0)

    def matrix(self) -> Float[Tensor, "2 3"]:
        """Return the affine map that `torch.nn.functional.affine_grid` expects."""
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        mirror = -1.0 if self.flip else 1.0
        rows = [
            [mirror * self.scale * cos, mirror * self.scale * sin, self.shift[0]],
            [-self.scale * sin, self.scale * cos, self.shift[1]],
        ]
        return torch.tensor(rows)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Draw a transform of a view; the crop never leaves the picture, so no pixel is invented.

    Attributes:
        probability: of transforming a view at all, in [0, 1].
        min_scale: smallest side of the crop as a share of the image's.
        max_degrees: largest turn either way.
        flip: mirror half of the transformed views.
    """

    probability: float = 0.5
    min_scale: float = 0.7
    max_degrees: float = 15.0
    flip: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("probability", 0.0, 1.0), ("min_scale", 0.05, 1.0), ("max_degrees", 0.0, 180.0)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"augmentation.{name}={getattr(self, name)} is outside [{low}, {high}]")

    def draw(self, generator: random.Random) -> ViewTransform:
        """Draw one transform; the same generator state gives the same transform."""
        if generator.random() >= self.probability:
            return ViewTransform()
        degrees = generator.uniform(-self.max_degrees, self.max_degrees)
        reach = abs(math.cos(math.radians(degrees))) + abs(math.sin(math.radians(degrees)))
        scale = min(generator.uniform(self.min_scale, 1.0), 1.0 / reach)
        room = 1.0 - scale * reach
        shift = (generator.uniform(-room, room), generator.uniform(-room, room))
        return ViewTransform(scale, degrees, self.flip and generator.random() < 0.5, shift)


def apply_transforms(
    pixel_values: Float[Tensor, "b 3 h w"], label_maps: Int[Tensor, "b k h w"], transforms: list[ViewTransform]
) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b k h w"]]:
    """Apply one transform a sample to images (bilinear) and to any number of label maps (nearest), with one grid.

    Args:
        pixel_values: in [-1, 1].
        label_maps: k integer maps of the same geometry.
        transforms: b of them.

    Returns:
        The transformed images and label maps; samples whose transform is the identity are returned unchanged.
    """
    moved = [i for i, transform in enumerate(transforms) if transform != ViewTransform()]
    if not moved:
        return pixel_values, label_maps
    pixel_values, label_maps = pixel_values.clone(), label_maps.clone()
    grid = _grid([transforms[i] for i in moved], *pixel_values.shape[-2:])
    pixel_values[moved] = F.grid_sample(pixel_values[moved], grid, mode="bilinear", padding_mode="border", align_corners=False)
    labels = F.grid_sample(label_maps[moved].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    label_maps[moved] = labels.to(label_maps.dtype)
    return pixel_values, label_maps


def view_coordinates(transforms: list[ViewTransform], height: int, width: int) -> Float[Tensor, "b 2 h w"]:
    """Return which place (x, y) of the un-augmented picture each pixel of a view shows, both in [-1, 1]; the warp of `apply_transforms`."""
    return _grid(transforms, height, width).movedim(-1, 1).contiguous()


def relative_turn(source: ViewTransform, target: ViewTransform) -> tuple[float, tuple[float, float]]:
    """Return how a region in the target view is flipped and turned relative to the source view.

    With A = R(angle) F^flip for either view, A_target A_source^-1 = R(target - (-1)^f source) F^f, f = flip_s xor flip_t.

    Returns:
        flip in {0, 1}, and (sin, cos) of the clockwise angle.
    """
    flip = source.flip != target.flip
    angle = math.radians(target.degrees - (-source.degrees if flip else source.degrees))
    return float(flip), (math.sin(angle), math.cos(angle))


def _grid(transforms: list[ViewTransform], height: int, width: int) -> Float[Tensor, "b h w 2"]:
    matrices = torch.stack([transform.matrix() for transform in transforms])
    return F.affine_grid(matrices, [len(transforms), 3, height, width], align_corners=False)
