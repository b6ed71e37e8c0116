"""Attention: plain attention is diffusers' own, restricted cells see nothing else, and what is recorded are probabilities."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0

from gen.models.attention import AttentionControl, attach_attention
from gen.models.layer_tokens import LayerTokens, RegionGate, cross_attention_layers
from gen.models.region_visibility import RegionVisibility, grid_side
from gen.models.unet import denoise
from tests.models.toy_conditioning import GRID, QUERIES, noise, toy_conditioner, toy_latents, toy_unet


def paint(unet, conditioning, **arguments) -> torch.Tensor:
    with torch.no_grad():
        return denoise(unet, *noise(), conditioning, **arguments)


def test_without_options_it_is_diffusers_own_attention():
    unet, conditioning = toy_unet(), toy_conditioner()(toy_latents(), GRID, ["red circle", ""])
    ours = paint(unet, conditioning)
    unet.set_attn_processor(AttnProcessor2_0())
    sample = torch.cat([noise()[0], conditioning.layout_map], 1)
    with torch.no_grad():
        theirs = unet(
            sample, noise()[1], conditioning.encoder_hidden_states, encoder_attention_mask=conditioning.attention_mask, return_dict=False
        )[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_absent_tokens_do_not_matter():
    unet, conditioner, latents = toy_unet(in_channels=4), toy_conditioner(layout=None), toy_latents()
    other = replace(latents, tokens=torch.cat([latents.tokens[:, :3], latents.tokens[:, 3:] + 5], 1))
    assert torch.equal(paint(unet, conditioner(latents, GRID)), paint(unet, conditioner(other, GRID)))


def attention_outputs(unet, conditioning, kind: str) -> list[torch.Tensor]:
    """Return what the first attention layer of a kind gives, before any other layer has mixed the cells: [b rows columns c]."""
    outputs = []
    module = unet.down_blocks[0].attentions[0].transformer_blocks[0].get_submodule(kind)
    handle = module.register_forward_hook(lambda module, inputs, output: outputs.append(output.unflatten(1, (GRID, GRID))))
    paint(unet, conditioning)
    handle.remove()
    return outputs[0]


def test_a_cell_sees_only_the_regions_that_cover_it():
    unet, latents = toy_unet(in_channels=4), toy_latents()
    tokens = latents.tokens.clone()
    tokens[:, 1] += 1
    restricted = toy_conditioner(layout=None, visibility=RegionVisibility(margin=0.0))
    first, second = (
        attention_outputs(unet, restricted(replace(latents, tokens=value), GRID), "attn2") for value in (latents.tokens, tokens)
    )
    changed = (first != second).any(-1)[0]
    assert changed[:2, :2].all(), "the cells of the changed region"
    assert not changed[4:].any() and not changed[:, 4:].any(), "cells far from it"
    free = toy_conditioner(layout=None)
    first, second = (attention_outputs(unet, free(replace(latents, tokens=value), GRID), "attn2") for value in (latents.tokens, tokens))
    assert (first != second).any(-1).all(), "without the option every cell sees it"


def test_a_background_cell_sees_registers_text_and_background():
    latents, conditioner = toy_latents(), toy_conditioner(visibility=RegionVisibility(margin=0.0))
    conditioning = conditioner(latents, GRID, ["red circle", "red"])
    control = AttentionControl(conditioning, torch.float32)
    seen = control.cross_bias(0, GRID**2)[0, 0].unflatten(0, (GRID, GRID)) == 0
    shared, regions = conditioning.token_region < 1, conditioning.token_region[None]
    assert seen[4, 4].tolist() == shared.tolist()
    assert torch.equal(seen[0, 0], shared | (regions[0] == 1)) and torch.equal(seen[7, 7], shared | (regions[0] == 2))


def test_every_region_is_seen_by_some_cell_at_every_resolution():
    """However small a region is, the cell that its centre lies in sees it."""
    generator = torch.Generator().manual_seed(0)
    latents = toy_latents(16)
    pose = replace(latents.pose, centre=torch.rand(16, 4, 2, generator=generator), size=torch.rand(16, 4, 2, generator=generator) * 0.01)
    angle = torch.rand(16, 4, generator=generator) * 7
    pose = replace(pose, angle=torch.stack([angle.sin(), angle.cos()], -1))
    cells = RegionVisibility(margin=0.0)(pose, latents.valid, torch.zeros(16, dtype=torch.bool))
    for side in (1, 2, 5, 8):
        assert torch.equal(cells.inside(side).any(-1), latents.valid)
    assert cells.inside(8)[:, 1:].sum(-1).max() <= 4, "and hardly any other"


def test_self_attention_stays_among_cells_that_share_a_region_and_the_background():
    cells = toy_conditioner(visibility=RegionVisibility(cross_attention=False, self_attention=True, margin=0.0))(
        toy_latents(), GRID
    ).visible
    allowed = cells.of_cells(GRID)[0].reshape(GRID, GRID, GRID, GRID)
    objects = cells.inside(GRID)[0, 1:].any(0).reshape(GRID, GRID)
    background = ~objects
    assert torch.equal(allowed[0, 0], background | cells.inside(GRID)[0, 1].reshape(GRID, GRID))
    assert torch.equal(allowed[4, 4], background)
    assert allowed.reshape(GRID**2, GRID**2).diagonal().all()


def test_a_cell_of_one_object_is_deaf_to_the_cells_of_another():
    unet = toy_unet(in_channels=4)
    conditioning = toy_conditioner(layout=None, visibility=RegionVisibility(self_attention=True, margin=0.0))(toy_latents(), GRID)
    attn = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    hidden = torch.randn(2, GRID, GRID, 16, generator=torch.Generator().manual_seed(2))
    other = hidden.clone()
    other[:, 7, 7] += 1
    control = AttentionControl(conditioning, torch.float32)
    with torch.no_grad():
        first, second = (attn(value.flatten(1, 2), control=control).unflatten(1, (GRID, GRID)) for value in (hidden, other))
    unchanged = (first == second).all(-1)[0]
    assert unchanged[:2, :2].all() and unchanged[4, 4], "the other object's cells and the background"
    assert not unchanged[7, 7] and not unchanged[6, 7], "its own"


def test_dropped_samples_see_everything():
    cells = RegionVisibility(self_attention=True)(toy_latents().pose, toy_latents().valid, torch.tensor([True, False]))
    assert cells.of_regions(GRID)[0].all() and cells.of_cells(GRID)[0].all()
    assert not cells.of_regions(GRID)[1].all() and not cells.of_cells(GRID)[1].all()


def test_a_closed_gate_leaves_text_alone_and_an_open_one_lets_regions_in():
    unet, latents = toy_unet(in_channels=4), toy_latents()
    conditioner = toy_conditioner(layout=None, gate=RegionGate())
    conditioner.fit_to(unet)
    told = conditioner(latents, GRID, ["red", "circle"])
    others = told.encoder_hidden_states.shape[1] - told.num_region_tokens
    text_only = replace(
        told,
        encoder_hidden_states=told.encoder_hidden_states[:, :others],
        attention_mask=told.attention_mask[:, :others],
        num_region_tokens=0,
        token_region=told.token_region[:others],
        gates=None,
    )
    torch.testing.assert_close(paint(unet, told), paint(unet, text_only), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        conditioner.gate.gates[0] = 1.0
    assert not torch.allclose(paint(unet, conditioner(latents, GRID, ["red", "circle"])), paint(unet, text_only), atol=1e-4)


@pytest.mark.parametrize("gated", [False, True])
def test_recorded_attention_is_probabilities_of_every_layer(gated):
    unet, latents = toy_unet(), toy_latents()
    conditioner = toy_conditioner(visibility=RegionVisibility(), gate=RegionGate() if gated else None)
    conditioner.fit_to(unet)
    conditioning, maps = conditioner(latents, GRID), []
    recorded = paint(unet, conditioning, attention_maps=maps)
    torch.testing.assert_close(recorded, paint(unet, conditioning), rtol=1e-4, atol=1e-5)
    assert len(maps) == len(cross_attention_layers(unet))
    assert [each.shape[1] for each in maps] == [64, 16, 16, 16, 16, 64, 64]
    for each in maps:
        torch.testing.assert_close(each.sum(-1), torch.ones(each.shape[:2]))
        assert each[..., conditioning.token_region == 3].abs().max() == 0, "the absent region"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_recorded_attention_trains_what_it_depends_on(checkpointing):
    """Under gradient checkpointing too, with the same gradients."""
    unet, conditioner = toy_unet(), toy_conditioner(layers=LayerTokens(), visibility=RegionVisibility(self_attention=True))
    conditioner.fit_to(unet)
    gradients = []
    for enabled in {False, checkpointing}:
        unet.train()
        unet.enable_gradient_checkpointing() if enabled else unet.disable_gradient_checkpointing()
        unet.zero_grad()
        maps = []
        prediction = denoise(unet, *noise(), conditioner(toy_latents(), GRID, ["red", "red"]), attention_maps=maps)
        (sum(each[..., -2 * QUERIES :].sum() for each in maps) + prediction.square().sum()).backward()
        assert len(maps) == 7
        gradients.append(unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2.to_k.weight.grad.clone())
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[-1])


def test_a_cpu_that_trains_in_bf16_attends_in_fp32(monkeypatch):
    unet, conditioning, dtypes = toy_unet(), toy_conditioner()(toy_latents(), GRID), []
    attention = torch.nn.functional.scaled_dot_product_attention

    def spy(query, *rest):
        dtypes.append(query.dtype)
        return attention(query, *rest)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        denoise(unet, *noise(), conditioning).float().square().mean().backward()
        trained = set(dtypes)
        dtypes.clear()
        paint(unet, conditioning)
    assert trained == {torch.float32} and set(dtypes) == {torch.bfloat16}


def test_nothing_is_ignored_with_a_warning(caplog):
    logging.getLogger("diffusers").propagate = True
    try:
        paint(toy_unet(), toy_conditioner()(toy_latents(), GRID))
    finally:
        logging.getLogger("diffusers").propagate = False
    assert caplog.records == []


@pytest.mark.parametrize(("backend", "command"), [("xformers", "pip install xformers"), ("flash", "pip install flash-attn")])
def test_a_backend_that_is_not_installed_is_refused_with_the_command(backend, command):
    package = {"flash": "flash_attn"}.get(backend, backend)
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(ValueError, match=f"model.attention={backend}: the package {package} is not installed; run `{command}"):
        attach_attention(toy_unet(), backend)


def test_without_our_attention_nothing_is_painted():
    unet = toy_unet()
    unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(AssertionError, match="attach_attention"):
        paint(unet, toy_conditioner()(toy_latents(), GRID))


def test_attention_of_another_kind_is_refused():
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("SimpleCrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "SimpleCrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    with pytest.raises(ValueError, match="down_blocks.0.attentions.0 is attention with .* not supported"):
        attach_attention(unet)


def test_channels_that_do_not_add_up_are_counted():
    conditioning = toy_conditioner()(toy_latents(), GRID)
    with pytest.raises(ValueError, match=r"4 \+ 8 \+ 2 = 14 channels, but the U-Net was built for 12"):
        paint(toy_unet(), conditioning, coordinates=torch.zeros(2, 2, 32, 32))


def test_grid_channels_are_the_mean_coordinates_of_a_cells_pixels():
    unet, seen = toy_unet(in_channels=6), []
    unet.conv_in.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][:, 4:]))
    ticks = (torch.arange(32) * 2 + 1) / 32 - 1
    coordinates = torch.stack([ticks.expand(32, 32), ticks[:, None].expand(32, 32)])[None].expand(2, -1, -1, -1)
    paint(unet, toy_conditioner(layout=None)(toy_latents(), GRID), coordinates=coordinates)
    cells = (torch.arange(GRID) * 2 + 1) / GRID - 1
    torch.testing.assert_close(seen[0][0, 0], cells.expand(GRID, GRID))
    torch.testing.assert_close(seen[0][0, 1], cells[:, None].expand(GRID, GRID))


def test_only_square_grids_have_a_side():
    assert grid_side(64) == 8
    with pytest.raises(ValueError, match="48 cells"):
        grid_side(48)
