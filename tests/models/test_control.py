"""ControlNet: nothing at first, something after a step, and a folder that diffusers reads; erasing what the decoder may not see."""

from __future__ import annotations

import pytest
import torch
from diffusers import ControlNetModel

from gen.models.attention import attach_attention
from gen.models.control import control_branch
from gen.models.erasing import ContextErasing
from gen.models.region_visibility import RegionVisibility
from gen.models.unet import denoise
from tests.models.toy_conditioning import GRID, noise, toy_conditioner, toy_latents, toy_unet

PICTURE = torch.rand(2, 3, 4 * GRID, 4 * GRID, generator=torch.Generator().manual_seed(3)) * 2 - 1


def paint(unet, conditioning, **arguments) -> torch.Tensor:
    with torch.no_grad():
        return denoise(unet, *noise(), conditioning, **arguments)


def opened(branch: ControlNetModel) -> ControlNetModel:
    """Return the branch with its zero-initialised layers changed, as training does."""
    torch.manual_seed(0)
    for name, parameter in branch.named_parameters():
        if name.startswith(("controlnet_down", "controlnet_mid", "controlnet_cond_embedding.conv_out")):
            torch.nn.init.normal_(parameter, std=0.1)
    return branch


def test_at_first_it_changes_nothing_and_later_the_picture_matters():
    unet, conditioning = toy_unet(), toy_conditioner()(toy_latents(), GRID)
    branch = control_branch(unet, 4).eval()
    plain = paint(unet, conditioning)
    assert torch.equal(paint(unet, conditioning, control=PICTURE, controlnet=branch), plain)
    opened(branch)
    first, second = (paint(unet, conditioning, control=picture, controlnet=branch) for picture in (PICTURE, -PICTURE))
    assert not torch.allclose(first, plain, atol=1e-4) and not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("downscale", [1, 2, 4, 8, 16])
def test_the_picture_is_reduced_to_the_decoders_grid(downscale):
    unet, conditioning = toy_unet(), toy_conditioner()(toy_latents(), GRID)
    branch = control_branch(unet, downscale)
    paint(unet, conditioning, control=torch.zeros(2, 3, GRID * downscale, GRID * downscale), controlnet=branch)


def test_it_starts_from_the_widened_decoders_weights():
    unet = toy_unet()
    branch = control_branch(unet, 4)
    assert torch.equal(branch.conv_in.weight, unet.conv_in.weight) and branch.config.in_channels == 12
    assert torch.equal(branch.mid_block.resnets[0].conv1.weight, unet.mid_block.resnets[0].conv1.weight)


def test_absent_tokens_and_hidden_regions_do_not_matter_to_it_either():
    """The ControlNet of diffusers knows no mask of the sequence; ours is told of it as the decoder is."""
    unet, latents = toy_unet(in_channels=4), toy_latents()
    branch = opened(control_branch(unet, 4)).eval()
    conditioner = toy_conditioner(layout=None, visibility=RegionVisibility())
    tokens = torch.cat([latents.tokens[:, :3], latents.tokens[:, 3:] + 5], 1)
    other = type(latents)(tokens, latents.pose, latents.valid)
    first, second = (paint(unet, conditioner(each, GRID), control=PICTURE, controlnet=branch) for each in (latents, other))
    assert torch.equal(first, second)


def test_everything_in_it_learns():
    unet = toy_unet()
    branch = opened(control_branch(unet, 4)).train()
    denoise(unet, *noise(), toy_conditioner()(toy_latents(), GRID), control=PICTURE, controlnet=branch).square().sum().backward()
    assert not [name for name, parameter in branch.named_parameters() if parameter.grad is None]


def test_it_is_saved_and_loaded_as_diffusers_own(tmp_path):
    unet, conditioning = toy_unet(), toy_conditioner()(toy_latents(), GRID)
    branch = opened(control_branch(unet, 4)).eval()
    branch.save_pretrained(tmp_path)
    loaded = ControlNetModel.from_pretrained(tmp_path, local_files_only=True).eval()
    attach_attention(loaded)
    first, second = (paint(unet, conditioning, control=PICTURE, controlnet=each) for each in (branch, loaded))
    assert torch.equal(first, second)


def test_mistakes_are_named():
    unet, conditioning = toy_unet(), toy_conditioner()(toy_latents(), GRID)
    with pytest.raises(ValueError, match="6 pixels wide; use a power of two"):
        control_branch(unet, 6)
    with pytest.raises(ValueError, match="there is no ControlNet"):
        paint(unet, conditioning, control=PICTURE)
    with pytest.raises(ValueError, match="there is no conditioning picture"):
        paint(unet, conditioning, controlnet=control_branch(unet, 4))


def test_a_decoder_that_may_see_the_whole_source_is_shown_what_changes():
    changed = torch.zeros(8, 8, dtype=torch.bool)
    changed[2:4, 2:4] = True
    arguments = torch.zeros(1, 4), torch.zeros(1, dtype=torch.bool), changed, torch.Generator().manual_seed(0)
    probabilities = {"everything": 0.0, "region": 0.0, "max_boxes": 0}
    assert ContextErasing(changed=False, **probabilities).known(*arguments).all()
    assert torch.equal(ContextErasing(**probabilities).known(*arguments), ~changed)
