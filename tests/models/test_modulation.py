"""Modulation: nothing at first, the picture's mean token afterwards, and the same numbers under gradient checkpointing."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from gen.models.modulation import LayerModulation, modulated, modulated_blocks, modulation_channels
from gen.models.unet import denoise
from tests.models.toy_conditioning import GRID, noise, toy_conditioner, toy_latents, toy_unet


@pytest.fixture
def unet():
    return toy_unet(modulation=True)


@pytest.fixture
def conditioner(unet):
    conditioner = toy_conditioner(modulation=LayerModulation(32))
    conditioner.fit_to(unet)
    return conditioner


def paint(unet, conditioning) -> torch.Tensor:
    with torch.no_grad():
        return denoise(unet, *noise(), conditioning)


def test_blocks_are_counted_in_the_order_of_execution_with_a_scale_and_a_shift_each(unet):
    order = []
    for block in modulated_blocks(unet):
        block.register_forward_hook(lambda module, *_: order.append(module))
    paint(unet, toy_conditioner()(toy_latents(), GRID))
    assert order == modulated_blocks(unet)
    assert modulation_channels(unet) == [32, 64, 64, 64, 64, 64, 32, 32]


def test_at_first_it_changes_nothing(unet, conditioner):
    assert torch.equal(paint(unet, conditioner(toy_latents(), GRID)), paint(unet, toy_conditioner()(toy_latents(), GRID)))


def test_every_block_gets_its_own_numbers(unet, conditioner):
    """Scale and shift are added to what the block gets from its noise level."""
    conditioning = conditioner(toy_latents(), GRID)
    numbers = torch.randn(conditioning.modulation.shape, generator=torch.Generator().manual_seed(0))
    before, after = [], []
    with torch.no_grad():
        embedding = unet.time_embedding(unet.time_proj(noise()[1]))
        for block in modulated_blocks(unet):
            before.append(block.time_emb_proj(torch.nn.functional.silu(embedding)))
    paint(unet, conditioning)  # the hooks are there from here on; ours come after them
    for block in modulated_blocks(unet):
        block.time_emb_proj.register_forward_hook(lambda module, inputs, output: after.append(output))
    paint(unet, replace(conditioning, modulation=numbers))
    differences = torch.cat([a - b for a, b in zip(after, before, strict=True)], -1)
    torch.testing.assert_close(differences, numbers, rtol=1e-4, atol=1e-5)


def test_it_ends_with_the_context_and_leaves_no_trace(unet):
    plain = paint(unet, toy_conditioner()(toy_latents(), GRID))
    names = set(unet.state_dict())
    with modulated(unet, torch.ones(2, sum(modulation_channels(unet)))):
        pass
    assert torch.equal(paint(unet, toy_conditioner()(toy_latents(), GRID)), plain)
    assert set(unet.state_dict()) == names


def test_the_latent_is_the_mean_of_the_regions_that_are_there(unet, conditioner):
    torch.nn.init.normal_(conditioner.modulation.projections[0].weight)
    latents = toy_latents()
    shuffled = replace(latents, tokens=latents.tokens[:, [0, 2, 1, 3]])
    absent = replace(latents, tokens=torch.cat([latents.tokens[:, :3], latents.tokens[:, 3:] + 1], 1))
    other = replace(latents, tokens=latents.tokens + 1)
    first, second, third, fourth = (conditioner(each, GRID).modulation for each in (latents, shuffled, absent, other))
    torch.testing.assert_close(first, second)
    assert torch.equal(first, third) and not torch.allclose(first, fourth)


def test_gradient_checkpointing_sees_the_same_numbers(unet, conditioner):
    """Blocks run again in the backward pass, when the context is long over."""
    for projection in conditioner.modulation.projections:
        torch.nn.init.normal_(projection.weight, std=0.1)
    gradients = []
    for enabled in (False, True):
        unet.train()
        unet.enable_gradient_checkpointing() if enabled else unet.disable_gradient_checkpointing()
        conditioner.zero_grad()
        unet.zero_grad()
        denoise(unet, *noise(), conditioner(toy_latents(), GRID)).square().sum().backward()
        gradients.append([p.grad.clone() for p in (*unet.parameters(), *conditioner.modulation.parameters())])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_a_copy_of_the_decoder_is_modulated_too(unet, conditioner):
    torch.nn.init.normal_(conditioner.modulation.projections[3].weight)
    conditioning = conditioner(toy_latents(), GRID)
    painted = paint(unet, conditioning)
    assert torch.equal(paint(copy.deepcopy(unet), conditioning), painted)


def test_a_decoder_without_scales_is_refused():
    with pytest.raises(ValueError, match="resnet_time_scale_shift='default', but model.conditioner.modulation needs 'scale_shift'"):
        LayerModulation(32).fit(toy_unet())
