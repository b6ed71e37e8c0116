"""Automatic mask generation: prompt a network with a grid of points and keep the masks that are good, stable and not double."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.segmentation.sams.promptable import Frame, PromptableModel, boxes_of
from gen.segmentation.suppression import box_nms

_MARGIN, _ENOUGH = 0.1, 64  # by how much a mask may seem less stable at low resolution than it is, and of how many pixels on
_PROMPTS_AT_ONCE = 256  # whose low-resolution logits lie in memory together


@dataclass(frozen=True)
class ProposedMasks:
    """Masks, best first.

    Attributes:
        masks: at the picture's size; they may overlap.
        scores: IoU that the network predicts.
        stability: IoU of the masks at a higher and a lower threshold.
        points: which the masks answer, (x, y) in pixels of the picture.
        boxes: (left, top, right, bottom), the outermost pixels.
    """

    masks: Bool[Tensor, "m h w"]
    scores: Float[Tensor, " m"]
    stability: Float[Tensor, " m"]
    points: Float[Tensor, "m 2"]
    boxes: Int[Tensor, "m 4"]


@torch.inference_mode()
def automatic_masks(
    network: PromptableModel,
    pixel_values: Float[Tensor, "3 h w"],
    points_per_side: int = 32,
    pred_iou_threshold: float = 0.88,
    stability_threshold: float = 0.95,
    stability_offset: float = 1.0,
    box_nms_threshold: float = 0.7,
) -> ProposedMasks:
    """Return the masks that `SamAutomaticMaskGenerator` of the `segment_anything` package returns, in the same order.

    Three masks for every point of a grid, without those of low predicted IoU, of low stability, and whose box is another's of higher
    predicted IoU. Not offered: `crop_n_layers` (crops of the picture). `min_mask_region_area` (clean-up) is a duty of `MaskRules`.

    What a mask costs is in the order of what it may save: predicted IoU, then stability at low resolution with a margin, and only for the
    rest the picture's size; masks stay at low resolution until the doubles are gone.

    Args:
        network: sees the picture once.
        pixel_values: in [-1, 1].
        points_per_side: of the grid.
        pred_iou_threshold: masks with no more go; 0 keeps all.
        stability_threshold: masks with less go; 0 keeps all.
        stability_offset: how far from 0 the two thresholds of the stability are, in logits.
        box_nms_threshold: IoU of boxes above which the mask of lower predicted IoU goes.

    Source: Kirillov et al., Segment Anything, 2023, arXiv 2304.02643, B.
    """
    height, width = pixel_values.shape[1:]
    points = _grid(points_per_side, height, width)
    embedding = network.embed(pixel_values[None])
    kept = []
    for part in points.split(_PROMPTS_AT_ONCE):
        logits, ious = network.decode(embedding, part[:, None], torch.ones(len(part), 1, dtype=torch.long), None, multimask=True)
        logits, ious, asked = logits.flatten(0, 1), ious.flatten(), part.repeat_interleave(logits.shape[1], 0).to(ious.device)
        good = ious > pred_iou_threshold if pred_iou_threshold > 0 else torch.ones_like(ious, dtype=torch.bool)
        if stability_threshold > 0:
            good &= _may_be_stable(logits, embedding.frame, stability_threshold, stability_offset)
        logits, ious, asked = logits[good], ious[good], asked[good]
        stability, boxes = _judged(logits, embedding.frame, stability_offset)
        stable = stability >= stability_threshold if stability_threshold > 0 else torch.ones_like(good[: len(logits)])
        kept.append([logits[stable], ious[stable], stability[stable], asked[stable], boxes[stable]])
    logits, ious, stability, asked, boxes = (torch.cat(values) for values in zip(*kept, strict=True))
    best = box_nms(boxes.float(), ious, box_nms_threshold)
    values = (embedding.frame.masks(logits[best]), ious[best], stability[best], asked[best], boxes[best])
    return ProposedMasks(*(value.to(pixel_values.device) for value in values))


def _grid(points_per_side: int, height: int, width: int) -> Float[Tensor, "p 2"]:
    """Return points in the middle of equal tiles, row by row."""
    middle = (torch.arange(points_per_side, dtype=torch.float64) + 0.5) / points_per_side
    rows, columns = torch.meshgrid(middle * height, middle * width, indexing="ij")
    return torch.stack([columns, rows], -1).flatten(0, 1).float()


def _areas(logits: Float[Tensor, "m y x"], offset: float) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Return the pixels above the higher and above the lower threshold."""
    return (logits > offset).sum((1, 2)), (logits > -offset).sum((1, 2))


def _may_be_stable(logits: Float[Tensor, "m s s"], frame: Frame, threshold: float, offset: float) -> Bool[Tensor, " m"]:
    """Tell which masks may be stable at the picture's size; their few pixels cannot tell of small ones, nor of those of a small picture."""
    logits = frame.without_padding(logits)
    if frame.height < logits.shape[1] or frame.width < logits.shape[2]:  # so few pixels that stability there is anything
        return torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    inner, outer = _areas(logits, offset)
    return (inner >= (threshold - _MARGIN) * outer) | (outer < _ENOUGH)


def _judged(logits: Float[Tensor, "m s s"], frame: Frame, offset: float) -> tuple[Float[Tensor, " m"], Int[Tensor, "m 4"]]:
    """Return stability and boxes at the picture's size; of an empty mask not a number, and zeros."""
    stability, boxes = [logits.new_zeros(0)], [logits.new_zeros(0, 4, dtype=torch.long)]
    for part in frame.portions(logits):
        large = frame.to_picture(part)
        inner, outer = _areas(large, offset)
        stability.append(inner / outer)
        boxes.append(boxes_of(large > 0))
    return torch.cat(stability), torch.cat(boxes)
