"""Tokens know their region: not its place, not other regions' cells."""

from __future__ import annotations

import pytest
import torch

from gen.models.region_encoder import RegionEncoder
from gen.regions import Regions


@pytest.fixture
def encoder() -> RegionEncoder:
    torch.manual_seed(0)
    return RegionEncoder(num_queries=2, width=32, depth=2, num_heads=2, backbone_depth=1).eval()


def square(left: int, top: int, side: int = 12, size: int = 64) -> tuple[torch.Tensor, Regions]:
    label_map = torch.zeros(1, size, size, dtype=torch.long)
    label_map[:, top : top + side, left : left + side] = 1
    pattern = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pixels = torch.zeros(1, 3, size, size)
    pixels[:, :, top : top + side, left : left + side] = pattern
    return pixels, Regions.from_label_map(label_map, 3)


def test_an_object_elsewhere_has_the_same_tokens(encoder):
    """By whole cells, away from the border: the token of the moved object is the same up to rounding."""
    here, there = (encoder(*square(*place)) for place in ((12, 16), (36, 32)))
    torch.testing.assert_close(here[:, 1], there[:, 1], atol=1e-5, rtol=1e-4)


def test_a_far_neighbour_does_not_reach_an_objects_tokens(encoder):
    pixels, regions = square(8, 8)
    other = pixels.clone()
    other[:, :, 48:, 48:] = 1.0
    torch.testing.assert_close(encoder(pixels, regions)[:, 1], encoder(other, regions)[:, 1], atol=1e-2, rtol=0)


def test_absent_regions_have_zero_tokens_and_finite_gradients(encoder):
    pixels, regions = square(8, 8)
    tokens = encoder(pixels.requires_grad_(), regions)
    tokens.square().sum().backward()
    assert (tokens[:, 2] == 0).all() and pixels.grad.isfinite().all()


def test_erased_pixels_do_not_reach_the_tokens(encoder):
    pixels, regions = square(8, 8)
    known = torch.ones(1, 64, 64, dtype=torch.bool)
    known[:, 40:, 40:] = False
    other = pixels.clone()
    other[:, :, 40:, 40:] = 1.0
    assert torch.equal(encoder(pixels, regions, known), encoder(other, regions, known))


def test_one_picture_alone_or_in_a_batch_is_encoded_alike(encoder):
    first, second = square(8, 8), square(20, 28)
    pixels = torch.cat([first[0], second[0]])
    regions = Regions(torch.cat([first[1].masks, second[1].masks]), torch.cat([first[1].valid, second[1].valid]))
    torch.testing.assert_close(encoder(pixels, regions)[:1], encoder(*first))


def test_saved_and_loaded_it_is_the_same(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    assert torch.equal(RegionEncoder.from_pretrained(tmp_path)(*square(8, 8)), encoder(*square(8, 8)))
