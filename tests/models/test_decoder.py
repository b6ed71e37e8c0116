"""The decoder: built at toy size, widened, saved and loaded; checkpointed gradients are the same gradients."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel

from gen.models.decoder import Decoder, small_decoder
from gen.models.latent_space import PixelSpace
from gen.models.noise_process import NoiseProcess, build_scheduler

TOY = {"block_out_channels": (16, 32), "cross_attention_dim": 32, "num_heads": 2}


def decoder(seed: int = 0, **arguments) -> Decoder:
    torch.manual_seed(seed)
    return small_decoder(**TOY, **arguments)


def paint(unet: UNet2DConditionModel, extra: int = 0) -> torch.Tensor:
    """Return the prediction from fixed latents, with `extra` further channels of noise."""
    generator = torch.Generator().manual_seed(1)
    latents, tokens = torch.randn(2, 48, 8, 8, generator=generator), torch.randn(2, 5, 32, generator=generator)
    sample = torch.cat([latents, torch.randn(2, extra, 8, 8, generator=generator)], 1)
    return unet(sample, torch.tensor([10, 900]), encoder_hidden_states=tokens, return_dict=False)[0]


def test_in_pixel_space_predictions_are_clipped_and_in_latents_not(tmp_path):
    AutoencoderTiny(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
                    num_decoder_blocks=(1, 1)).save_pretrained(tmp_path)  # fmt: skip
    pixels, latents = decoder(), decoder(autoencoder=str(tmp_path))
    assert pixels.noise.scheduler.config.clip_sample and pixels.unet.config.in_channels == 48
    assert not latents.noise.scheduler.config.clip_sample and latents.unet.config.in_channels == 4
    assert latents.latent_space.downscale == 2


def test_it_learns_to_paint_a_picture():
    """Some steps on one picture: the sampled picture comes close to it, so noise, goal, timesteps and sampling fit each other."""
    made = decoder(patch_size=2)
    generator = torch.Generator().manual_seed(0)
    pixels, tokens = torch.ones(8, 3, 8, 8) * torch.tensor([0.8, -0.8, 0.0])[:, None, None], torch.zeros(8, 1, 32)
    clean = made.latent_space.encode(pixels)
    optimizer = torch.optim.AdamW(made.unet.parameters(), lr=3e-3)
    for _ in range(60):
        noise, levels = torch.randn(clean.shape, generator=generator), torch.rand(8, generator=generator)
        noisy = made.noise.add_noise(clean, noise, levels)
        prediction = made.unet(noisy, made.noise.timesteps(levels), encoder_hidden_states=tokens, return_dict=False)[0]
        (prediction - made.noise.goal(clean, noise, levels)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        sampled = made.noise.sample(
            lambda noisy, timesteps: made.unet(noisy, timesteps, encoder_hidden_states=tokens[:2], return_dict=False)[0],
            torch.randn(2, 12, 4, 4, generator=generator),
            4,
        )
    assert (made.latent_space.decode(sampled) - pixels[:2]).abs().mean() < 0.05


def test_a_pretrained_unet_paints_at_first_as_if_it_were_not_widened():
    made = decoder()
    made.pretrained = True
    before = paint(made.unet)
    made.widen(7)
    assert made.unet.config.in_channels == 55
    torch.testing.assert_close(paint(made.unet, extra=7), before)
    paint(made.unet, extra=7).sum().backward()
    assert made.unet.conv_in.weight.grad[:, 48:].abs().sum() > 0, "the new weights learn"


def test_a_unet_from_scratch_hears_the_new_channels_at_once():
    made = decoder()
    made.widen(7)
    assert made.unet.conv_in.weight[:, 48:].abs().min() > 0
    made.widen(0)
    assert made.unet.config.in_channels == 55


def test_a_widened_unet_is_one_that_diffusers_saves_and_loads(tmp_path):
    made = decoder()
    made.widen(7)
    made.unet.save_pretrained(tmp_path)
    loaded = UNet2DConditionModel.from_pretrained(tmp_path, local_files_only=True)
    assert torch.equal(paint(loaded, extra=7), paint(made.unet.eval(), extra=7))


def test_modulation_scales_and_shifts():
    made = decoder(modulation=True)
    assert made.unet.config.resnet_time_scale_shift == "scale_shift"
    assert paint(made.unet).isfinite().all()


def test_checkpointed_gradients_are_the_same():
    plain, checkpointed = decoder(), decoder(gradient_checkpointing=True)
    assert checkpointed.unet.is_gradient_checkpointing and not plain.unet.is_gradient_checkpointing
    outputs = [paint(made.unet.train()) for made in (plain, checkpointed)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().mean().backward()
    for (name, one), other in zip(plain.unet.named_parameters(), checkpointed.unet.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_levels_of_different_number_are_refused():
    with pytest.raises(ValueError, match=r"attention_levels=\(True,\) and block_out_channels=\(16, 32\) differ in length"):
        decoder(attention_levels=(True,))


def test_a_unet_of_other_latents_is_refused():
    with pytest.raises(ValueError, match=r"paints 48 channels, but the latents have 12"):
        Decoder(decoder().unet, PixelSpace(2), NoiseProcess(build_scheduler()))
