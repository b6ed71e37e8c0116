"""Refinement: tokens paint the picture better, the model stays as it was, and the latents are edited like any others."""

from __future__ import annotations

import pytest
import torch

from gen.editing import operations
from gen.editing.editor import edit_pixels
from gen.editing.plan import Copy, EditPlan, Move
from gen.editing.preserve import changed_area
from gen.editing.refine import Refinement, refine
from gen.models.pipeline import RegionPipeline, shipped_folder
from gen.models.tiny import tiny_pipeline
from gen.regions import Regions, concatenate
from gen.scenes import render, sample_scene


@pytest.fixture(scope="module")
def scene():
    pipeline = RegionPipeline.from_pretrained(shipped_folder())
    rendering = render([sample_scene(2_000_003, 0, "simple")], pipeline.resolution)
    regions = Regions.from_label_map(rendering.label_map, pipeline.num_regions)
    return pipeline, rendering.pixel_values, regions, pipeline.encode(rendering.pixel_values, regions)


def error(pipeline, pixel_values, latents) -> float:
    painted = pipeline.decode(latents, generator=torch.Generator().manual_seed(0))
    return float((painted - pixel_values).square().mean())


def test_refined_tokens_paint_the_picture_better(scene):
    pipeline, pixel_values, regions, latents = scene
    weights = {name: value.clone() for part in pipeline.modules() for name, value in part.state_dict().items()}
    refined = refine(pipeline, pixel_values, latents, Refinement(num_steps=25))
    assert error(pipeline, pixel_values, refined) < 0.85 * error(pipeline, pixel_values, latents)
    assert refined.tokens.shape[1] == latents.tokens.shape[1] and not refined.tokens.requires_grad
    after = {name: value for part in pipeline.modules() for name, value in part.state_dict().items()}
    assert all(torch.equal(value, after[name]) for name, value in weights.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in pipeline.conditioner.parameters())
    moved = operations.move(refined, 1, 0.1, 0.0)
    assert torch.equal(changed_area(regions, refined, moved), changed_area(regions, latents, operations.move(latents, 1, 0.1, 0.0)))


def test_new_regions_hold_more_where_no_layout_of_sprites_would_be_hidden(scene):
    shipped, pixel_values, _, latents = scene
    with pytest.raises(ValueError, match="num_new_regions=2.*sprites"):
        refine(shipped, pixel_values, latents, Refinement(num_steps=1, num_new_regions=2))
    pipeline = tiny_pipeline(32, 6)
    rendering = render([sample_scene(0, 0, "simple")], 32)
    regions = Regions.from_label_map(rendering.label_map, 6)
    before = pipeline.encode(rendering.pixel_values, regions)
    refined = refine(pipeline, rendering.pixel_values, before, Refinement(num_steps=25, num_new_regions=2))
    assert refined.tokens.shape[1] == before.tokens.shape[1] + 2 and refined.valid[:, -2:].all()
    assert error(pipeline, rendering.pixel_values, refined) < error(pipeline, rendering.pixel_values, before)


def test_a_picture_is_refined_as_if_it_were_alone(scene):
    pipeline, pixel_values, _, latents = scene
    pair = concatenate([latents, latents])
    alone = refine(pipeline, pixel_values, latents, Refinement(num_steps=3))
    beside = refine(pipeline, torch.cat([pixel_values, -pixel_values]), pair, Refinement(num_steps=3))
    assert torch.allclose(beside.tokens[:1], alone.tokens, atol=1e-4)


def test_a_plan_refines_before_it_edits(scene):
    """Refined tokens are moved: the object at its new place is the one that was refined."""
    pipeline, pixel_values, regions, latents = scene
    plans = [EditPlan(edits=(Move(1, 0.1, 0.0),), refinement_steps=steps) for steps in (0, 10)]
    plain, refined = (edit_pixels(pipeline, pixel_values, regions, plan) for plan in plans)
    expected = refine(pipeline, pixel_values, latents, Refinement(num_steps=10))
    assert torch.equal(plain.latents.tokens, latents.tokens) and torch.equal(refined.latents.tokens, expected.tokens)
    copy = EditPlan(edits=(Copy(1, 0.1, 0.0),), prompt="a red [4]", refinement_steps=1)  # which is there only after the edit
    assert edit_pixels(pipeline, pixel_values, regions, copy).pixel_values.isfinite().all()
    assert torch.equal(plain.changed, refined.changed) and not torch.equal(plain.pixel_values, refined.pixel_values)


@pytest.mark.parametrize("field, value", [("num_steps", 0), ("num_new_regions", -1), ("learning_rate", 0.0), ("timestep_shift", -1.0)])
def test_out_of_range_is_named(field, value):
    with pytest.raises(ValueError, match=rf"refinement.{field}={value}"):
        Refinement(**{field: value})
