"""The training forward: what is dropped is dropped, and everything random follows from the seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.gallery import Previews
from gen.models.erasing import ContextErasing
from gen.models.heads import ClassHead, Heads
from gen.models.image_backbone import ConvBackbone
from gen.models.region_diffusion import LossWeights
from gen.models.region_encoder import RegionEncoder
from gen.models.tiny import tiny_region_diffusion
from gen.models.tuning import Tuning


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
    assert {name for name in model(batch).terms if not name.startswith("tokens/")} == {"masked_diffusion"}


def test_pixels_of_dropped_regions_reach_neither_tokens_nor_losses(model, batch):
    """With every object dropped, repainting an object in source and context changes nothing in the loss but the target's own pixels."""
    model.region_dropout, model.conditioning_dropout = 1.0, 0.0
    model.context_erasing = ContextErasing(everything=0.0, region=0.0, max_boxes=0)
    model.loss_weights = LossWeights(per_region_diffusion=0.0)
    objects = batch.source.regions.masks[:, 1:].any(1)[:, None]
    repainted = torch.where(objects, 0.3, batch.source.pixel_values)
    changed = replace(batch, source=replace(batch.source, pixel_values=repainted), context=repainted)
    assert torch.equal(model(batch).total, model(changed).total)


def test_no_loss_counts_padding(model, batch):
    """What the decoder paints over padding gets no gradient from any loss of its picture, with and without conditioning."""
    model.loss_weights = LossWeights(diffusion=1.0, masked_diffusion=1.0, per_region_diffusion=1.0, attention_region=1.0)
    padding = torch.zeros_like(batch.changed)
    padding[:, -12:] = True
    painted = []
    handle = model.decoder.unet.conv_out.register_forward_hook(lambda _, __, output: painted.append(output) or output.retain_grad())
    for dropped in (0.0, 1.0):
        model.conditioning_dropout = dropped
        model(replace(batch, padding=padding)).total.backward()
    handle.remove()
    for output in painted:
        height = output.shape[-2] * 12 // 32
        assert output.grad[:, :, -height:].abs().max() == 0
        assert (output.grad[:, :, :-height].flatten(2).abs().amax((1, 2)) > 0).all()
    model.conditioning_dropout = 0.0
    everywhere, shown = (model(replace(batch, padding=given)).terms["attention_region"] for given in (None, padding))
    assert not torch.equal(everywhere, shown), "no gradient tells which places of the attention count"


def test_the_decoder_is_told_the_targets_pose(model, batch):
    moved = replace(batch.target, pose=replace(batch.target.pose, centre=batch.target.pose.centre + 0.2))
    source = replace(batch.source, pose=replace(batch.source.pose, centre=batch.source.pose.centre + 0.2))
    assert torch.equal(model(batch).total, model(replace(batch, source=source)).total)
    assert not torch.equal(model(batch).total, model(replace(batch, target=moved)).total)


def test_a_probability_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="region_dropout=2"):
        tiny_region_diffusion(region_dropout=2.0)


def test_a_loss_without_its_head_and_a_head_without_its_loss_are_refused():
    heads = {"heads": Heads({"classes": ClassHead(32, 2, {"shape": 8})})}
    with pytest.raises(ValueError, match=r"model.loss_weights.classes=0.1, but no head of model.heads gives that loss"):
        tiny_region_diffusion(loss_weights=LossWeights(classes=0.1))
    with pytest.raises(ValueError, match=r"model.loss_weights.rotation=0.1, but no head"):
        tiny_region_diffusion(loss_weights=LossWeights(classes=0.1, rotation=0.1), **heads)
    with pytest.raises(ValueError, match=r"model.loss_weights.classes=0, so a head of model.heads would never learn"):
        tiny_region_diffusion(**heads)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"model.conditioner.num_queries=2 but model.region_encoder.num_queries=3"):
        tiny_region_diffusion(region_encoder=RegionEncoder(ConvBackbone(32, 1), num_queries=3, width=32, depth=1, num_heads=2))
    with pytest.raises(ValueError, match=r"resolution=36 is not a multiple of 8: 4 pixels a cell x levels"):
        tiny_region_diffusion(resolution=36)


def test_nothing_is_painted_where_no_loss_looks_at_it(batch):
    """The rotation recipe trains as fast as an encoder alone: the decoder gets no gradient because it is not run."""
    model = tiny_region_diffusion(
        num_regions=6, loss_weights=LossWeights(masked_diffusion=0.0, per_region_diffusion=0.0, token_variance=1.0)
    )
    model(batch).total.backward()
    assert all(parameter.grad is None for parameter in [*model.decoder.parameters(), *model.conditioner.parameters()])
    assert any(parameter.grad is not None for parameter in model.region_encoder.parameters())


def test_the_target_views_similarity_compares_regions_seen_in_both(batch):
    model = tiny_region_diffusion(
        num_regions=6, region_dropout=0.0, similarity="target_view", loss_weights=LossWeights(feature_similarity=1.0)
    )
    assert float(model(batch).terms["feature_similarity"]) == pytest.approx(0, abs=1e-5)  # source and target are the same picture here
    hidden = batch.source.regions.valid.clone()
    hidden[:, 1:] = False
    other = torch.where(batch.target.regions.masks[:, 1:].any(1)[:, None], -batch.target.pixel_values, batch.target.pixel_values)
    target = replace(batch.target, pixel_values=other)
    assert float(model(replace(batch, target=target)).terms["feature_similarity"]) > 1e-3
    unseen = replace(target, regions=batch.target.regions.keep(hidden), pixel_values=batch.source.pixel_values)
    assert float(model(replace(batch, target=unseen)).terms["feature_similarity"]) == pytest.approx(0, abs=1e-5)


def test_tunings_decide_what_the_optimizer_gets(batch):
    tunings = {
        "backbone_tuning": Tuning(parts="none"),
        "decoder_tuning": Tuning(parts="cross_attention", learning_rate_scale=0.1, first_step=5),
    }
    model = tiny_region_diffusion(num_regions=6, **tunings)
    groups = model.parameter_groups(1.0)
    decoder = {id(parameter) for parameter in model.decoder.parameters()}
    backbone = {id(parameter) for parameter in model.region_encoder.backbone.parameters()}
    given = {id(parameter): group for group in groups for parameter in group["params"]}
    assert not backbone & given.keys() and len(given) == sum(parameter.requires_grad for parameter in model.parameters())
    assert {(given[key]["lr"], given[key]["first_step"]) for key in decoder & given.keys()} == {(0.1, 5)}
    assert {given[id(parameter)]["lr"] for parameter in model.conditioner.parameters()} == {1.0}


def test_a_frozen_encoder_is_frozen_whole_and_its_backbone_is_tuned_apart():
    model = tiny_region_diffusion(encoder_tuning=Tuning(parts="none"))
    trained = {name for name, parameter in model.region_encoder.named_parameters() if parameter.requires_grad}
    assert trained and all(name.startswith("backbone.") for name in trained)
    frozen = tiny_region_diffusion(encoder_tuning=Tuning(parts="none"), backbone_tuning=Tuning(parts="none"))
    assert not any(parameter.requires_grad for parameter in frozen.region_encoder.parameters())
    with pytest.raises(ValueError, match=r"model.encoder_tuning.parts=lora; give all or none"):
        tiny_region_diffusion(encoder_tuning=Tuning(parts="lora"))


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction", "flow"])
def test_every_prediction_type_trains_and_samples(batch, prediction_type):
    sampler = "euler_flow" if prediction_type == "flow" else "ddim"
    model = tiny_region_diffusion(num_regions=6, decoding={"prediction_type": prediction_type, "sampler": sampler})
    model(batch).total.backward()
    pipeline = model.eval().pipeline()
    latents = pipeline.encode(batch.source.pixel_values, batch.source.regions)
    assert pipeline.decode(latents, num_inference_steps=2).isfinite().all()


def test_a_dropped_control_picture_says_nothing(batch):
    """So that a picture can be edited without one by a decoder that knows what that is like."""
    controls = [torch.full_like(batch.context, value) for value in (-1.0, 1.0)]
    for dropout, same in ((1.0, True), (0.0, False)):
        model = tiny_region_diffusion(num_regions=6, controlnet=True, control_dropout=dropout)
        for parameter in model.controlnet.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
        totals = [model(replace(batch, control=control)).total for control in controls]
        assert torch.equal(*totals) == same


def test_a_preview_passes_over_placeholders_of_regions_that_are_not_there(model, batch):
    prompts = ("a [1] beside [9]", "[region] and [region] and [region] and [region] and [region]", "", "red circle")
    assert model.eval().preview(replace(batch, captions=prompts), Previews())["edits"].size


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
