"""Where diffusion happens: exact folding of pixels, and the latents of a real autoencoder."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file

from gen.artefact import ArtefactError
from gen.models.decoder import small_decoder
from gen.models.latent_space import AutoencoderSpace, PixelSpace
from image_utils import convert


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


def test_the_autoencoder_is_never_trained(tmp_path):
    tiny_autoencoder().save_pretrained(tmp_path)
    decoder = small_decoder(autoencoder=str(tmp_path), block_out_channels=(16, 32), cross_attention_dim=32).train()
    assert not decoder.latent_space.training
    assert not any(parameter.requires_grad for parameter in decoder.latent_space.parameters())


@pytest.mark.parametrize("subfolder", ["", "vae"])
def test_an_autoencoder_is_found_alone_or_in_a_models_folder(tmp_path, subfolder):
    vae = tiny_autoencoder()
    vae.save_pretrained(tmp_path / subfolder)
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.equal(AutoencoderSpace.from_pretrained(str(tmp_path)).encode(pixels), AutoencoderSpace(vae).encode(pixels))


def test_latents_are_shifted_and_scaled_both_ways():
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8, scaling_factor=0.5, shift_factor=0.25)  # fmt: skip
    space, pixels = AutoencoderSpace(vae), torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        raw = vae.encode(pixels).latent_dist.mode()
        torch.testing.assert_close(space.encode(pixels), (raw - 0.25) * 0.5)
        torch.testing.assert_close(space.decode(space.encode(pixels)), vae.decode(raw).sample.clamp(-1, 1))


def test_a_folder_without_an_autoencoder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"config.json names None; give a folder of AutoencoderKL or AutoencoderTiny"):
        AutoencoderSpace.from_pretrained(str(tmp_path))


@pytest.fixture(scope="session")
def taesd(shared_data, tmp_path_factory) -> str:
    """Write a diffusers folder of the real tiny autoencoder for Stable Diffusion's latents, as it is published."""
    state = {}
    for part, offset in (("encoder", 0), ("decoder", 1)):
        for key, value in load_file(shared_data / "taesd" / f"taesd_{part}.safetensors").items():
            index, rest = key.split(".", 1)
            state[f"{part}.layers.{int(index) - offset}.{rest}"] = value.float()
    vae = AutoencoderTiny(latent_channels=4)
    vae.load_state_dict(state)
    folder = tmp_path_factory.mktemp("taesd")
    vae.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "least"),
    [("chelsea", 27.0), pytest.param("astronaut", 25.0, marks=pytest.mark.slow), pytest.param("coffee", 25.0, marks=pytest.mark.slow)],
)
def test_real_weights_bring_a_photograph_back(taesd, photographs, name, least):
    """TAESD at 512 px, in decibels: scaling and value range are the right ones, and latents have about unit range."""
    pixels = convert.to_tensor(photographs[name].convert("RGB").resize((512, 512)))[None]
    space = AutoencoderSpace.from_pretrained(taesd)
    latents = space.encode(pixels)
    error = ((space.decode(latents) - pixels) / 2).square().mean()
    assert latents.shape == (1, 4, 64, 64) and 0.5 < latents.std() < 1.5
    assert -10 * torch.log10(error) >= least
