"""Run lengths: the same bytes as pycocotools, back to the same mask, and damaged ones refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.segmentation.rle import decode_mask, encode_mask

masks = st.builds(
    lambda height, width, share, seed: torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < share,
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]), st.integers(0, 999),
)  # fmt: skip


@given(mask=masks)
@settings(max_examples=80, deadline=None)
def test_bytes_are_those_of_pycocotools_and_come_back(mask):
    coco = pytest.importorskip("pycocotools.mask")
    counts = encode_mask(mask)
    assert counts == coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"]
    assert torch.equal(decode_mask(counts, *mask.shape), mask)


def test_long_runs_need_many_characters():
    coco = pytest.importorskip("pycocotools.mask")
    mask = torch.zeros(2000, 3000, dtype=torch.bool)
    mask[5, 7], mask[100:1900, 1000:2900], mask[1999, 2999] = True, True, True
    counts = encode_mask(mask)
    assert counts == coco.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))["counts"]
    assert torch.equal(decode_mask(counts, 2000, 3000), mask)


@given(mask=masks, quarter=st.integers(0, 3), flip=st.booleans(), crop=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_turned_flipped_and_cropped_masks_stay_so(mask, quarter, flip, crop):
    """Views of other memory layouts are encoded by what they show."""
    moved = mask.rot90(quarter).flip(-1) if flip else mask.rot90(quarter)
    moved = moved[crop:, crop:] if min(moved.shape) > crop else moved
    assert torch.equal(decode_mask(encode_mask(moved), *moved.shape), moved)


def test_plain_run_lengths_are_read_column_by_column():
    assert decode_mask([1, 2, 1, 2], 2, 3).tolist() == [[False, True, True], [True, False, True]]


@pytest.mark.parametrize(
    "counts",
    [b"", b"\x00", b"0P", b"P" * 12 + b"0", [], [1, 2], [7], [-1, 7], [3.0, 3], [True, 5], [1 << 62, 1 << 62], ["6"], b"~~", b"oooooo_2"],
)
def test_what_are_no_run_lengths_of_the_mask_is_refused(counts):
    with pytest.raises(ValueError, match="run lengths"):
        decode_mask(counts, 2, 3)


@given(counts=st.binary(max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_mask_or_refused(counts):
    try:
        decoded = decode_mask(counts, 5, 7)
    except ValueError:
        return
    assert decoded.shape == (5, 7)
    assert torch.equal(decode_mask(encode_mask(decoded), 5, 7), decoded)
