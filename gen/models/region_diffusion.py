"""RegionDiffusion: encoder, conditioner and decoder together, as they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen import losses
from gen.losses import LossTerms, LossWeights
from gen.models.conditioner import Conditioner
from gen.models.erasing import ContextErasing, drop_regions
from gen.models.latent_space import AutoencoderSpace, PixelSpace
from gen.models.region_encoder import RegionEncoder
from gen.models.source_context import SourceContext
from gen.models.unet import CpuTrainingAttention, denoise
from gen.regions import RegionLatents, Regions

if TYPE_CHECKING:
    from PIL.Image import Image

    from gen.data.batch import RegionBatch
    from gen.models.pipeline import RegionPipeline


@dataclass(frozen=True)
class _Draws:
    """Everything random about a batch; a function of its seeds alone."""

    noise: Float[Tensor, "b c g2 g3"]
    timesteps: Int[Tensor, " b"]
    region_dropped: Bool[Tensor, "b n"]
    similarity_dropped: Bool[Tensor, "b n"]
    conditioning_dropped: Bool[Tensor, " b"]
    text_dropped: Bool[Tensor, " b"]
    known: Bool[Tensor, "b h w"]


class RegionDiffusion(nn.Module):
    """Train a decoder to paint the target view from the source view's latents and the target's poses.

    Args:
        region_encoder: image and regions -> tokens.
        conditioner: latents -> what the decoder is told.
        unet: the decoder.
        scheduler: a diffusers noise scheduler; its prediction type says what the decoder predicts.
        latent_space: where diffusion happens.
        context_erasing: how the source context is erased; None trains a decoder without source context.
        loss_weights: of the losses.
        region_dropout: probability that an object is erased from the encoder's input and its tokens leave the set.
        conditioning_dropout: probability that a sample's regions are replaced by the learned null.
        text_dropout: probability that a sample's caption is left out.
        timestep_shift: s in t = s u / (1 + (s - 1) u) with u uniform: above 1, training sees more of the high noise levels, where the
            conditioning decides what is painted. Source: Esser et al. 2024, arXiv 2403.03206, eq. 23.
        num_regions: n that the pipeline's users cut a picture into.
        preview_steps: denoising steps of the validation pictures.
    """

    def __init__(
        self,
        region_encoder: RegionEncoder,
        conditioner: Conditioner,
        unet: Any,
        scheduler: Any,
        latent_space: PixelSpace | AutoencoderSpace,
        context_erasing: ContextErasing | None = None,
        loss_weights: LossWeights = LossWeights(),  # noqa: B008 (frozen)
        region_dropout: float = 0.1,
        conditioning_dropout: float = 0.1,
        text_dropout: float = 0.5,
        timestep_shift: float = 3.0,
        num_regions: int = 6,
        preview_steps: int = 4,
    ) -> None:
        super().__init__()
        for name, value in (
            ("region_dropout", region_dropout),
            ("conditioning_dropout", conditioning_dropout),
            ("text_dropout", text_dropout),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f"model.{name}={value} is not a probability in [0, 1]")
        self.region_encoder, self.conditioner, self.unet, self.latent_space = region_encoder, conditioner, unet, latent_space
        self.scheduler = scheduler
        self.context_erasing, self.loss_weights = context_erasing, loss_weights
        self.region_dropout, self.conditioning_dropout, self.text_dropout = region_dropout, conditioning_dropout, text_dropout
        self.timestep_shift = timestep_shift
        self.num_regions, self.preview_steps = num_regions, preview_steps
        self.unet.set_attn_processor(CpuTrainingAttention())

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Return one optimizer group: every trainable parameter at the same rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": learning_rate}]

    def forward(self, batch: RegionBatch) -> LossTerms:
        """Return the losses of a batch."""
        draws = self._draw(batch)
        source, target = batch.source, batch.target
        kept = source.regions.valid & ~draws.region_dropped
        tokens = self.encode_kept(source.pixel_values, source.regions, kept)
        latents = RegionLatents(tokens, target.pose, kept & target.regions.valid)
        conditioning = self.conditioner(latents, batch.captions, draws.conditioning_dropped, draws.text_dropped)
        clean = self.latent_space.encode(target.pixel_values)
        noisy = self.scheduler.add_noise(clean, draws.noise, draws.timesteps)
        context = SourceContext(batch.context, draws.known) if self.context_erasing is not None else None
        prediction = denoise(self.unet, noisy, draws.timesteps, conditioning, context)
        terms = self._diffusion_terms(prediction, clean, draws, latents.valid, target.regions)
        weights = vars(self.loss_weights)
        if weights["feature_similarity"]:
            others = source.regions.valid & ~draws.similarity_dropped
            again = self.encode_kept(source.pixel_values, source.regions, others)
            terms["feature_similarity"] = losses.feature_similarity_loss(tokens, again, kept & others)
        return losses.combine(terms, weights)

    def encode_kept(self, pixel_values: Float[Tensor, "b 3 h w"], regions: Regions, kept: Bool[Tensor, "b n"]) -> Float[Tensor, "b n q d"]:
        """Encode the kept regions with the pixels of all others erased."""
        gone = regions.keep(regions.valid & ~kept).masks.any(1)
        return self.region_encoder(pixel_values, regions.keep(kept), ~gone)

    def _diffusion_terms(
        self, prediction: Tensor, clean: Tensor, draws: _Draws, valid: Bool[Tensor, "b n"], regions: Regions
    ) -> dict[str, Tensor]:
        """Return the unweighted diffusion losses that have a weight."""
        kind = self.scheduler.config.prediction_type
        alphas = self.scheduler.alphas_cumprod.to(clean.device)[draws.timesteps]
        goal = {
            "sample": lambda: clean,
            "epsilon": lambda: draws.noise,
            "v_prediction": lambda: self.scheduler.get_velocity(clean, draws.noise, draws.timesteps),
        }[kind]()
        error = losses.squared_error(self.latent_space.unfold(prediction), self.latent_space.unfold(goal))
        weight = losses.velocity_weight(alphas, kind, self.loss_weights.largest)
        masks = F.adaptive_avg_pool2d((regions.masks & valid[..., None, None]).float(), (error.shape[-2], error.shape[-1]))
        union = torch.where(draws.conditioning_dropped[:, None, None], 1.0, masks.amax(1))
        terms = {}
        if self.loss_weights.diffusion:
            terms["diffusion"] = losses.diffusion_loss(error, weight)
        if self.loss_weights.masked_diffusion:
            terms["masked_diffusion"] = losses.masked_diffusion_loss(error, weight, union)
        if self.loss_weights.per_region_diffusion:
            terms["per_region_diffusion"] = losses.per_region_diffusion_loss(error, weight, masks, valid)
        return terms

    def _draw(self, batch: RegionBatch) -> _Draws:
        """Draw everything random, sample by sample, on the CPU: the same whatever the device, the rank and the batch."""
        device = batch.source.pixel_values.device
        height, width = batch.changed.shape[1:]
        shape = (self.latent_space.channels, height // self.latent_space.downscale, width // self.latent_space.downscale)
        boxes, valid, changed = batch.target.pose.boxes().cpu(), batch.source.regions.valid.cpu(), batch.changed.cpu()
        rows = []
        for i, seed in enumerate(batch.seeds.tolist()):
            generator = torch.Generator().manual_seed(seed)
            uniform = torch.rand(3, generator=generator)
            dropped = drop_regions(valid[i], self.region_dropout, generator)
            others = drop_regions(valid[i], 0.5, generator)
            erasing = self.context_erasing
            known = (
                torch.zeros(height, width, dtype=torch.bool) if erasing is None else erasing.known(boxes[i], dropped, changed[i], generator)
            )
            shifted = self.timestep_shift * uniform[0] / (1 + (self.timestep_shift - 1) * uniform[0])
            timestep = (shifted * self.scheduler.config.num_train_timesteps).long()
            noise = torch.randn(shape, generator=generator)
            rows.append((noise, timestep, dropped, others, uniform[1] < self.conditioning_dropout, uniform[2] < self.text_dropout, known))
        return _Draws(*(torch.stack(column).to(device) for column in zip(*rows, strict=True)))

    def pipeline(self) -> RegionPipeline:
        """Return the pipeline that edits with the weights as they are now."""
        from gen.models.pipeline import RegionPipeline

        space = self.latent_space
        return RegionPipeline(
            region_encoder=self.region_encoder,
            conditioner=self.conditioner,
            unet=self.unet,
            scheduler=self.scheduler,
            vae=None if isinstance(space, PixelSpace) else space.vae,
            source_context=self.context_erasing is not None,
            num_regions=self.num_regions,
        )

    def save_pipeline(self, folder: Path) -> None:
        """Write the pipeline as a diffusers folder."""
        self.pipeline().save_pretrained(folder)

    def preview(self, batch: RegionBatch) -> dict[str, Image]:
        """Return pictures of source, regions, reconstruction, one move and one removal."""
        from gen.models.preview import preview_pictures

        return preview_pictures(self.pipeline(), batch, self.preview_steps)
