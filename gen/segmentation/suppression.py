"""Non-maximum suppression of boxes and masks in plain torch, on any device."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_BLOCK = 1 << 24  # floats that masks become at a time


def box_nms(boxes: Float[Tensor, "m 4"], scores: Float[Tensor, " m"], threshold: float) -> Int[Tensor, " k"]:
    """Keep the best boxes: one goes if a better one that stays overlaps it by more than `threshold`.

    Args:
        boxes: (left, top, right, bottom) in any one unit.
        scores: larger is better; of equal ones the first wins.
        threshold: intersection over union, in [0, 1].

    Returns:
        Indices of the kept boxes, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    left, top, right, bottom = boxes[order].unbind(1)
    area = (right - left) * (bottom - top)
    shared = (torch.minimum(right[:, None], right) - torch.maximum(left[:, None], left)).clamp_min_(0)
    shared *= (torch.minimum(bottom[:, None], bottom) - torch.maximum(top[:, None], top)).clamp_min_(0)
    return order[_survivors(shared > threshold * (area[:, None] + area - shared))]


def mask_iou(masks: Bool[Tensor, "m h w"], others: Bool[Tensor, "k h w"]) -> Float[Tensor, "m k"]:
    """Return the intersection over union of every mask with every other one; 0 for two empty masks."""
    shared = _shared_pixels(masks, others)
    union = masks.sum((1, 2))[:, None] + others.sum((1, 2)) - shared
    return (shared / union.clamp_min(1)).float()


def mask_nms(masks: Bool[Tensor, "m h w"], scores: Float[Tensor, " m"], threshold: float) -> Int[Tensor, " k"]:
    """Keep the best masks, as `box_nms` does with boxes."""
    order = scores.argsort(descending=True, stable=True)
    return order[_survivors(mask_iou(masks, masks)[order][:, order] > threshold)]


def _shared_pixels(masks: Bool[Tensor, "m h w"], others: Bool[Tensor, "k h w"]) -> Float[Tensor, "m k"]:
    """Count the pixels of every pair, as a product of matrices in blocks of pixels: exact, and never all masks as floats at once."""
    rows, columns = masks.flatten(1), others.flatten(1)
    shared = torch.zeros(len(rows), len(columns), dtype=torch.float64, device=masks.device)
    step = max(1, min(_BLOCK // max(1, len(rows) + len(columns)), _BLOCK))  # float32 counts to 2^24 exactly
    for start in range(0, rows.shape[1], step):
        shared += rows[:, start : start + step].float() @ columns[:, start : start + step].float().mT
    return shared


def _survivors(overlaps: Bool[Tensor, "m m"]) -> Int[Tensor, " k"]:
    """Return which candidates, best first, no better survivor overlaps.

    What is kept follows from what better ones are kept: repeated for all at once, the first m answers are right after m rounds, and in
    practice all are after a few, because chains of overlaps are short.

    Source: Zheng et al., Enhancing Geometric Factors in Model Learning and Inference for Object Detection and Instance Segmentation,
        2020, arXiv 2005.03572, section III-D (Cluster-NMS; its fixed point is the greedy answer).
    """
    overlaps = overlaps.triu(1)
    kept = torch.ones(len(overlaps), dtype=torch.bool, device=overlaps.device)
    while True:
        again = ~(overlaps & kept[:, None]).any(0)
        if torch.equal(again, kept):
            return kept.nonzero().flatten()
        kept = again
