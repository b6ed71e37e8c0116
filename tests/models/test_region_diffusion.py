"""The training forward: what is dropped is dropped, and everything random follows from the seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.models.erasing import ContextErasing
from gen.models.region_diffusion import LossWeights


def test_the_losses_are_a_function_of_the_batch(model, batch):
    torch.manual_seed(1)
    first = model(batch).total
    torch.manual_seed(2)
    assert torch.equal(first, model(batch).total)
    assert not torch.equal(first, model(replace(batch, seeds=batch.seeds + 1)).total)


def test_every_parameter_learns(model, batch):
    model.conditioning_dropout = 0.5
    model(batch).total.backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.isfinite().all()]
    assert idle == []


def test_a_loss_of_weight_zero_is_not_computed(model, batch):
    model.loss_weights = LossWeights(per_region_diffusion=0.0)
    assert set(model(batch).terms) == {"masked_diffusion"}


def test_pixels_of_dropped_regions_reach_neither_tokens_nor_losses(model, batch):
    """With every object dropped, repainting an object in source and context changes nothing in the loss but the target's own pixels."""
    model.region_dropout, model.conditioning_dropout = 1.0, 0.0
    model.context_erasing = ContextErasing(everything=0.0, region=0.0, max_boxes=0)
    model.loss_weights = LossWeights(per_region_diffusion=0.0)
    objects = batch.source.regions.masks[:, 1:].any(1)[:, None]
    repainted = torch.where(objects, 0.3, batch.source.pixel_values)
    changed = replace(batch, source=replace(batch.source, pixel_values=repainted), context=repainted)
    assert torch.equal(model(batch).total, model(changed).total)


def test_the_decoder_is_told_the_targets_pose(model, batch):
    moved = replace(batch.target, pose=replace(batch.target.pose, centre=batch.target.pose.centre + 0.2))
    source = replace(batch.source, pose=replace(batch.source.pose, centre=batch.source.pose.centre + 0.2))
    assert torch.equal(model(batch).total, model(replace(batch, source=source)).total)
    assert not torch.equal(model(batch).total, model(replace(batch, target=moved)).total)


def test_a_probability_outside_its_range_is_refused():
    from gen.models.small import small_region_diffusion

    with pytest.raises(ValueError, match="region_dropout=2"):
        small_region_diffusion(region_dropout=2.0, width=32, block_out_channels=(16, 32), attention_levels=(False, True))


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_every_prediction_type_trains_and_samples(batch, prediction_type):
    from gen.models.small import small_region_diffusion

    torch.manual_seed(0)
    model = small_region_diffusion(
        resolution=32, width=32, block_out_channels=(16, 32), attention_levels=(False, True), prediction_type=prediction_type
    )
    model(batch).total.backward()
    pipeline = model.eval().pipeline()
    latents = pipeline.encode(batch.source.pixel_values, batch.source.regions)
    assert pipeline.decode(latents, num_inference_steps=2).isfinite().all()


def test_erasing_hides_what_must_be_hidden():
    generator = torch.Generator().manual_seed(0)
    changed = torch.zeros(32, 32, dtype=torch.bool)
    changed[4:8, 4:8] = True
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.75, 0.75], [0.0, 0.8, 0.1, 0.9]])
    erasing = ContextErasing(everything=0.0, region=0.0, max_boxes=0)
    known = erasing.known(boxes, torch.tensor([False, True, False]), changed, generator)
    assert not known[changed].any() and not known[16:24, 16:24].any()
    assert known[26:28, 0:2].all() and known[:4].all()


def test_erasing_everything_leaves_nothing():
    known = ContextErasing(everything=1.0).known(
        torch.zeros(1, 4), torch.zeros(1, dtype=torch.bool), torch.zeros(8, 8, dtype=torch.bool), torch.Generator().manual_seed(0)
    )
    assert not known.any()
