"""Pairs: what is known of a target view relative to its source view, once both are augmented."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gen.data.augment import ViewTransform


def seen_rotations(rotations: Float[Tensor, "b n 3 3"], transforms: list[ViewTransform]) -> Float[Tensor, "b n 3 3"]:
    """Return the objects' rotations as augmented views show them; a mirror is no rotation, so they are NaN in mirrored views."""
    if all(transform.degrees == 0 and not transform.flip for transform in transforms):
        return rotations
    turns = torch.stack([torch.full((3, 3), torch.nan) if transform.flip else _in_plane(transform) for transform in transforms])
    return turns[:, None] @ rotations


def relative_yaw(before: Float[Tensor, "b n 3 3"], after: Float[Tensor, "b n 3 3"], source: list[ViewTransform]) -> Float[Tensor, "b n 2"]:
    """Return how far each object turns for its viewer from the source view to the target view.

    It is the turn of the object about its vertical axis, counter-clockwise seen from above, that would change its look so under a camera
    that keeps still: the difference of the azimuths at which the viewer stands in the object's frame. It comes before the pose's flip and
    angle, so that a mirrored source view shows the opposite turn.

    Args:
        before: rotations of the source's picture before augmentation.
        after: rotations of the target's picture before augmentation.
        source: transforms of the source views.

    Returns:
        (sin, cos); NaN where a rotation is.
    """
    turn = _viewer_azimuth(before) - _viewer_azimuth(after)
    turn = torch.where(torch.tensor([transform.flip for transform in source])[:, None], -turn, turn)
    return torch.stack([turn.sin(), turn.cos()], -1)


def seen_camera(camera: Float[Tensor, "b 12"], source: list[ViewTransform], target: list[ViewTransform]) -> Float[Tensor, "b 12"]:
    """Return the relative cameras, [R | t], in the axes that the augmented views show: turned and mirrored as the views are."""
    matrices = camera.view(-1, 3, 4)
    rotation, shift = matrices[..., :3], matrices[..., 3:]
    before, after = (torch.stack([_in_plane(transform) for transform in views]) for views in (source, target))
    return torch.cat([after @ rotation @ before.mT, after @ shift], -1).flatten(1)


def _in_plane(transform: ViewTransform) -> Float[Tensor, "3 3"]:
    """Return what a view's flip and then its turn, clockwise on the screen, do to directions (x right, y down, z away)."""
    cos, sin = math.cos(math.radians(transform.degrees)), math.sin(math.radians(transform.degrees))
    mirror = -1.0 if transform.flip else 1.0
    return torch.tensor([[mirror * cos, -sin, 0.0], [mirror * sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _viewer_azimuth(rotations: Float[Tensor, "b n 3 3"]) -> Float[Tensor, "b n"]:
    """Return the direction, in the object's frame, in which its viewer stands: that of -R^T (0, 0, 1), radians."""
    return torch.atan2(-rotations[..., 2, 1], -rotations[..., 2, 0])
