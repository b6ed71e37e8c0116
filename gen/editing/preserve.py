"""What an edit must not change does not: the area it may change, and compositing the rest back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen.regions import RegionLatents, RegionPose, Regions, cell_centres

# Of the object's larger side: room for its shadow, on every side because the light may come from any. Against rendered counterfactuals
# of the simple scenes 0.2 misses 0.2 % of the energy that a move changes and 0.4 % of a removal's; 0.3 misses a quarter of that, and is
# a fifth larger.
MARGIN = 0.2
MARGIN_PIXELS = 2  # added to it; also what an edge mixes with its surroundings
FEATHER = 2  # pixels


def changed_area(
    regions: Regions, before: RegionLatents, after: RegionLatents, margin: float = MARGIN, margin_pixels: int = MARGIN_PIXELS
) -> Bool[Tensor, "b h w"]:
    """Mark the pixels that an edit may change.

    That is, for every region whose tokens, pose or presence changed: its old mask, its old box and its new box, grown by a margin in which
    its shadow may fall. Where that reaches an object that did not change, the object keeps its pixels, unless they touch the old mask or
    may be covered by the new box.

    Args:
        regions: the masks before the edit; slots that only the latents have (added by `refine`) cover no pixel.
        before: latents before the edit.
        after: latents after the edit; the same slots.
        margin: as a share of the region's larger side.
        margin_pixels: added to it.
    """
    height, width = regions.masks.shape[-2:]
    changed = _changed_regions(before, after)
    masks = F.pad(regions.masks, (0, 0, 0, 0, 0, before.valid.shape[1] - regions.masks.shape[1]))
    old_mask = masks & before.valid[..., None, None]
    old_boxes, new_boxes = (_painted_boxes(latents, changed, height, width) for latents in (before, after))
    side = torch.maximum(before.pose.size * before.valid[..., None], after.pose.size * after.valid[..., None]).amax(-1)
    wide, near = torch.zeros_like(regions.masks[:, 0]), torch.zeros_like(regions.masks[:, 0])
    for (sample, region), old_box, new_box in zip(changed.nonzero().tolist(), old_boxes, new_boxes, strict=True):
        pixels = math.ceil(margin * float(side[sample, region]) * max(height, width)) + margin_pixels
        covered = old_mask[sample, region] | new_box
        wide[sample] |= _grown(covered | old_box, pixels)
        near[sample] |= _grown(covered, margin_pixels)
    others = (old_mask & ~changed[..., None, None])[:, 1:].any(1)
    return near | (wide & ~others)


def composite(
    source: Float[Tensor, "b 3 h w"], edited: Float[Tensor, "b 3 h w"], changed: Bool[Tensor, "b h w"], feather: int = FEATHER
) -> Float[Tensor, "b 3 h w"]:
    """Put the edited picture into the source where it may change; every other pixel is the source's, bit for bit.

    Args:
        source: before the edit.
        edited: the decoder's picture.
        changed: what may change.
        feather: pixels inside `changed` over which one passes into the other.
    """
    blend = torch.lerp(source, edited, feather_weights(changed, feather)[:, None].to(source.dtype))
    return torch.where(changed[:, None], blend, source)


def feather_weights(changed: Bool[Tensor, "b h w"], feather: int = FEATHER) -> Float[Tensor, "b h w"]:
    """Return the edited picture's share of every pixel: 0 outside `changed`, rising to 1 over `feather` pixels inside it.

    The picture's own edge is no edge of the area: the share stays 1 there.
    """
    weights, inner = torch.zeros(changed.shape, device=changed.device), changed
    for _ in range(feather + 1):
        weights = weights + inner.float() / (feather + 1)
        inner = ~_grown(~inner, 1)
    return weights.clamp(max=1.0)


def _changed_regions(before: RegionLatents, after: RegionLatents) -> Bool[Tensor, "b n"]:
    changed = before.valid != after.valid
    pairs = [(before.tokens, after.tokens)]
    pairs += [(getattr(before.pose, name), getattr(after.pose, name)) for name in ("centre", "size", "flip", "angle", "depth", "yaw")]
    for old, new in pairs:
        differs = _differs(old, new)
        if differs is not None:
            changed = changed | (differs.flatten(2).any(-1) if differs.ndim > 2 else differs)
    return changed & (before.valid | after.valid)


def _differs(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    """Return where two values differ; depth and yaw may be unknown, as None altogether or as NaN one by one, and unknown is no change."""
    if old is None or new is None:
        known = new if old is None else old
        return None if known is None else ~known.isnan()
    return (old != new) & ~(old.isnan() & new.isnan())


def _painted_boxes(latents: RegionLatents, chosen: Bool[Tensor, "b n"], height: int, width: int) -> Bool[Tensor, "m h w"]:
    """Mark the pixels whose centres lie in the box of each chosen region that is there, turned as its pose says."""
    pose = RegionPose(*(getattr(latents.pose, name)[chosen][None] for name in ("centre", "size", "flip", "angle")))
    own = pose.own_coordinates(cell_centres(height, width, latents.valid.device))[0]
    inside = (own.abs() <= 0.5).all(-1) & latents.valid[chosen][:, None]
    return inside.unflatten(-1, (height, width))


def _grown(masks: Bool[Tensor, "*b h w"], pixels: int) -> Bool[Tensor, "*b h w"]:
    """Grow masks by a square of `pixels` to every side."""
    values = masks.to(torch.float32).reshape(-1, 1, *masks.shape[-2:])
    values = F.max_pool2d(values, (1, 2 * pixels + 1), stride=1, padding=(0, pixels))
    values = F.max_pool2d(values, (2 * pixels + 1, 1), stride=1, padding=(pixels, 0))
    return values.bool().reshape(masks.shape)
