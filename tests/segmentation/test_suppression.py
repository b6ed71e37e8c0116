"""Suppression keeps what the plain greedy loop keeps, and overlaps of masks are counted exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gen.segmentation import suppression
from gen.segmentation.suppression import box_nms, mask_iou, mask_nms


def greedy(overlap: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Run the textbook's loop: take the best one that is left, drop what overlaps it."""
    waiting, kept = scores.argsort(descending=True, stable=True).tolist(), []
    while waiting:
        kept.append(waiting.pop(0))
        waiting = [other for other in waiting if not overlap[kept[-1], other] > threshold]
    return kept


def box_overlap(boxes: Tensor) -> Tensor:
    """Count the unit squares of whole-numbered boxes."""
    raster = torch.zeros(len(boxes), 12, 12, dtype=torch.bool)
    for square, (left, top, right, bottom) in zip(raster, boxes.int().tolist(), strict=True):
        square[top:bottom, left:right] = True
    return mask_iou(raster, raster)


whole_boxes = st.lists(st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 6)] * 2), max_size=24).map(
    lambda rows: torch.tensor([(x, y, x + w, y + h) for x, y, w, h in rows], dtype=torch.float32).reshape(-1, 4)
)


@given(boxes=whole_boxes, threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_boxes_are_kept_as_by_the_greedy_loop(boxes, threshold, seed):
    scores = torch.randint(0, 5, (len(boxes),), generator=torch.Generator().manual_seed(seed)) / 4  # ties happen
    assert box_nms(boxes, scores, threshold).tolist() == greedy(box_overlap(boxes), scores, threshold)


@given(seed=st.integers(0, 999), threshold=st.sampled_from([0.0, 0.2, 0.5]))
@settings(max_examples=20, deadline=None)
def test_masks_are_kept_as_by_the_greedy_loop(seed, threshold):
    generator = torch.Generator().manual_seed(seed)
    masks, scores = torch.rand(12, 5, 4, generator=generator) < 0.5, torch.rand(12, generator=generator)
    assert mask_nms(masks, scores, threshold).tolist() == greedy(mask_iou(masks, masks), scores, threshold)


def test_a_long_chain_is_resolved():
    """Each box overlaps the next alone: every second one stays."""
    left = torch.arange(40.0)
    boxes = torch.stack([left, torch.zeros(40), left + 1.9, torch.ones(40)], 1)
    assert box_nms(boxes, -left, 0.3).tolist() == list(range(0, 40, 2))


def test_overlaps_are_exact_in_any_blocks(monkeypatch):
    masks, others = torch.rand(3, 30, 40) < 0.4, torch.rand(5, 30, 40) < 0.6
    counted = [[float((one & other).sum() / (one | other).sum()) for other in others] for one in masks]
    for block in (1 << 24, 999, 1):
        monkeypatch.setattr(suppression, "_BLOCK", block)
        assert torch.equal(mask_iou(masks, others), torch.tensor(counted))


def test_empty_masks_overlap_nothing_and_no_candidates_keep_none():
    empty = torch.zeros(2, 4, 4, dtype=torch.bool)
    assert mask_iou(empty, empty).tolist() == [[0, 0], [0, 0]]
    assert mask_nms(empty, torch.ones(2), 0.0).tolist() == [0, 1]
    assert box_nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    assert mask_nms(empty[:0], torch.zeros(0), 0.5).shape == (0,)


@pytest.mark.gpu
def test_a_gpu_keeps_the_same():
    boxes, scores = torch.rand(500, 4).cumsum(1), torch.rand(500)
    masks = torch.rand(40, 64, 64) < torch.rand(40, 1, 1)
    assert torch.equal(box_nms(boxes.cuda(), scores.cuda(), 0.5).cpu(), box_nms(boxes, scores, 0.5))
    assert torch.equal(mask_nms(masks.cuda(), scores[:40].cuda(), 0.4).cpu(), mask_nms(masks, scores[:40], 0.4))
