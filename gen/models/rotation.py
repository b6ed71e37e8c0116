"""Rotations of objects: the continuous 6-D code, angles between them, which ones look the same, and the yaw that a viewer sees.

A rotation R takes an object's axes (z up, as its template stands) to the viewer's (x right, y down, z away along the line of sight).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def matrix_from_six(six: Float[Tensor, "*shape 6"]) -> Float[Tensor, "*shape 3 3"]:
    """Turn any six numbers into a rotation: its first two columns, made orthonormal one after the other.

    Source: Zhou et al. 2019, arXiv 1812.07035, eq. 15 and 16.
    """
    first = F.normalize(six[..., :3].float(), dim=-1)
    second = six[..., 3:].float()
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def six_from_matrix(rotation: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape 6"]:
    """Return the first two columns of a rotation, one after the other; `matrix_from_six` gives the rotation back."""
    return rotation[..., :2].mT.flatten(-2)


def compose(first: Float[Tensor, "*shape 3 3"], second: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape 3 3"]:
    """Multiply matrices number by number, in fp32 also where mixed precision would round a matrix product."""
    return (first[..., :, :, None] * second[..., None, :, :]).sum(-2)


def geodesic_degrees(first: Float[Tensor, "*shape 3 3"], second: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape"]:
    """Return the angle of the rotation between two rotations, in [0, 180] degrees.

    atan2 of sine and cosine instead of the arc cosine of the trace: exact near 0 and 180.
    """
    between = compose(first.mT, second)
    axis = torch.stack([between[..., i, j] - between[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1)
    return torch.atan2(axis.norm(dim=-1), between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1).rad2deg()


def turn(radians: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3 3"]:
    """Return Rz(radians): a turn about the object's vertical axis, counter-clockwise seen from above."""
    cos, sin, zero, one = radians.cos(), radians.sin(), torch.zeros_like(radians), torch.ones_like(radians)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


def nearest_equivalent(
    rotation: Float[Tensor, "*shape 3 3"], predicted: Float[Tensor, "*shape 3 3"], period: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape 3 3"]:
    """Return the rotation that looks the same as `rotation` and is nearest to `predicted`.

    The rotations R Rz(k period) all look the same. With M = P^T R the trace of M Rz(t) is largest at t* = atan2(M_xy - M_yx, M_xx + M_yy)
    and falls with the distance from t*, so the nearest multiple of the period is the best one.

    Args:
        rotation: R, the true one.
        predicted: P.
        period: degrees of turn about the object's vertical axis after which it looks the same; 360 none, 0 every turn, -1 unknown: as 360.
    """
    between = compose(predicted.mT, rotation)
    best = torch.atan2(between[..., 0, 1] - between[..., 1, 0], between[..., 0, 0] + between[..., 1, 1])
    step = torch.where(period > 0, period, 360).deg2rad()
    return compose(rotation, turn(torch.where(period == 0, best, step * (best / step).round())))


def view_yaw(rotation: Float[Tensor, "*shape 3 3"]) -> Float[Tensor, "*shape"]:
    """Return the viewer's azimuth in the object's frame, in (-pi, pi]: what of a turn about the vertical axis is visible.

    The direction from the object to the viewer is -R^T (0, 0, 1) in the object's frame; an object that turns by a makes it smaller by a.
    """
    towards = -rotation[..., 2, :]
    return torch.atan2(towards[..., 1], towards[..., 0])


def yaw_phase(yaw: Float[Tensor, "*shape"], period: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return a yaw in radians as a share of the period in degrees, in [0, 1); period 0 and -1 count as 360."""
    share = yaw.rad2deg() / torch.where(period > 0, period, 360)
    phase = share - share.floor()
    return torch.where(phase < 1, phase, 0)


def yaw_difference_degrees(
    first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"], period: Int[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return how far two yaws in radians are apart, in [0, period / 2] degrees; period 0 and -1 count as 360."""
    step = torch.where(period > 0, period, 360)
    difference = (first - second).rad2deg() % step
    return torch.minimum(difference, step - difference)
