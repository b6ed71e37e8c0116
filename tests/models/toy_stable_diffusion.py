"""A toy-size Stable Diffusion folder in diffusers' layout: real classes, random weights, a real byte-level vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import torch

_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
_MERGES = ("r e", "re d</w>", "o f</w>", "a n")
_CONTEXT = 77


def write_toy_stable_diffusion(
    folder: Path | str,
    *,
    cross_attention_dim: int = 32,
    latent_channels: int = 4,
    sample_size: int = 8,
    image_channels: int = 0,
    prediction_type: str = "epsilon",
) -> Path:
    """Write unet/, vae/ (2 pixels a cell), scheduler/, text_encoder/, tokenizer/ and model_index.json, and return the folder.

    The weights follow from a fixed seed and leave torch's global generator as it was.

    Args:
        folder: to be made.
        cross_attention_dim: width of the text encoder's tokens, which the U-Net attends to; a multiple of 4.
        latent_channels: of the autoencoder.
        sample_size: side of the latents; the U-Net has two levels.
        image_channels: that the U-Net reads after the noisy latents, as InstructPix2Pix's does.
        prediction_type: that the scheduler names.
    """
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=latent_channels + image_channels,
            out_channels=latent_channels,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=2,
            norm_num_groups=8,
        ).save_pretrained(folder / "unet")
        AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=latent_channels,
            norm_num_groups=8,
            sample_size=2 * sample_size,
            scaling_factor=0.18215,
        ).save_pretrained(folder / "vae")
        CLIPTextModel(_text_config(cross_attention_dim)).save_pretrained(folder / "text_encoder")
    PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        set_alpha_to_one=False,
        skip_prk_steps=True,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    _write_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline" if not image_channels else "StableDiffusionInstructPix2PixPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def _vocabulary() -> dict[str, int]:
    """Return the vocabulary: every byte, every byte that ends a word, the merges, the two special tokens."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in _MERGES), *_SPECIAL]
    return {word: number for number, word in enumerate(words)}


def _text_config(width: int):
    """Return the configuration of a two-layer CLIP text encoder over the toy vocabulary."""
    from transformers import CLIPTextConfig

    vocabulary = _vocabulary()
    start, end = (vocabulary[word] for word in _SPECIAL)
    return CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=_CONTEXT,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )


def _write_tokenizer(folder: Path) -> None:
    """Write the files that published Stable Diffusion folders have."""
    folder.mkdir(parents=True)
    start, end = _SPECIAL
    special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    (folder / "vocab.json").write_text(json.dumps(_vocabulary()))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *_MERGES]) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": _CONTEXT, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
