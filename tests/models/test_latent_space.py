"""Where diffusion happens: exact folding of pixels, and the latents of a real autoencoder."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from gen.models.latent_space import AutoencoderSpace, PixelSpace
from gen.models.pipeline import RegionPipeline
from gen.models.small import small_region_diffusion


def tiny_autoencoder() -> AutoencoderTiny:
    torch.manual_seed(0)
    widths = (8, 8, 8)
    return AutoencoderTiny(
        encoder_block_out_channels=widths, decoder_block_out_channels=widths, num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 1, 1)
    )


def test_folding_pixels_is_exact_both_ways():
    pixels = torch.rand(2, 3, 16, 16) * 2 - 1
    space = PixelSpace(4)
    assert space.encode(pixels).shape == (2, 48, 4, 4)
    assert torch.equal(space.decode(space.encode(pixels)), pixels)


@pytest.mark.parametrize(
    "autoencoder",
    [tiny_autoencoder, lambda: AutoencoderKL(block_out_channels=(16, 16, 16), down_block_types=("DownEncoderBlock2D",) * 3,
                                             up_block_types=("UpDecoderBlock2D",) * 3, norm_num_groups=8)],
)  # fmt: skip
def test_an_autoencoders_grid_is_known_from_its_config(autoencoder):
    space = AutoencoderSpace(autoencoder())
    latents = space.encode(torch.rand(1, 3, 32, 32) * 2 - 1)
    assert latents.shape == (1, space.channels, 32 // space.downscale, 32 // space.downscale)
    assert space.decode(latents).shape == (1, 3, 32, 32)


def test_a_model_trains_saves_and_paints_in_an_autoencoders_latents(batch, tmp_path):
    tiny_autoencoder().save_pretrained(tmp_path / "autoencoder")
    model = small_region_diffusion(
        resolution=32, autoencoder=str(tmp_path / "autoencoder"), width=32, block_out_channels=(16, 32), attention_levels=(False, True),
        layout_channels=16,
    )  # fmt: skip
    model.train()
    model(batch).total.backward()
    assert all(p.grad is None for p in model.latent_space.parameters()) and not model.latent_space.training
    model.save_pipeline(tmp_path / "pipeline")
    pipeline = RegionPipeline.from_pretrained(tmp_path / "pipeline")
    latents = pipeline.encode(batch.source.pixel_values, batch.source.regions)
    assert pipeline.resolution == 32 and pipeline.decode(latents, num_inference_steps=2).shape == batch.source.pixel_values.shape


def test_a_folder_without_an_autoencoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config.json names None; give a folder of AutoencoderKL or AutoencoderTiny"):
        small_region_diffusion(autoencoder=str(tmp_path))


def test_real_weights_bring_a_photograph_back(shared_data, photographs):
    """TAESD on a photograph at 256 px: the scaling and the value range are the right ones."""
    from safetensors.torch import load_file

    from image_utils import convert

    vae = AutoencoderTiny(latent_channels=4)
    state = {}
    for part in ("encoder", "decoder"):
        for key, value in load_file(shared_data / "taesd" / f"taesd_{part}.safetensors").items():
            index, rest = key.split(".", 1)
            state[f"{part}.layers.{int(index) - (part == 'decoder')}.{rest}"] = value.float()
    vae.load_state_dict(state)
    pixels = convert.to_tensor(photographs["chelsea"].resize((256, 256)))[None]
    space = AutoencoderSpace(vae)
    error = ((space.decode(space.encode(pixels)) - pixels) / 2).square().mean()
    assert -10 * torch.log10(error) > 22
