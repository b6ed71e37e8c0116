"""Tokens of a crop know their own pixels, and nothing of place, neighbours or surroundings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gen.models.component import load_weights
from gen.models.image_backbone import ConvBackbone
from gen.models.region_crop_encoder import RegionCropEncoder, crop_regions
from gen.regions import Regions


def build(**arguments: int) -> RegionCropEncoder:
    torch.manual_seed(0)
    return RegionCropEncoder(ConvBackbone(32, 1), **({"num_queries": 4, "width": 32, "crop_size": 16} | arguments)).eval()


def square(left: int, top: int, side: int = 12, surroundings: float = 0.0) -> tuple[torch.Tensor, Regions]:
    label_map = torch.zeros(1, 64, 64, dtype=torch.long)
    label_map[:, top : top + side, left : left + side] = 1
    pattern = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pixels = torch.full((1, 3, 64, 64), surroundings)
    pixels[:, :, top : top + side, left : left + side] = pattern
    return pixels, Regions.from_label_map(label_map, 3)


def test_tokens_are_the_same_wherever_the_object_stands():
    encoder = build()
    here, there = (encoder(*square(*place))[:, 1] for place in ((3, 7), (41, 30)))
    torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-4)


def test_nothing_outside_the_mask_reaches_the_tokens():
    encoder = build()
    plain, busy = (encoder(*square(20, 20, surroundings=value))[:, 1] for value in (0.0, 0.9))
    assert torch.equal(plain, busy)


def test_what_is_erased_is_not_seen():
    encoder = build()
    pixels, regions = square(20, 20)
    known = torch.ones(1, 64, 64, dtype=torch.bool)
    known[:, 20:26, 20:32] = False
    other = pixels.clone()
    other[:, :, 20:26, 20:32] = 0.7
    assert torch.equal(encoder(pixels, regions, known), encoder(other, regions, known))
    assert not torch.equal(encoder(pixels, regions, known), encoder(pixels, regions))


def test_tokens_lie_in_the_box_row_by_row():
    """A change in the upper right quarter of the object changes the second of four tokens most."""
    encoder = build(crop_size=32)
    pixels, regions = square(16, 16, side=32)
    other = pixels.clone()
    other[:, :, 18:26, 38:46] *= -1
    moved = (encoder(pixels, regions) - encoder(other, regions))[0, 1].norm(dim=-1)
    assert int(moved.argmax()) == 1


def test_a_region_that_is_not_there_has_no_tokens():
    tokens = build()(*square(20, 20))
    assert tokens.shape == (1, 3, 4, 32)
    assert tokens[:, 2].eq(0).all()
    assert tokens[:, :2].norm(dim=-1).gt(0).all()


def test_a_crop_is_the_regions_box():
    pixels, regions = square(8, 24, side=16)
    crops = crop_regions(pixels, regions.masks, regions.boxes(), 16, regions.valid)
    torch.testing.assert_close(crops[1, :3], pixels[0, :, 24:40, 8:24])
    assert crops[1, 3].eq(1).all()
    assert crops[0, :3, 6:10, 2:6].abs().max() == 0  # the background's crop has a hole where the object is


def test_the_shipped_weights_fit():
    folder = Path(__file__).parents[2] / "gen/weights/scenes64/region_encoder"
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    load_weights(RegionCropEncoder(ConvBackbone(128, 1), 16, 128), state, folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"num_queries": 3}, "num_queries=3.*square"), ({"crop_size": 4}, "crop_size=4"), ({"crop_size": 30}, "crop_size=30")],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_coordinates_are_refused():
    with pytest.raises(ValueError, match="in_channels=6"):
        RegionCropEncoder(ConvBackbone(32, 1, in_channels=6), 4, 32)
