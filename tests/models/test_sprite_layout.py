"""Sprites go where the pose says, hide one another by nearness, and the decoder starts from the draft that they make."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gen.editing import operations
from gen.losses import LossWeights
from gen.models.conditioner import Conditioner
from gen.models.erasing import ContextErasing
from gen.models.image_backbone import ConvBackbone
from gen.models.pose_embedding import PoseFiLM
from gen.models.region_crop_encoder import RegionCropEncoder
from gen.models.source_context import SourceContext
from gen.models.sprite_layout import SpriteLayout
from gen.models.tiny import tiny_decoder, tiny_region_diffusion
from gen.models.tuning import Tuning
from gen.regions import RegionLatents, RegionPose

WIDTH, GRID = 32, 16


@pytest.fixture
def layout() -> SpriteLayout:
    torch.manual_seed(0)
    layout = SpriteLayout(4, WIDTH, patch_size=4, token_size=8)
    with torch.no_grad():
        layout.pose[-1].weight.zero_()  # what is painted where is tested here, not how the look depends on the place
        layout.to_pixels[-1].bias[3 * 16 :] = 20.0  # opaque
    return layout.eval()


def latents(*boxes: tuple[float, float, float, float]) -> RegionLatents:
    all_boxes = torch.tensor([[(0.0, 0.0, 1.0, 1.0), *boxes]])
    tokens = torch.randn(1, all_boxes.shape[1], 4, WIDTH, generator=torch.Generator().manual_seed(1))
    return RegionLatents(tokens, RegionPose.from_boxes(all_boxes), torch.ones(all_boxes.shape[:2], dtype=torch.bool))


def picture(layout: SpriteLayout, given: RegionLatents) -> tuple[torch.Tensor, torch.Tensor]:
    objects, coverage, background = F.pixel_shuffle(layout(given, GRID), 4)[0].split((3, 1, 3))
    return objects + (1 - coverage) * background, coverage[0]


@torch.no_grad()
def test_a_moved_object_is_a_moved_sprite(layout):
    before = latents((0.125, 0.25, 0.375, 0.5))
    colours, covered = picture(layout, before)
    moved_colours, moved_covered = picture(layout, operations.move(before, 1, 0.5, 0.25))
    torch.testing.assert_close(moved_covered[32:48, 40:56], covered[16:32, 8:24])
    torch.testing.assert_close(moved_colours[:, 33:47, 41:55], colours[:, 17:31, 9:23], atol=1e-4, rtol=1e-4)
    assert covered[:15].max() == 0 and covered[17:31, 9:23].min() > 0.99


@torch.no_grad()
def test_a_mirrored_object_is_a_mirrored_sprite(layout):
    before = latents((0.25, 0.25, 0.75, 0.75))
    colours, _ = picture(layout, before)
    mirrored, _ = picture(layout, operations.flip(before, 1))
    torch.testing.assert_close(mirrored[:, 17:47, 17:47], colours[:, 17:47, 17:47].flip(-1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_removed_object_leaves_the_background(layout):
    before = latents((0.25, 0.25, 0.75, 0.75))
    alone, covered = picture(layout, operations.remove(before, 1))
    assert covered.max() == 0
    assert not torch.equal(alone, picture(layout, before)[0])


@torch.no_grad()
def test_the_object_lower_in_the_picture_is_nearer(layout):
    low, high = (0.25, 0.3, 0.75, 0.8), (0.25, 0.1, 0.75, 0.6)
    for boxes, front in (((low, high), 1), ((high, low), 2)):
        given = latents(*boxes)
        only = replace(given, valid=torch.tensor([[True, front == 1, front == 2]]))
        overlap = (slice(None), slice(22, 36), slice(20, 44))
        torch.testing.assert_close(picture(layout, given)[0][overlap], picture(layout, only)[0][overlap], atol=2e-3, rtol=0)


def test_a_turn_changes_the_sprite():
    torch.manual_seed(0)
    layout = SpriteLayout(4, WIDTH)
    before = latents((0.25, 0.25, 0.75, 0.75))
    assert not torch.equal(layout.sprites(before)[:, 1], layout.sprites(operations.turn(before, 1, 40.0))[:, 1])


def model(**changes):
    torch.manual_seed(0)
    encoder = RegionCropEncoder(ConvBackbone(WIDTH, 1), 4, WIDTH, crop_size=16)
    conditioner = Conditioner(4, WIDTH, pose=PoseFiLM(WIDTH), layout=SpriteLayout(4, WIDTH, **changes.pop("layout", {})))
    return tiny_region_diffusion(region_encoder=encoder, conditioner=conditioner, draft=True, **changes)


@torch.no_grad()
def test_before_training_the_decoder_paints_the_draft(batch):
    untrained = model().eval()
    pipeline = untrained.pipeline()
    given = pipeline.encode(batch.source.pixel_values, batch.source.regions)
    objects, coverage, background = F.pixel_shuffle(untrained.conditioner.layout(given, 8), 4).split((3, 1, 3), 1)
    drafted = (objects + (1 - coverage) * background).clamp(-1, 1)
    torch.testing.assert_close(pipeline.decode(given, num_inference_steps=1), drafted, atol=1e-5, rtol=0)
    known = torch.ones_like(batch.changed)
    known[:, 8:24, 8:24] = False
    context = SourceContext(batch.source.pixel_values, known)
    painted = pipeline.decode(given, context=context, num_inference_steps=1)
    assert torch.allclose(
        painted[known[:, None].expand_as(painted)], batch.source.pixel_values[known[:, None].expand_as(painted)], atol=1e-5
    )
    filled = (objects + (1 - coverage) * context.continued(1 - coverage[:, 0])).clamp(-1, 1)
    torch.testing.assert_close(painted[..., 8:24, 8:24], filled[..., 8:24, 8:24], atol=1e-5, rtol=0)


def test_the_draft_is_learned_before_the_decoder_paints(batch):
    """Until the decoder's losses begin, the draft's alone trains the encoder and the layout, and the U-Net is not called."""
    weights = LossWeights(draft=1.0, first_steps={"masked_diffusion": 2, "per_region_diffusion": 2})
    untrained = model(loss_weights=weights, conditioning_dropout=0.0)
    first = untrained(batch, 0)
    assert {name for name in first.terms if "/" not in name} == {"draft"}
    first.total.backward()
    assert untrained.decoder.unet.conv_in.weight.grad is None
    assert untrained.region_encoder.to_tokens[0].weight.grad.abs().sum() > 0
    assert "masked_diffusion" in untrained(batch, 2).terms


def test_the_drafts_loss_counts_no_padding(batch):
    built = model(loss_weights=LossWeights(draft=1.0), conditioning_dropout=0.0)
    padding = torch.zeros_like(batch.changed)
    padding[:, -12:] = True
    pixels = torch.where(padding[:, None], -batch.target.pixel_values, batch.target.pixel_values)
    other = replace(batch, target=replace(batch.target, pixel_values=pixels))
    terms = [built(replace(one, padding=padding)).terms["draft"] for one in (batch, other)]
    assert torch.equal(*terms)
    assert not torch.equal(built(batch).terms["draft"], built(other).terms["draft"])


def test_a_batch_that_is_told_of_no_region_trains(batch):
    for changes in ({"conditioning_dropout": 1.0}, {}):
        built = model(loss_weights=LossWeights(draft=1.0), **changes)
        empty = (
            batch
            if changes
            else replace(batch, source=replace(batch.source, regions=batch.source.regions.keep(batch.changed[:, 0, :1] & False)))
        )
        built(empty, 0).total.backward()


def test_a_frozen_decoder_still_paints_more_than_the_draft():
    built = model(decoder_tuning=Tuning(parts="cross_attention"))
    assert built.decoder.unet.conv_out.weight.requires_grad and not built.decoder.unet.conv_norm_out.weight.requires_grad


def test_a_draft_that_would_be_all_is_refused():
    with pytest.raises(ValueError, match="would never begin"):
        LossWeights(draft=1.0, first_steps={"masked_diffusion": 10}, max_train_steps=10)


def test_known_pixels_count_less(batch):
    """With the context shown whole and known pixels of no weight, nothing is left of the masked loss."""
    erasing = ContextErasing(everything=0.0, region=0.0, max_boxes=0)
    still = replace(batch, changed=torch.zeros_like(batch.changed))
    for weight, expected in ((1.0, True), (0.0, False)):
        built = model(context_erasing=erasing, known_weight=weight, region_dropout=0.0, conditioning_dropout=0.0)
        torch.nn.init.ones_(built.decoder.unet.conv_out.bias)
        assert bool(built(still, 0).terms["masked_diffusion"] > 0) is expected


def test_a_draft_of_the_wrong_kind_is_refused():
    with pytest.raises(ValueError, match="no draft"):
        tiny_region_diffusion(loss_weights=LossWeights(draft=1.0))
    with pytest.raises(ValueError, match="patch_size=4"):
        model(layout={"patch_size": 2})
    with pytest.raises(ValueError, match="prediction_type=sample"):
        model(decoder=tiny_decoder(prediction_type="v_prediction"))
    with pytest.raises(ValueError, match="square grid"):
        SpriteLayout(3, WIDTH)
