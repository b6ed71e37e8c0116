"""Edits: pure functions from latents to latents; what an object is and where it stands change apart.

Positions and shifts are in image units (x to the right, y down, the picture is [0, 1]). A region has the same number in every sample of a
batch. Region 0 is the background and stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from gen.regions import RegionLatents, RegionPose

Mixed = Literal["both", "look", "pose"]
MAX_SIDE = 1.5  # largest side of a box along its own axes: a picture's diagonal is 1.41


def move(latents: RegionLatents, region: int, dx: float, dy: float) -> RegionLatents:
    """Shift a region's centre by (dx, dy).

    Raises:
        ValueError: if the region is not there, or its centre would leave the picture.
    """
    _check_region(latents, region)
    _check_finite(dx=dx, dy=dy)
    pose = latents.pose
    centre = pose.centre[:, region] + pose.centre.new_tensor([dx, dy])
    return replace(latents, pose=replace(pose, centre=_placed(pose.centre, region, _inside(centre, f"region {region}"))))


def resize(latents: RegionLatents, region: int, factor: float | tuple[float, float]) -> RegionLatents:
    """Multiply a region's size about its centre, by one factor or by (across, along) its own axes.

    Raises:
        ValueError: if the region is not there, a factor is not positive, or a side would exceed `MAX_SIDE`.
    """
    _check_region(latents, region)
    across, along = factor if isinstance(factor, tuple) else (factor, factor)
    _check_finite(factor=across)
    _check_finite(factor=along)
    if min(across, along) <= 0:
        raise ValueError(f"resize factor {min(across, along)} of region {region} is not positive; remove the region to make it vanish")
    pose = latents.pose
    size = pose.size[:, region] * pose.size.new_tensor([across, along])
    if float(size.max()) > MAX_SIDE:
        raise ValueError(
            f"resize makes region {region} {float(size.max()):.3g} of the picture's side, more than {MAX_SIDE}; use a smaller factor"
        )
    return replace(latents, pose=replace(pose, size=_placed(pose.size, region, size)))


def flip(latents: RegionLatents, region: int) -> RegionLatents:
    """Mirror a region left to right, as it is seen on the screen.

    With the pose A = R(angle) F^flip the mirrored one is F A = R(-angle) F^(1 - flip).

    Raises:
        ValueError: if the region is not there.
    """
    _check_region(latents, region)
    pose = latents.pose
    flipped = _placed(pose.flip, region, 1 - pose.flip[:, region])
    angle = _placed(pose.angle, region, pose.angle[:, region] * pose.angle.new_tensor([-1, 1]))
    return replace(latents, pose=replace(pose, flip=flipped, angle=angle))


def rotate(latents: RegionLatents, region: int, degrees: float) -> RegionLatents:
    """Turn a region in the picture's plane about its centre, clockwise on the screen; its box turns with it.

    Raises:
        ValueError: if the region is not there.
    """
    _check_region(latents, region)
    _check_finite(degrees=degrees)
    turn = math.radians(math.fmod(degrees, 360))
    pose = latents.pose
    sin, cos = pose.angle[:, region].unbind(-1)
    turned = torch.stack([sin * math.cos(turn) + cos * math.sin(turn), cos * math.cos(turn) - sin * math.sin(turn)], -1)
    return replace(latents, pose=replace(pose, angle=_placed(pose.angle, region, turned)))


def turn(latents: RegionLatents, region: int, degrees: float) -> RegionLatents:
    """Turn an object about its own vertical axis, counter-clockwise seen from above, as it is shown: also after a flip.

    The box stays: what it becomes depends on the object's shape, so give it by `resize` where it is known.

    Raises:
        ValueError: if the region is not there.
    """
    _check_region(latents, region)
    _check_finite(degrees=degrees)
    angle = math.radians(math.fmod(degrees, 360))
    pose = latents.pose
    yaw = torch.full_like(pose.centre, torch.nan) if pose.yaw is None else pose.yaw
    old = yaw[:, region]
    sin, cos = torch.where(old.isnan(), old.new_tensor([0.0, 1.0]), old).unbind(-1)
    by = math.sin(angle) * (1 - 2 * pose.flip[:, region])  # the pose turns before it mirrors
    turned = torch.stack([sin * math.cos(angle) + cos * by, cos * math.cos(angle) - sin * by], -1)
    return replace(latents, pose=replace(pose, yaw=_placed(yaw, region, turned)))


def remove(latents: RegionLatents, region: int) -> RegionLatents:
    """Take a region out of the set; its slot becomes free for `copy` and `insert`.

    Raises:
        ValueError: if the region is not there.
    """
    _check_region(latents, region)
    return replace(latents, valid=_placed(latents.valid, region, torch.zeros_like(latents.valid[:, region])))


def keep(latents: RegionLatents, region: int, background: bool = True) -> RegionLatents:
    """Take every other object out of the set, and the background too if it shall not stay.

    Raises:
        ValueError: if the region is not there.
    """
    _check_region(latents, region)
    kept = torch.zeros_like(latents.valid)
    kept[:, region] = True
    kept[:, 0] = background
    return replace(latents, valid=latents.valid & kept)


def swap(latents: RegionLatents, a: int, b: int) -> RegionLatents:
    """Let two regions trade places: the centres (and depths) trade; appearance, size, flip and angle stay with each object.

    Raises:
        ValueError: if a region is not there, or both are the same.
    """
    _check_region(latents, a)
    _check_region(latents, b)
    if a == b:
        raise ValueError(f"swap was asked for region {a} and itself; give two different regions")

    def traded(values: Tensor) -> Tensor:
        return _placed(_placed(values, a, values[:, b]), b, values[:, a])

    pose = latents.pose
    depth = None if pose.depth is None else traded(pose.depth)
    return replace(latents, pose=replace(pose, centre=traded(pose.centre), depth=depth))


def copy(latents: RegionLatents, region: int, dx: float, dy: float) -> RegionLatents:
    """Put a second one of a region into the lowest free slot, its centre shifted by (dx, dy).

    Raises:
        ValueError: if the region is not there, no slot is free, or the copy's centre would lie outside the picture.
    """
    _check_region(latents, region)
    slot = free_slot(latents)
    return move(_transplanted(latents, slot, latents, region), slot, dx, dy)


def insert(latents: RegionLatents, other: RegionLatents, region: int, centre: tuple[float, float] | None = None) -> RegionLatents:
    """Put an object from another picture into the lowest free slot.

    Args:
        latents: of the picture that is edited.
        other: of the picture that the object comes from; from the same encoder.
        region: the object's number in `other`.
        centre: (x, y) where it goes; where it was in its own picture if not given.

    Raises:
        ValueError: if the region is not in `other`, no slot is free, the tokens do not match, or the centre lies outside the picture.
    """
    _check_region(other, region, "the picture to insert from")
    _check_same_tokens(latents, other)
    slot = free_slot(latents)
    inserted = _transplanted(latents, slot, other, region)
    if centre is None:
        return inserted
    _check_finite(x=centre[0], y=centre[1])
    pose = inserted.pose
    target = _inside(pose.centre.new_tensor(centre).expand_as(pose.centre[:, slot]), f"region {region}, inserted,")
    return replace(inserted, pose=replace(pose, centre=_placed(pose.centre, slot, target)))


def interpolate(
    latents: RegionLatents, region: int, other: RegionLatents, other_region: int, weight: float, what: Mixed = "both"
) -> RegionLatents:
    """Replace a region by a mixture of itself and another one, in appearance, in pose, or in both.

    Tokens, centre, size and depth mix linearly, angles along the shorter arc; the flip is that of the nearer end. Depth and yaw mix where
    both sides know them, and are unknown where only one does, but for the ends.

    Args:
        latents: of the picture that is edited.
        region: what changes.
        other: may be `latents` itself, or another picture's from the same encoder.
        other_region: a region of `other`.
        weight: 0 leaves the region as it is, 1 makes it the other.
        what: mixes: "look" is the tokens, which then appear where the region is; "pose" is where it is.

    Raises:
        ValueError: if a region is not there, the tokens do not match, the weight is outside [0, 1], or `what` is something else.
    """
    _check_region(latents, region)
    _check_region(other, other_region, "the other picture")
    _check_same_tokens(latents, other)
    if not 0 <= weight <= 1:
        raise ValueError(f"interpolation weight {weight} is outside [0, 1]; 0 is region {region}, 1 is the other")
    if what not in get_args(Mixed):
        raise ValueError(f"interpolation of {what!r}; what can be mixed is {', '.join(get_args(Mixed))}")

    def mixed(a: Tensor, b: Tensor, mix: Callable[[Tensor, Tensor, float], Tensor]) -> Tensor:
        return _placed(a, region, mix(a[:, region], b[:, other_region], weight))

    tokens = latents.tokens if what == "pose" else mixed(latents.tokens, other.tokens, torch.lerp)
    if what == "look":
        return replace(latents, tokens=tokens)
    ours, theirs = _alike(latents.pose, other.pose)
    pose = RegionPose(
        centre=mixed(ours.centre, theirs.centre, torch.lerp),
        size=mixed(ours.size, theirs.size, torch.lerp),
        flip=mixed(ours.flip, theirs.flip, lambda a, b, weight: a if weight < 0.5 else b),
        angle=mixed(ours.angle, theirs.angle, _mix_angles),
        depth=None if ours.depth is None or theirs.depth is None else mixed(ours.depth, theirs.depth, _mix_known),
        yaw=None if ours.yaw is None or theirs.yaw is None else mixed(ours.yaw, theirs.yaw, _mix_angles),
    )
    return replace(latents, tokens=tokens, pose=pose)


def free_slot(latents: RegionLatents) -> int:
    """Return the lowest number that no sample of the batch uses.

    Raises:
        ValueError: if every slot is taken.
    """
    taken = latents.valid.any(0)
    for slot in range(1, taken.shape[0]):
        if not taken[slot]:
            return slot
    raise ValueError(f"all {taken.shape[0] - 1} objects that the model can hold are in the picture; remove one first")


def regions_present(latents: RegionLatents) -> list[int]:
    """Return the numbers of the objects that are there in every sample of the batch."""
    return [number for number in range(1, latents.valid.shape[1]) if latents.valid[:, number].all()]


def _transplanted(latents: RegionLatents, slot: int, other: RegionLatents, region: int) -> RegionLatents:
    """Fill a free slot with another picture's region, tokens and pose."""
    pose, others_pose = _alike(latents.pose, other.pose)
    changes: dict[str, Any] = {}
    for name in ("centre", "size", "flip", "angle", "depth", "yaw"):
        ours, theirs = getattr(pose, name), getattr(others_pose, name)
        changes[name] = None if ours is None or theirs is None else _placed(ours, slot, theirs[:, region])
    valid = _placed(latents.valid, slot, torch.ones_like(latents.valid[:, slot]))
    return RegionLatents(_placed(latents.tokens, slot, other.tokens[:, region]), RegionPose(**changes), valid)


def _placed(values: Tensor, region: int, new: Tensor) -> Tensor:
    """Return a copy of `values [b n ...]` with region's entry replaced by `new [b ...]`."""
    values = values.clone()
    values[:, region] = new
    return values


def _alike(first: RegionPose, second: RegionPose) -> tuple[RegionPose, RegionPose]:
    """Let two poses have the same fields: depth and yaw that only one of them has are unknown (NaN) in the other."""

    def filled(pose: RegionPose, other: RegionPose) -> RegionPose:
        depth, yaw = pose.depth, pose.yaw
        if depth is None and other.depth is not None:
            depth = torch.full_like(pose.flip, torch.nan)
        if yaw is None and other.yaw is not None:
            yaw = torch.full_like(pose.centre, torch.nan)
        return replace(pose, depth=depth, yaw=yaw)

    return filled(first, second), filled(second, first)


def _mix_known(a: Float[Tensor, " b"], b: Float[Tensor, " b"], weight: float) -> Float[Tensor, " b"]:
    """Mix numbers linearly; the ends are returned as they are, whatever the other one is."""
    return torch.lerp(a, b, weight) if weight not in (0, 1) else b if weight else a


def _mix_angles(a: Float[Tensor, "b 2"], b: Float[Tensor, "b 2"], weight: float) -> Float[Tensor, "b 2"]:
    """Mix (sin, cos) along the shorter arc; the ends are returned as they are."""
    if weight in (0, 1):
        return b if weight else a
    sin = b[:, 0] * a[:, 1] - b[:, 1] * a[:, 0]
    cos = (a * b).sum(-1)
    angle = torch.atan2(a[:, 0], a[:, 1]) + weight * torch.atan2(sin, cos)
    return torch.stack([angle.sin(), angle.cos()], -1)


def _inside(centre: Float[Tensor, "b 2"], what: str) -> Float[Tensor, "b 2"]:
    outside = ((centre < 0) | (centre > 1)).any(-1)
    if outside.any():
        x, y = centre[outside][0].tolist()
        raise ValueError(f"{what} would have its centre at ({x:.3f}, {y:.3f}), outside the picture; keep it within [0, 1]")
    return centre


def _check_region(latents: RegionLatents, region: int, where: str = "the picture") -> None:
    present = regions_present(latents)
    if region in present:
        return
    listed = f"choose one of {', '.join(map(str, present))}" if present else "it holds no objects"
    if region == 0:
        raise ValueError(f"region 0 is the background of {where} and cannot be edited; {listed}")
    raise ValueError(f"region {region} is not in {where}; {listed}")


def _check_same_tokens(latents: RegionLatents, other: RegionLatents) -> None:
    ours, theirs = latents.tokens.shape, other.tokens.shape
    if ours[0] != theirs[0]:
        raise ValueError(f"the pictures come in batches of {ours[0]} and {theirs[0]}; give the same number of both")
    if ours[2:] != theirs[2:]:
        raise ValueError(f"tokens of shape {tuple(theirs[2:])} do not fit those of shape {tuple(ours[2:])}; encode both with one pipeline")


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}={value} is not a finite number; give one")
