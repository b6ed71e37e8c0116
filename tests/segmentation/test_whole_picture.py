"""WholePicture: one region, which is everything."""

from __future__ import annotations

import torch

from gen.regions import Regions
from gen.segmentation import Segmenter, WholePicture


def test_everything_is_background():
    segment = WholePicture()
    assert isinstance(segment, Segmenter)
    found = segment(torch.zeros(3, 8, 12), torch.ones(8, 12, dtype=torch.long))
    regions = Regions.from_label_map(found[None], 4)
    assert regions.valid.tolist() == [[True, False, False, False]]
    assert regions.masks[0, 0].all()
