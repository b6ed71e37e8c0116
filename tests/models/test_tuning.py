"""Tuning: one step changes what should change and nothing else, and merged adapters are plain weights that compute the same."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from gen.models.component import Component
from gen.models.decoder import small_decoder
from gen.models.tuning import Tuning, apply_tuning, merged_copy, tuning_group


def toy_unet(widened: bool = False) -> UNet2DConditionModel:
    torch.manual_seed(0)
    decoder = small_decoder(block_out_channels=(16, 32), attention_levels=(True, False), cross_attention_dim=32, num_heads=2, patch_size=2)
    decoder.pretrained = True
    decoder.widen(3 if widened else 0)
    return decoder.unet


class ToyBackbone(Component):
    """A toy DINOv2 with a new layer behind it, as a part of a pipeline folder."""

    always_trained = frozenset({"new."})

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        from transformers import Dinov2Config, Dinov2Model

        config = Dinov2Config(hidden_size=width, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14)
        self.network = Dinov2Model(config)
        self.new = nn.Linear(width, width)

    def forward(self, pixel_values):
        return self.new(self.network(pixel_values).last_hidden_state)

    def blocks(self):
        return list(self.network.encoder.layer)


def toy_backbone() -> ToyBackbone:
    torch.manual_seed(0)
    return ToyBackbone()


def run(module: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if isinstance(module, ToyBackbone):
        return module(torch.randn(2, 3, 28, 28, generator=generator))
    sample = torch.randn(2, module.config.in_channels, 8, 8, generator=generator)
    tokens = torch.randn(2, 5, 32, generator=generator)
    return module(sample, torch.tensor([10, 900]), encoder_hidden_states=tokens, return_dict=False)[0]


def step(module: nn.Module, tuning: Tuning, count: int = 1) -> set[str]:
    """Take optimizer steps and return the names of the parameters that changed."""
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    group = tuning_group(module, tuning, 1e-2)
    optimizer = torch.optim.SGD([group])
    for _ in range(count):
        (run(module) - 1).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}


def trainable(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def names(module: nn.Module, *wanted: str) -> set[str]:
    return {name for name, _ in module.named_parameters() if any(part in name for part in wanted)}


@pytest.mark.parametrize(("tuning", "wanted"), [
    (Tuning(), [""]),
    (Tuning(parts="cross_attention"), [".attn2."]),
    (Tuning(parts="lora", lora_rank=2), [".lora_A.", ".lora_B."]),
    (Tuning(parts="last_blocks"), ["up_blocks.1."]),
    (Tuning(parts="last_blocks", num_blocks=2), ["up_blocks."]),
])  # fmt: skip
def test_a_step_changes_only_the_chosen_part_of_a_unet(tuning, wanted):
    unet = toy_unet()
    apply_tuning(unet, tuning)
    assert trainable(unet) == names(unet, *wanted)
    # An adapter's A stands still in the first step, since its B is zero.
    assert step(unet, tuning, count=2) == names(unet, *wanted)


def test_nothing_means_nothing():
    unet = toy_unet()
    apply_tuning(unet, Tuning(parts="none"))
    assert trainable(unet) == set() and tuning_group(unet, Tuning(parts="none"), 1.0)["params"] == []


@pytest.mark.parametrize("parts", ["all", "cross_attention", "lora", "last_blocks", "none"])
def test_what_is_new_is_trained_whatever_is_frozen(parts):
    unet, backbone = toy_unet(widened=True), toy_backbone()
    for module, new in ((unet, {"conv_in.weight", "conv_in.bias"}), (backbone, {"new.weight", "new.bias"})):
        if not (parts == "cross_attention" and module is backbone):
            apply_tuning(module, Tuning(parts=parts))
            assert new <= trainable(module)


@pytest.mark.parametrize(("tuning", "wanted"), [
    (Tuning(parts="lora", lora_rank=2), [".lora_A.", ".lora_B.", "new."]),
    (Tuning(parts="last_blocks"), ["encoder.layer.2.", "new."]),
])  # fmt: skip
def test_a_step_changes_only_the_chosen_part_of_a_backbone(tuning, wanted):
    backbone = toy_backbone()
    apply_tuning(backbone, tuning)
    assert trainable(backbone) == names(backbone, *wanted)
    assert step(backbone, tuning, count=2) == names(backbone, *wanted)


def test_adapters_sit_at_every_projection_and_have_the_rank():
    """Per projection of d_in and d_out there are r (d_in + d_out) parameters; a U-Net's attention has four, twice a block."""
    unet, backbone, rank = toy_unet(), toy_backbone(), 3
    attentions = [module for module in unet.modules() if type(module).__name__ == "Attention"]
    layers = [layer for attention in attentions for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0])]
    expected = rank * sum(layer.in_features + layer.out_features for layer in layers)
    apply_tuning(unet, Tuning(parts="lora", lora_rank=rank))
    assert sum(parameter.numel() for parameter in unet.parameters() if parameter.requires_grad) == expected > 0
    backbone.always_trained = frozenset()
    apply_tuning(backbone, Tuning(parts="lora", lora_rank=rank))
    assert sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad) == 3 * 4 * rank * (32 + 32)


@pytest.mark.parametrize("build", [toy_unet, toy_backbone])
def test_new_adapters_change_nothing(build):
    module = build().eval()
    before = run(module)
    apply_tuning(module, Tuning(parts="lora"))
    assert torch.equal(run(module), before)


@pytest.mark.parametrize("build", [toy_unet, toy_backbone])
def test_merged_adapters_are_plain_weights_that_compute_the_same(build, tmp_path):
    module, tuning = build().eval(), Tuning(parts="lora", lora_rank=2)
    plain, before = copy.deepcopy(module), run(module)
    apply_tuning(module, tuning)
    step(module, tuning, count=3)
    trained = run(module)
    assert not torch.allclose(trained, before, atol=1e-3), "there is something to merge"
    merged = merged_copy(module)
    plain.load_state_dict(merged.state_dict())
    torch.testing.assert_close(run(plain), trained, atol=1e-4, rtol=1e-4)
    merged.save_pretrained(tmp_path)
    torch.testing.assert_close(run(type(plain).from_pretrained(tmp_path)), trained, atol=1e-4, rtol=1e-4)
    assert torch.equal(run(module), trained) and names(module, ".lora_A."), "the original goes on training"


def test_without_adapters_there_is_nothing_to_merge():
    unet = toy_unet()
    assert merged_copy(unet) is unet


def test_the_group_carries_rate_and_steps():
    unet, tuning = toy_unet(), Tuning(parts="cross_attention", learning_rate_scale=0.1, first_step=5, last_step=9)
    apply_tuning(unet, tuning)
    group = tuning_group(unet, tuning, 2e-3)
    assert group["lr"] == pytest.approx(2e-4) and (group["first_step"], group["last_step"]) == (5, 9)
    assert {id(parameter) for parameter in group["params"]} == {id(unet.get_parameter(name)) for name in trainable(unet)}


def test_checkpointed_adapters_get_the_same_gradients():
    units = [toy_unet().train() for _ in range(2)]
    units[1].enable_gradient_checkpointing()
    for unet in units:
        torch.manual_seed(3)
        apply_tuning(unet, Tuning(parts="lora", lora_rank=2))
        run(unet).square().mean().backward()
    gradients = [{name: p.grad for name, p in unet.named_parameters() if p.requires_grad} for unet in units]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"lora_rank": 0}, "tuning.lora_rank=0: must be at least 1"),
    ({"learning_rate_scale": 0.0}, "tuning.learning_rate_scale=0.0: must be above 0"),
    ({"first_step": 10, "last_step": 10}, "tuning.last_step=10: must come after first_step=10"),
])  # fmt: skip
def test_values_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Tuning(**arguments)


@pytest.mark.parametrize(("tuning", "message"), [
    (Tuning(parts="cross_attention"), "a Sequential has none"),
    (Tuning(parts="lora"), "a Sequential has no attention"),
    (Tuning(parts="last_blocks"), "a Sequential has no blocks"),
])  # fmt: skip
def test_a_part_that_is_not_there_is_refused(tuning, message):
    with pytest.raises(ValueError, match=message):
        apply_tuning(nn.Sequential(nn.Linear(2, 2)), tuning)


def test_more_blocks_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"tuning.num_blocks=4: a ToyBackbone has 3 blocks"):
        apply_tuning(toy_backbone(), Tuning(parts="last_blocks", num_blocks=4))
