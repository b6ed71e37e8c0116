"""Where diffusion happens: pixels folded onto a coarser grid, or the latents of a diffusers autoencoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class LatentSpace(Protocol):
    """The way from pixels in [-1, 1] to what the decoder denoises, and back.

    Attributes:
        channels: c of the latents.
        downscale: pixels a cell and axis.
    """

    channels: int
    downscale: int

    def encode(self, pixel_values: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c g2 g3"]:
        """Return latents of about unit range."""
        ...

    def decode(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b 3 h w"]:
        """Return pixels in [-1, 1]."""
        ...

    def unfold(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b k h2 w2"]:
        """Return the latents on the finest raster on which they have a place: losses with masks are computed there."""
        ...


class PixelSpace(nn.Module):
    """Pixel space on a coarser grid: each patch of pixels becomes the channels of a cell; exact both ways.

    Args:
        patch_size: pixels a cell and axis.
    """

    def __init__(self, patch_size: int = 4) -> None:
        super().__init__()
        self.downscale, self.channels = patch_size, 3 * patch_size**2

    def encode(self, pixel_values: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c g2 g3"]:
        """Fold pixels into channels."""
        return F.pixel_unshuffle(pixel_values, self.downscale)

    def decode(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b 3 h w"]:
        """Unfold channels into pixels."""
        return F.pixel_shuffle(latents, self.downscale).clamp(-1, 1)

    def unfold(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b 3 h w"]:
        """Unfold channels into pixels, unclamped."""
        return F.pixel_shuffle(latents, self.downscale)


class AutoencoderSpace(nn.Module):
    """The scaled latents of a frozen diffusers autoencoder (`AutoencoderKL` or `AutoencoderTiny`).

    Args:
        vae: the autoencoder; its weights are frozen here.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae: Any = vae.requires_grad_(False).eval()
        self.channels = vae.config.latent_channels
        self.downscale = 2 ** (len(getattr(vae.config, "block_out_channels", None) or vae.config.encoder_block_out_channels) - 1)

    @staticmethod
    def from_folder(folder: str | Path) -> AutoencoderSpace:
        """Load an autoencoder from a local diffusers folder.

        Raises:
            ValueError: if the folder does not hold an `AutoencoderTiny` or an `AutoencoderKL`.
        """
        from diffusers import AutoencoderKL, AutoencoderTiny

        config = Path(folder) / "config.json"
        kind = json.loads(config.read_text()).get("_class_name") if config.is_file() else None
        known = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}
        if kind not in known:
            raise ValueError(f"autoencoder={folder}: its config.json names {kind!r}; give a folder of {' or '.join(known)}")
        return AutoencoderSpace(known[kind].from_pretrained(folder, local_files_only=True))

    def train(self, mode: bool = True) -> AutoencoderSpace:
        """Stay in evaluation mode: the autoencoder is never trained here."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, pixel_values: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c g2 g3"]:
        """Return the mode of the posterior, times the autoencoder's scaling factor."""
        encoded = self.vae.encode(pixel_values)
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return latents * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b 3 h w"]:
        """Decode scaled latents."""
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample.clamp(-1, 1)

    def unfold(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b c g2 g3"]:
        """Return the latents: a cell is their finest place."""
        return latents
