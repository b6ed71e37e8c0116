"""Tokens know their region: not its place, not other regions' cells."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn as nn

from gen.models.image_backbone import ConvBackbone
from gen.models.pretrained_backbone import TransformersBackbone
from gen.models.region_encoder import RegionEncoder
from gen.models.region_pooling import align_boxes, average_cells, coverage_of_cells
from gen.models.source_pose_encoder import SourcePoseEncoder
from gen.regions import Regions

POOLINGS = ("attention", "mean", "roi")


def build(pooling: str = "attention", in_channels: int = 4, **arguments: object) -> RegionEncoder:
    torch.manual_seed(0)
    return RegionEncoder(ConvBackbone(32, 1, in_channels), 2, 32, 2, 2, pooling, **arguments).eval()


def build_on_layers(combine_layers: str, pooling: str = "attention") -> RegionEncoder:
    """Three stages of a ResNet, of 16, 8 and 4 cells a side."""
    torch.manual_seed(0)
    architecture = {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 1], "layer_type": "basic"}
    backbone = TransformersBackbone("random", "resnet", [0, 1, 2], architecture=architecture)
    return RegionEncoder(backbone, 2, 32, 2, 2, pooling, combine_layers).eval()


@pytest.fixture
def encoder() -> RegionEncoder:
    return build()


def square(left: int, top: int, side: int = 12, size: int = 64) -> tuple[torch.Tensor, Regions]:
    label_map = torch.zeros(1, size, size, dtype=torch.long)
    label_map[:, top : top + side, left : left + side] = 1
    pattern = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pixels = torch.zeros(1, 3, size, size)
    pixels[:, :, top : top + side, left : left + side] = pattern
    return pixels, Regions.from_label_map(label_map, 3)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_object_elsewhere_has_the_same_tokens(pooling):
    """By whole cells, away from the border: the token of the moved object is the same up to rounding."""
    encoder = build(pooling)
    here, there = (encoder(*square(*place)) for place in ((12, 16), (36, 32)))
    torch.testing.assert_close(here[:, 1], there[:, 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_far_neighbour_does_not_reach_an_objects_tokens(pooling):
    encoder = build(pooling)
    pixels, regions = square(8, 8)
    other = pixels.clone()
    other[:, :, 48:, 48:] = 1.0
    torch.testing.assert_close(encoder(pixels, regions)[:, 1], encoder(other, regions)[:, 1], atol=1e-2, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_another_object_has_other_tokens(pooling):
    encoder = build(pooling)
    pixels, regions = square(8, 8)
    tokens, other = (encoder(values, regions)[:, 1] for values in (pixels, -pixels))
    assert (tokens - other).abs().mean() > 1e-2


@pytest.mark.parametrize("pooling", POOLINGS)
def test_absent_regions_have_zero_tokens_and_finite_gradients(pooling):
    pixels, regions = square(8, 8)
    tokens = build(pooling)(pixels.requires_grad_(), regions)
    tokens.square().sum().backward()
    assert tokens.shape == (1, 3, 2, 32)
    assert (tokens[:, 2] == 0).all()
    assert pixels.grad.isfinite().all()


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


@pytest.mark.parametrize("pooling", POOLINGS)
def test_saved_and_loaded_it_is_the_same(pooling, tmp_path):
    encoder = build(pooling)
    encoder.save_pretrained(tmp_path)
    assert torch.equal(RegionEncoder.from_pretrained(tmp_path)(*square(8, 8)), encoder(*square(8, 8)))


@pytest.mark.parametrize("combine_layers", ["concatenate", "separate"])
def test_several_layers_all_reach_the_tokens(combine_layers, tmp_path):
    encoder = build_on_layers(combine_layers)
    pixels, regions = square(8, 8)
    tokens = encoder(pixels, regions)
    features = encoder.backbone(encoder._image(pixels, None, None))
    assert [each.shape[-1] for each in features] == [16, 8, 4]
    for layer in range(3):
        bent = [each * -1 if number == layer else each for number, each in enumerate(features)]
        hook = encoder.backbone.register_forward_hook(lambda *_, bent=bent: bent)
        assert (encoder(pixels, regions)[:, 1] - tokens[:, 1]).abs().mean() > 1e-3
        hook.remove()
    encoder.save_pretrained(tmp_path)
    assert torch.equal(RegionEncoder.from_pretrained(tmp_path)(pixels, regions), tokens)


@pytest.mark.parametrize("combine_layers", ["concatenate", "separate"])
def test_a_region_takes_nothing_from_cells_that_are_not_its_own(combine_layers):
    """Whatever layer they are in; background cells that the object shares are left alone."""
    encoder = build_on_layers(combine_layers)
    pixels, regions = square(0, 0, side=16)
    features = encoder.backbone(encoder._image(pixels, None, None))
    tokens = encoder(pixels, regions)
    for each in features:
        own = each.shape[-1] // 4
        each[..., own:, :] = 5.0
        each[..., :, own:] = 5.0
    encoder.backbone.register_forward_hook(lambda *_: features)
    changed = encoder(pixels, regions)
    torch.testing.assert_close(changed[:, 1], tokens[:, 1])
    assert (changed[:, 0] - tokens[:, 0]).abs().mean() > 1e-3


def test_layers_kept_apart_need_attention():
    with pytest.raises(ValueError, match="combine_layers=separate: mean pooling"):
        build_on_layers("separate", "mean")


def test_coordinates_are_read_only_where_they_are_asked_for():
    pixels, regions = square(8, 8)
    elsewhere = torch.full((1, 2, 64, 64), 0.7)
    assert torch.equal(build()(pixels, regions, None, elsewhere), build()(pixels, regions))
    with pytest.raises(ValueError, match=r"coordinates=true: .* set model.region_encoder.backbone.in_channels=6"):
        build(coordinates=True)

    encoder = build(in_channels=6, coordinates=True)
    nn.init.normal_(encoder.backbone.stem.weight)
    steps = (torch.arange(64) + 0.5) / 32 - 1
    own = torch.stack([steps.expand(64, 64), steps[:, None].expand(64, 64)])[None]
    assert torch.equal(encoder(pixels, regions, None, own), encoder(pixels, regions))
    assert not torch.equal(encoder(pixels, regions, None, elsewhere), encoder(pixels, regions))


def test_the_average_is_of_the_regions_own_cells():
    features = torch.arange(16.0).view(1, 1, 4, 4)
    masks = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    masks[0, 0, :2, :4] = True  # cells 0 and 1 whole
    masks[0, 1, 6:, 5:] = True  # half of cell 14, cell 15 whole
    average = average_cells(features, coverage_of_cells(masks, 4))
    torch.testing.assert_close(average[0, :, 0], torch.tensor([0.5, (14 / 2 + 15) / 1.5, 0.0]))


def test_a_cell_belongs_to_a_region_if_any_of_its_pixels_does():
    """Also where the grid does not divide the picture: a tiny region owns every cell that touches it."""
    masks = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    masks[0, 0, 2, 7] = True
    own = coverage_of_cells(masks, 5).view(5, 5) > 0
    assert own.nonzero().tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_boxes_are_resampled_at_exact_places():
    """Bilinear samples of a plane are the plane: every cell of a box has the plane's value at the cell's centre."""
    steps = (torch.arange(8) + 0.5) / 8
    plane = torch.stack([steps.expand(8, 8), steps[:, None].expand(8, 8)])[None]
    boxes = torch.tensor([[[0.2, 0.3, 0.6, 0.9], [0.25, 0.25, 0.75, 0.5]]])
    cells = align_boxes(plane, boxes, 4)
    assert cells.shape == (1, 2, 2, 4, 4)
    centres = (torch.arange(4) + 0.5) / 4
    for box, found in zip(boxes[0], cells[0], strict=True):
        torch.testing.assert_close(found[0], (box[0] + (box[2] - box[0]) * centres).expand(4, 4))
        torch.testing.assert_close(found[1], (box[1] + (box[3] - box[1]) * centres)[:, None].expand(4, 4))


def test_a_box_shows_neighbours_that_the_mask_hides():
    """The recipe's weakness is kept: what lies in the box of an object reaches its token, masked pooling sees it only by its border."""
    pixels, regions = square(8, 8, side=24)
    masks = regions.masks.clone()
    masks[:, 1, 16:24, 16:24] = False
    regions, other = Regions(masks, regions.valid), pixels.clone()
    other[:, :, 18:22, 18:22] = 1.0
    change = {}
    for pooling in ("roi", "mean"):
        encoder = build(pooling)
        change[pooling] = (encoder(pixels, regions) - encoder(other, regions))[:, 1].abs().mean()
    assert change["roi"] > change["mean"]


def test_bad_widths_are_refused():
    with pytest.raises(ValueError, match="width=32: is no multiple of num_heads=3"):
        RegionEncoder(ConvBackbone(32), 2, 32, 1, 3)


class TestSourcePoseEncoder:
    """Boxes, and nothing else."""

    def test_it_reads_boxes_and_no_pixels(self):
        encoder = SourcePoseEncoder(2, 16)
        pixels, regions = square(8, 8)
        tokens = encoder(pixels, regions)
        assert tokens.shape == (1, 3, 2, 16)
        assert torch.equal(encoder(-pixels, regions, torch.zeros(1, 64, 64, dtype=torch.bool)), tokens)
        moved, grown = encoder(*square(24, 8))[:, 1], encoder(*square(8, 8, side=16))[:, 1]
        assert min((tokens[:, 1] - other).abs().mean() for other in (moved, grown)) > 1e-3
        assert (tokens[:, 2] == 0).all()

    def test_saved_and_loaded_it_is_the_same(self, tmp_path):
        encoder = SourcePoseEncoder(1, 16)
        encoder.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text()) == {"_class_name": "SourcePoseEncoder", "num_queries": 1, "width": 16}
        assert torch.equal(SourcePoseEncoder.from_pretrained(tmp_path)(*square(8, 8)), encoder(*square(8, 8)))
