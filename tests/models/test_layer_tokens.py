"""Layers that are told different things: which there are, projections of their own, and dropping regions layer by layer."""

from __future__ import annotations

import pytest
import torch

from gen.models.layer_tokens import LayerTokens, RegionGate, cross_attention_layers, mirrored_groups, num_cross_attention_layers
from gen.models.modulation import LayerModulation
from gen.models.region_visibility import RegionVisibility
from gen.models.unet import denoise
from tests.models.toy_conditioning import GRID, noise, toy_conditioner, toy_latents, toy_unet


def paint(unet, conditioning) -> torch.Tensor:
    with torch.no_grad():
        return denoise(unet, *noise(), conditioning)


def test_layers_are_counted_in_the_order_of_execution():
    unet, order = toy_unet(), []
    names = cross_attention_layers(unet)
    for name in names:
        unet.get_submodule(name).register_forward_hook(lambda *_, name=name: order.append(name))
    paint(unet, toy_conditioner()(toy_latents(), GRID))
    assert order == names and len(names) == num_cross_attention_layers(unet) == 7


def test_a_layer_on_the_way_up_shares_with_the_one_it_is_joined_with():
    """Down: fine, coarse; middle; up: coarse twice, fine twice."""
    assert mirrored_groups(toy_unet()) == [0, 1, 2, 1, 1, 0, 0]


@pytest.mark.parametrize(("sharing", "number"), [("mirrored", 3), ("each", 7)])
def test_projections_start_as_the_identity_and_are_each_their_layers_own(sharing, number):
    unet, latents = toy_unet(), toy_latents()
    conditioner = toy_conditioner(layers=LayerTokens(sharing))
    conditioner.fit_to(unet)
    assert len(conditioner.layers.projections) == number
    plain = paint(unet, toy_conditioner()(latents, GRID, ["red", ""]))
    assert torch.equal(paint(unet, conditioner(latents, GRID, ["red", ""])), plain)
    for projection in conditioner.layers.projections:
        with torch.no_grad():
            projection.bias += 0.5
        assert not torch.equal(paint(unet, conditioner(latents, GRID, ["red", ""])), plain)
        with torch.no_grad():
            projection.bias.zero_()


def test_text_and_registers_are_the_same_in_every_layer():
    unet, conditioner = toy_unet(), toy_conditioner(layers=LayerTokens())
    conditioner.fit_to(unet)
    torch.nn.init.normal_(conditioner.layers.projections[0].weight)
    conditioning = conditioner(toy_latents(), GRID, ["red", "circle"])
    first = conditioning.token_region < 0
    for layer in conditioning.layers:
        assert torch.equal(layer.hidden_states[:, first], conditioning.encoder_hidden_states[:, first])
    fine, coarse = conditioning.layers[0].hidden_states, conditioning.layers[1].hidden_states
    assert not torch.equal(fine[:, ~first], coarse[:, ~first])


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("layers", [None, "mirrored"])
def test_dropping_every_layer_is_dropping_the_sample(layers, gated):
    """Layout map and self-attention apart, which are no layers' matter."""
    unet = toy_unet(in_channels=4, modulation=True)
    conditioner = toy_conditioner(
        layout=None,
        layers=LayerTokens(layers) if layers else None,
        gate=RegionGate() if gated else None,
        visibility=RegionVisibility(),
        modulation=LayerModulation(32),
    )
    conditioner.fit_to(unet)
    for parameter in conditioner.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    assert conditioner.num_layers == 7 + len(conditioner.modulation.channels)
    latents, both = toy_latents(), torch.ones(2, dtype=torch.bool)
    dropped = paint(unet, conditioner(latents, GRID, dropped=both))
    torch.testing.assert_close(
        paint(unet, conditioner(latents, GRID, layer_dropped=both[:, None].expand(-1, conditioner.num_layers))), dropped
    )
    kept = paint(unet, conditioner(latents, GRID))
    assert torch.equal(
        paint(unet, conditioner(latents, GRID, layer_dropped=torch.zeros(2, conditioner.num_layers, dtype=torch.bool))), kept
    )
    assert not torch.allclose(kept, dropped, atol=1e-4)


def test_layers_are_dropped_sample_by_sample_and_one_by_one():
    unet, conditioner, latents = toy_unet(), toy_conditioner(), toy_latents()
    conditioner.fit_to(unet)
    plain = paint(unet, conditioner(latents, GRID))
    for layer in range(conditioner.num_layers):
        layer_dropped = torch.zeros(2, conditioner.num_layers, dtype=torch.bool)
        layer_dropped[1, layer] = True
        painted = paint(unet, conditioner(latents, GRID, layer_dropped=layer_dropped))
        assert torch.equal(painted[0], plain[0]) and not torch.equal(painted[1], plain[1])


def test_what_was_built_for_other_layers_is_refused():
    layers, gate = LayerTokens("each", 32, [0, 1]), RegionGate(2)
    with pytest.raises(ValueError, match="2 layers of width 32, but the U-Net has 7 of width 32"):
        layers.fit(toy_unet(), 32)
    with pytest.raises(ValueError, match="2 layers, but the U-Net has 7"):
        gate.fit(7)
