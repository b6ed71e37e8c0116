"""Non-maximum suppression of boxes, on any device, and of masks, by their bits."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_BLOCK = 1 << 20  # words of bits that are compared at a time


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
    one, other = np.indices((len(masks), len(others))).reshape(2, -1)
    overlaps = _overlaps(_packed(masks), _packed(others), one, other)
    return torch.from_numpy(overlaps.reshape(len(masks), len(others))).float().to(masks.device)


def mask_nms(masks: Bool[Tensor, "m h w"], scores: Float[Tensor, " m"], threshold: float) -> Int[Tensor, " k"]:
    """Keep the best masks, as `box_nms` does with boxes; only pairs are compared whose areas allow so much overlap."""
    order = scores.argsort(descending=True, stable=True)
    packed = _packed(masks[order])
    areas = _counts(packed)
    possible = np.minimum.outer(areas, areas) > threshold * np.maximum.outer(areas, areas)
    one, other = np.nonzero(np.triu(possible, 1))
    overlaps = np.zeros(possible.shape, dtype=bool)
    overlaps[one, other] = _overlaps(packed, packed, one, other) > threshold
    return order[_survivors(torch.from_numpy(overlaps).to(masks.device))]


def _overlaps(packed: np.ndarray, others: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersection over union of the pairs that two lists of indices make."""
    step = max(1, _BLOCK // max(1, packed.shape[1]))
    blocks = (slice(start, start + step) for start in range(0, len(one), step))
    shared = [_counts(packed[one[block]] & others[other[block]]) for block in blocks]
    common = np.concatenate([np.zeros(0, dtype=np.int64), *shared])
    union = _counts(packed)[one] + _counts(others)[other] - common
    return common / np.maximum(union, 1)


def _packed(masks: Bool[Tensor, "m h w"]) -> np.ndarray:
    """Return masks as bits in words of 64, on the CPU: counting bits is far faster than adding up pixels."""
    pixels = masks.shape[1] * masks.shape[2]
    words = np.zeros((len(masks), -(-pixels // 64) * 8), dtype=np.uint8)
    words[:, : -(-pixels // 8)] = np.packbits(masks.flatten(1).cpu().numpy(), axis=1)
    return words.view(np.uint64)


def _counts(packed: np.ndarray) -> np.ndarray:
    return np.bitwise_count(packed).sum(1, dtype=np.int64)


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
