"""Where diffusion happens: pixels folded onto a coarser grid, or the latents of a diffusers autoencoder."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gen.pretrained_folder import load_network, pretrained_folder


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

    An `AutoencoderTiny` is trained to give the scaled latents of the `AutoencoderKL` that it imitates, so its own factor is 1.

    Args:
        vae: the autoencoder; its weights are frozen here.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae: Any = vae.requires_grad_(False).eval()
        self.channels = vae.config.latent_channels
        self.downscale = 2 ** (len(getattr(vae.config, "block_out_channels", None) or vae.config.encoder_block_out_channels) - 1)
        self._shift = getattr(vae.config, "shift_factor", None) or 0.0

    @staticmethod
    def from_pretrained(weights: str) -> AutoencoderSpace:
        """Load an autoencoder.

        Args:
            weights: folder or hub name, of the autoencoder or of a model that has one in vae/.

        Raises:
            ArtefactError: if it holds neither an `AutoencoderTiny` nor an `AutoencoderKL`, or weights that do not fit exactly.
        """
        from diffusers import AutoencoderKL, AutoencoderTiny

        folder = pretrained_folder(weights, ("vae", ""), "model.decoder.autoencoder")
        folder = folder / "vae" if (folder / "vae").is_dir() else folder
        return AutoencoderSpace(load_network(folder, {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}))

    def train(self, mode: bool = True) -> AutoencoderSpace:
        """Stay in evaluation mode: the autoencoder is never trained here."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, pixel_values: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c g2 g3"]:
        """Return the mode of the posterior, shifted and scaled to about unit range."""
        encoded = self.vae.encode(pixel_values)
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return (latents - self._shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b 3 h w"]:
        """Decode shifted and scaled latents."""
        return self.vae.decode(latents / self.vae.config.scaling_factor + self._shift).sample.clamp(-1, 1)

    def unfold(self, latents: Float[Tensor, "b c g2 g3"]) -> Float[Tensor, "b c g2 g3"]:
        """Return the latents: a cell is their finest place."""
        return latents
