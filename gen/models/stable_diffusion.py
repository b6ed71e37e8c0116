"""Stable Diffusion: its U-Net, autoencoder, noise and text encoder, from a folder in diffusers' layout or a hub name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gen.artefact import ArtefactError
from gen.models.decoder import Decoder
from gen.models.latent_space import AutoencoderSpace
from gen.models.noise_process import NoiseProcess, PredictionType, Sampler, scheduler_from_config
from gen.pretrained_folder import load_network, pretrained_folder, read_config

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer


def stable_diffusion_decoder(
    *,
    weights: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    cross_attention_dim: int = 768,
    prediction_type: PredictionType | None = None,
    sampler: Sampler = "ddim",
    gradient_checkpointing: bool = False,
) -> Decoder:
    """Load a decoder from Stable Diffusion's weights: 1.x, 2.x, image variations and the like.

    Args:
        weights: folder or hub name with unet/, vae/ and scheduler/.
        cross_attention_dim: width of the tokens that the U-Net attends to: 768 in Stable Diffusion 1.x, 1024 in 2.x.
        prediction_type: what the U-Net is to predict; None keeps what it was trained to, anything else has to be learned.
        sampler: "ddim", "dpm_solver", or "euler_flow" for flow.
        gradient_checkpointing: compute features again in the backward pass instead of keeping them: less memory, more time.

    Raises:
        ValueError: if the widths differ, or the sampler cannot sample what is predicted.
        ArtefactError: if a part cannot be found, or its weights do not fit it exactly.
    """
    from diffusers import UNet2DConditionModel

    folder = pretrained_folder(weights, ("unet", "vae", "scheduler"), "model.decoder.weights")
    width = read_config(folder / "unet" / "config.json").get("cross_attention_dim", 1280)  # diffusers' default
    if width != cross_attention_dim:
        raise ValueError(
            f"model.decoder.cross_attention_dim={cross_attention_dim}: the U-Net of {weights} attends to tokens of width {width}; "
            f"give model.decoder.cross_attention_dim={width}"
        )
    noise = NoiseProcess(scheduler_from_config(read_config(folder / "scheduler" / "scheduler_config.json"), sampler, prediction_type))
    unet = load_network(folder / "unet", {"UNet2DConditionModel": UNet2DConditionModel})
    if gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    return Decoder(unet, AutoencoderSpace.from_pretrained(str(folder)), noise, pretrained=True)


def pretrained_text_encoder(weights: str) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Load the tokenizer and the text encoder.

    Args:
        weights: folder or hub name with tokenizer/ and text_encoder/.

    Raises:
        ArtefactError: if a part cannot be found, its weights do not fit it exactly, or the tokenizer has no vocabulary.
    """
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = pretrained_folder(weights, ("tokenizer", "text_encoder"), "model.conditioner.text.weights")
    model = load_network(folder / "text_encoder", {"CLIPTextModel": CLIPTextModel})
    # Without its files transformers gives a tokenizer of the special tokens alone, and no error.
    if not (folder / "tokenizer").is_dir():
        raise ArtefactError(f"{folder / 'tokenizer'}: no such folder; a Stable Diffusion folder has it")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    if not 2 < len(tokenizer) <= model.config.vocab_size:
        raise ArtefactError(
            f"{folder / 'tokenizer'}: has {len(tokenizer)} tokens where the text encoder has {model.config.vocab_size}; "
            "it needs vocab.json and merges.txt, or tokenizer.json, of the same model"
        )
    return tokenizer, model
