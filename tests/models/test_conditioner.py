"""What the decoder is told: poses, captions, and how both are left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.models.conditioner import Conditioner
from gen.regions import RegionLatents, RegionPose


@pytest.fixture
def conditioner() -> Conditioner:
    torch.manual_seed(0)
    return Conditioner(2, 32, grid=16, num_registers=3, layout_channels=8, vocabulary=["red", "circle"]).eval()


@pytest.fixture
def latents() -> RegionLatents:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]])
    return RegionLatents(torch.randn(1, 3, 2, 32, generator=generator), RegionPose.from_boxes(boxes), torch.tensor([[True, True, False]]))


def test_the_sequence_is_registers_text_regions(conditioner, latents):
    conditioning = conditioner(latents, ["a red circle"])
    assert conditioning.encoder_hidden_states.shape == (1, 3 + 3 + 3 * 2, 32)
    assert conditioning.attention_mask.tolist() == [[True] * 3 + [True] * 3 + [True] * 4 + [False] * 2]


def test_an_empty_caption_has_no_text_tokens(conditioner, latents):
    assert conditioner(latents, [""]).attention_mask[0, 3:4].tolist() == [False]


def test_words_matter_and_unknown_words_are_one_word(conditioner, latents):
    red, circle, odd, other = (conditioner(latents, [word]).encoder_hidden_states for word in ("red", "circle", "zebra", "quark"))
    assert not torch.equal(red, circle) and torch.equal(odd, other)


def test_before_training_tokens_are_free_of_pose(conditioner, latents):
    """FiLM is zero-initialised: the sequence does not depend on the pose yet, the layout map does."""
    moved = replace(latents, pose=replace(latents.pose, centre=latents.pose.centre + 0.1))
    first, second = conditioner(latents), conditioner(moved)
    assert torch.equal(first.encoder_hidden_states, second.encoder_hidden_states)
    assert not torch.equal(first.layout_map, second.layout_map)


def test_the_layout_map_paints_a_region_only_around_its_box(conditioner, latents):
    without = conditioner(replace(latents, valid=torch.tensor([[True, False, False]]))).layout_map
    painted = (conditioner(latents).layout_map - without).abs().amax(1)[0]
    assert painted[4:8, 4:8].min() > 1e-3 and painted[11:].max() < 1e-3


def test_a_mirrored_object_is_a_mirrored_map(conditioner, latents):
    only = replace(latents, valid=torch.tensor([[False, True, False]]))
    flipped = replace(only, pose=replace(only.pose, flip=torch.tensor([[0.0, 1.0, 0.0]])))
    first, second = conditioner(only).layout_map[..., 4:8, 4:8], conditioner(flipped).layout_map[..., 4:8, 4:8]
    torch.testing.assert_close(second, first.flip(-1))


def test_a_dropped_sample_knows_nothing_of_its_regions(conditioner, latents):
    other = replace(latents, tokens=latents.tokens + 1)
    dropped = torch.tensor([True])
    first, second = conditioner(latents, None, dropped), conditioner(other, None, dropped)
    assert torch.equal(first.encoder_hidden_states, second.encoder_hidden_states) and torch.equal(first.layout_map, second.layout_map)
