"""GroundTruth: hands the data's label map on, and never makes one up."""

from __future__ import annotations

import pytest
import torch

from gen.segmentation import Classical, GroundTruth, Segmenter

PICTURE = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_data_s_own_regions_pass_unchanged():
    label_map = torch.arange(256).view(16, 16) % 5
    assert GroundTruth()(PICTURE, label_map) is label_map
    assert GroundTruth(fallback=Classical())(PICTURE, label_map) is label_map


def test_without_regions_it_refuses_or_asks_the_fallback():
    with pytest.raises(ValueError, match="without a label map; put masks beside the pictures, or choose another segmenter"):
        GroundTruth()(PICTURE)
    assert torch.equal(GroundTruth(fallback=Classical())(PICTURE), Classical()(PICTURE))


@pytest.mark.parametrize("segmenter", [GroundTruth(), Classical()])
def test_both_obey_the_protocol(segmenter):
    assert isinstance(segmenter, Segmenter)
