"""RegionDiffusion: encoder, conditioner, decoder and heads together, as they are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen import losses
from gen.losses import LossTerms, LossWeights
from gen.models.attention import attach_attention
from gen.models.collapse import token_statistics
from gen.models.component import Component
from gen.models.conditioner import Conditioner, Conditioning
from gen.models.decoder import Decoder
from gen.models.draws import Draws, draw
from gen.models.erasing import ContextErasing
from gen.models.heads import Heads
from gen.models.source_context import SourceContext, context_channels
from gen.models.tuning import Tuning, apply_tuning, merged_copy, tuning_group
from gen.models.unet import denoise, draft_alone
from gen.regions import RegionLatents, RegionPose, Regions, cell_centres
from gen.sections import section

if TYPE_CHECKING:
    from PIL.Image import Image

    from gen.data.batch import RegionBatch, View
    from gen.models.pipeline import RegionPipeline

_PICTURE = ("diffusion", "masked_diffusion", "per_region_diffusion")  # of what the decoder paints
_PAINTING = (*_PICTURE, "draft", "attention_region")


class RegionDiffusion(nn.Module):
    """Train a decoder to paint the target view from the source view's latents and the target's poses.

    Args:
        region_encoder: image and regions -> tokens: a `RegionEncoder`, a `RegionCropEncoder` or a `SourcePoseEncoder`.
        conditioner: latents -> what the decoder is told.
        decoder: U-Net, noise and the space in which it works.
        heads: what else is predicted from the tokens; None for nothing.
        context_erasing: how the source context is erased; None trains a decoder without source context.
        grid_channels: tell the decoder the coordinates of its cells, as the augmentation warps them.
        draft: let the decoder predict the difference from a draft: the context where it is known, elsewhere what the layout drafts.
        known_weight: of the pixels that the source context shows, in the masked diffusion loss; the others' weight is 1.
        controlnet: train a ControlNet branch that reads the batch's conditioning picture.
        attention: how attention is computed, see `attach_attention`.
        loss_weights: of the losses.
        similarity: the other copy of an object that its tokens shall equal: the same view with other neighbours erased, or the target view,
            which is another augmentation, frame, camera or twin, as the dataset pairs them.
        similarity_stop_gradient: let only the first copy's tokens move, against collapse.
        encoder_tuning: what of the region encoder is trained, and when.
        backbone_tuning: the same of its backbone.
        decoder_tuning: the same of the U-Net.
        region_dropout: probability that an object is erased from the encoder's input and its tokens leave the set.
        conditioning_dropout: probability that a sample's regions are replaced by the learned null.
        text_dropout: probability that a sample's caption is left out.
        layer_dropout: probability, for every specialised or modulated layer of the decoder, that it is told nothing of the regions.
        control_dropout: probability that a sample's ControlNet says nothing, so that pictures can be edited without one.
        timestep_shift: see `shifted_levels`: above 1, training sees more of the high noise levels, where the conditioning decides what is
            painted.
        resolution: side of the pictures, in pixels.
        num_regions: n that the pipeline's users cut a picture into.
        preview_steps: denoising steps of the validation pictures.

    Raises:
        ValueError: if a value is out of range, or parts do not fit each other.
    """

    def __init__(
        self,
        region_encoder: Component,
        conditioner: Conditioner,
        decoder: Decoder,
        heads: Heads | None = None,
        context_erasing: ContextErasing | None = None,
        grid_channels: bool = False,
        draft: bool = False,
        known_weight: float = 1.0,
        controlnet: bool = False,
        attention: Literal["sdpa", "xformers", "flash"] = "sdpa",
        loss_weights: LossWeights = LossWeights(),  # noqa: B008 (frozen)
        similarity: Literal["kept_subsets", "target_view"] = "kept_subsets",
        similarity_stop_gradient: bool = True,
        encoder_tuning: Tuning = Tuning(),  # noqa: B008
        backbone_tuning: Tuning = Tuning(),  # noqa: B008
        decoder_tuning: Tuning = Tuning(),  # noqa: B008
        region_dropout: float = 0.1,
        conditioning_dropout: float = 0.1,
        text_dropout: float = 0.5,
        layer_dropout: float = 0.0,
        control_dropout: float = 0.3,
        timestep_shift: float = 3.0,
        resolution: int = 64,
        num_regions: int = 6,
        preview_steps: int = 4,
    ) -> None:
        super().__init__()
        probabilities = {"region_dropout": region_dropout, "conditioning_dropout": conditioning_dropout}
        probabilities |= {
            "known_weight": known_weight,
            "text_dropout": text_dropout,
            "layer_dropout": layer_dropout,
            "control_dropout": control_dropout,
        }
        for name, value in probabilities.items():
            if not 0 <= value <= 1:
                raise ValueError(f"model.{name}={value} is not in [0, 1]")
        if not timestep_shift > 0:
            raise ValueError(f"model.timestep_shift={timestep_shift}: must be above 0; 1 draws all noise levels alike")
        self.region_encoder: Any = region_encoder
        self.conditioner, self.decoder, self.heads = conditioner, decoder, heads
        self.context_erasing, self.grid_channels = context_erasing, grid_channels
        self.draft, self.known_weight = draft, known_weight
        self.loss_weights, self.similarity, self.similarity_stop_gradient = loss_weights, similarity, similarity_stop_gradient
        self.region_dropout, self.conditioning_dropout, self.text_dropout = region_dropout, conditioning_dropout, text_dropout
        self.layer_dropout, self.control_dropout, self.timestep_shift = layer_dropout, control_dropout, timestep_shift
        self.num_regions, self.preview_steps = num_regions, preview_steps
        self.attention = attention
        self._connect(resolution)
        self.controlnet = self._control_branch() if controlnet else None
        self.encoder_tuning, self.backbone_tuning, self.decoder_tuning = encoder_tuning, backbone_tuning, decoder_tuning
        self._tune()

    def _connect(self, resolution: int) -> None:
        """Give the decoder the input channels that the other parts need."""
        for name in ("width", "num_queries"):
            own, theirs = getattr(self.conditioner, name), getattr(self.region_encoder, name)
            if own != theirs:
                raise ValueError(f"model.conditioner.{name}={own} but model.region_encoder.{name}={theirs}; they must be equal")
        unet, space = self.decoder.unet, self.decoder.latent_space
        if self.decoder.image_channels:
            raise ValueError(
                f"model.decoder: this U-Net reads {self.decoder.image_channels} channels of a source picture's latents beside the noisy "
                "ones; give weights without them: here model.context_erasing shows the source picture"
            )
        multiple = space.downscale * 2 ** (len(unet.config.block_out_channels) - 1)
        if resolution % multiple:
            raise ValueError(f"resolution={resolution} is not a multiple of {multiple}: {space.downscale} pixels a cell x levels")
        grid = resolution // space.downscale
        unet.register_to_config(sample_size=grid)
        layout = self.conditioner.layout.channels if self.conditioner.layout is not None else 0
        context = context_channels(resolution, grid) if self.context_erasing is not None else 0
        draft = space.channels if self.draft else 0
        self.decoder.widen(layout + draft + context + (2 if self.grid_channels else 0))
        if self.known_weight < 1 and self.context_erasing is None:
            raise ValueError(f"model.known_weight={self.known_weight}, but without model.context_erasing no pixel is known; set it to 1")
        if self.loss_weights.draft and not self.draft:
            raise ValueError(
                f"model.loss_weights.draft={self.loss_weights.draft}, but the decoder starts from no draft; set model.draft=true"
            )
        if self.draft:
            self._check_draft()
            nn.init.zeros_(unet.conv_out.weight)  # so that training starts from the draft
            nn.init.zeros_(unet.conv_out.bias)
            unet.always_trained |= {"conv_out."}
        self.conditioner.fit_to(unet)
        attach_attention(unet, self.attention)
        given = set() if self.heads is None else {head.loss for _, head in self.heads.named()}
        for name in ("classes", "rotation", "pose"):
            weight = getattr(self.loss_weights, name)
            if weight and name not in given:
                raise ValueError(f"model.loss_weights.{name}={weight}, but no head of model.heads gives that loss; choose model/heads=...")
            if not weight and name in given:
                raise ValueError(f"model.loss_weights.{name}=0, so a head of model.heads would never learn; set it above 0")

    def _check_draft(self) -> None:
        drafted = self.conditioner.layout.draft_channels if self.conditioner.layout is not None else ()
        kind, space = self.decoder.noise.prediction_type, self.decoder.latent_space
        if kind != "sample" or space.channels != 3 * space.downscale**2:
            raise ValueError(
                f"model.draft=true: a draft is of clean pixels, but the decoder predicts {kind} in {space.channels} channels; set "
                "model.decoder.prediction_type=sample and model.decoder.autoencoder=null, or model.draft=false"
            )
        if drafted[:1] != (space.channels,):
            raise ValueError(
                f"model.draft=true: the layout drafts {drafted[0] if drafted else 0} channels, but the decoder has {space.channels}; set "
                f"model/conditioner/layout=sprites and model.conditioner.layout.patch_size={space.downscale}"
            )

    def _control_branch(self) -> nn.Module:
        from gen.models.control import control_branch

        return control_branch(self.decoder.unet, self.decoder.latent_space.downscale, self.attention)

    def _tune(self) -> None:
        """Freeze or adapt the parts as their tunings say; the encoder's own layers and its backbone apart."""
        backbone = getattr(self.region_encoder, "backbone", None)
        if self.encoder_tuning.parts not in ("all", "none"):
            raise ValueError(f"model.encoder_tuning.parts={self.encoder_tuning.parts}; give all or none, or tune model.backbone_tuning")
        self.region_encoder.requires_grad_(self.encoder_tuning.parts == "all")
        if backbone is not None:
            apply_tuning(backbone, self.backbone_tuning)
        apply_tuning(self.decoder.unet, self.decoder_tuning)

    @property
    def uses_all_parameters(self) -> bool:
        """Whether every trained parameter has a gradient at every step: not before all parts' losses begin, nor where a part denies it."""
        wanted = self.loss_weights.wanted(0)
        begun = bool(wanted & set(_PICTURE)) and all(head.loss in wanted for _, head in (self.heads.named() if self.heads else ()))
        return begun and all(getattr(part, "uses_all_parameters", True) for part in self.modules() if part is not self)

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Return the optimizer's groups: encoder, backbone and U-Net as their tunings say, and all other parts."""
        encoder, unet = self.region_encoder, self.decoder.unet
        backbone = getattr(encoder, "backbone", None)
        groups = [tuning_group(unet, self.decoder_tuning, learning_rate)]
        taken = {id(parameter) for parameter in unet.parameters()}
        if backbone is not None:
            groups.append(tuning_group(backbone, self.backbone_tuning, learning_rate))
            taken |= {id(parameter) for parameter in backbone.parameters()}
        own = [p for p in encoder.parameters() if id(p) not in taken]
        groups.append(tuning_group(encoder, self.encoder_tuning, learning_rate) | {"params": [p for p in own if p.requires_grad]})
        taken |= {id(parameter) for parameter in own}
        groups.append({"params": [p for p in self.parameters() if p.requires_grad and id(p) not in taken], "lr": learning_rate})
        return [group for group in groups if group["params"]]

    def forward(self, batch: RegionBatch, global_step: int = 0) -> LossTerms:
        """Return the losses of a batch, weighted as they are at this step, and how spread out the tokens are."""
        if self.controlnet is not None and batch.control is None:
            raise ValueError("model.controlnet=true, but the data have no conditioning pictures; set dataset.control=outlines or edges")
        weights = self.loss_weights.at(global_step)
        wanted = self.loss_weights.wanted(global_step)
        draws = draw(self, batch)
        source, target = batch.source, batch.target
        kept = source.regions.valid & ~draws.region_dropped
        tokens = self.encode_kept(source, kept)
        terms: dict[str, Tensor] = {}
        if wanted & set(_PAINTING):
            terms |= self._painting_terms(batch, RegionLatents(tokens, target.pose, kept & target.regions.valid), draws, wanted)
        terms |= self._representation_terms(batch, tokens, kept, draws, wanted)
        total, terms = losses.combine({name: terms[name] for name in terms if name in wanted}, weights)
        return LossTerms(total, terms | {f"tokens/{name}": value for name, value in token_statistics(tokens, _objects(kept)).items()})

    @section("encode")
    def encode_kept(self, view: View, kept: Bool[Tensor, "b n"]) -> Float[Tensor, "b n q d"]:
        """Encode the kept regions of a view with the pixels of all others erased."""
        regions: Regions = view.regions
        gone = regions.keep(regions.valid & ~kept).masks.any(1)
        return self.region_encoder(view.pixel_values, regions.keep(kept), ~gone, view.coordinates)

    @section("decode")
    def _painting_terms(self, batch: RegionBatch, latents: RegionLatents, draws: Draws, wanted: set[str]) -> dict[str, Tensor]:
        """Let the decoder paint the target, if a loss asks for that, and return the losses of its picture and of the draft."""
        clean = self.decoder.latent_space.encode(batch.target.pixel_values)
        conditioning = self.conditioner(
            latents, clean.shape[-1], batch.captions, draws.conditioning_dropped, draws.text_dropped,
            layer_dropped=draws.layer_dropped if self.layer_dropout else None, camera=batch.camera,
        )  # fmt: skip
        terms = {}
        if "draft" in wanted:
            told = latents.valid & ~draws.conditioning_dropped[:, None]
            terms["draft"] = self._draft_term(conditioning, clean, batch, told)
        if wanted & (set(_PAINTING) - {"draft"}):
            terms |= self._decoder_terms(batch, latents, conditioning, clean, draws, wanted)
        return terms

    def _decoder_terms(
        self,
        batch: RegionBatch,
        latents: RegionLatents,
        conditioning: Conditioning,
        clean: Float[Tensor, "b c g g"],
        draws: Draws,
        wanted: set[str],
    ) -> dict[str, Tensor]:
        """Return the losses of what the decoder predicts at the drawn noise levels."""
        target, noise = batch.target, self.decoder.noise
        noisy = noise.add_noise(clean, draws.noise, draws.levels)
        maps: list[Tensor] | None = [] if "attention_region" in wanted else None
        prediction = denoise(
            self.decoder.unet, noisy, noise.timesteps(draws.levels), conditioning,
            SourceContext(batch.context, draws.known) if self.context_erasing is not None else None,
            coordinates=target.coordinates if self.grid_channels else None,
            control=batch.control if self.controlnet is not None else None, controlnet=self.controlnet,
            control_present=~draws.control_dropped, attention_maps=maps, draft=self.draft,
        )  # fmt: skip
        goal = noise.goal(clean, draws.noise, draws.levels)
        unfold = self.decoder.latent_space.unfold
        error = losses.squared_error(unfold(prediction), unfold(goal))
        weight = noise.velocity_weight(draws.levels, self.loss_weights.largest)
        shown = losses.without_padding(error, batch.padding)
        masks = F.adaptive_avg_pool2d((target.regions.masks & latents.valid[..., None, None]).float(), (error.shape[-2], error.shape[-1]))
        masks = masks * shown[:, None]
        union = torch.where(draws.conditioning_dropped[:, None, None], shown, masks.sum(1).clamp(max=1))
        if self.known_weight < 1:
            known = F.adaptive_avg_pool2d(draws.known.float(), (error.shape[-2], error.shape[-1]))
            union = union * torch.lerp(torch.ones_like(known), known.new_tensor(self.known_weight), known)
        terms = {
            "diffusion": lambda: losses.masked_diffusion_loss(error, weight, shown),
            "masked_diffusion": lambda: losses.masked_diffusion_loss(error, weight, union),
            "per_region_diffusion": lambda: losses.per_region_diffusion_loss(error, weight, masks, latents.valid),
            "attention_region": lambda: self._attention_term(maps or [], conditioning, batch, latents.valid, draws),
        }
        return {name: term() for name, term in terms.items() if name in wanted}

    def _draft_term(
        self, conditioning: Conditioning, clean: Float[Tensor, "b c g g"], batch: RegionBatch, valid: Bool[Tensor, "b n"]
    ) -> Tensor:
        """Return the error of what the layout drafts: of objects in their whole boxes, so that outlines count, and of the background."""
        regions = batch.target.regions
        unfold = self.decoder.latent_space.unfold
        error = losses.squared_error(unfold(draft_alone(conditioning)), unfold(clean))
        height, width = regions.masks.shape[-2:]
        boxes = (RegionPose.from_regions(regions).own_coordinates(cell_centres(height, width, error.device)).abs() <= 0.5).all(-1)
        areas = torch.cat([regions.masks[:, :1], boxes[:, 1:].unflatten(-1, (height, width))], 1)
        areas = areas & ~(regions.masks & ~valid[..., None, None]).any(1, keepdim=True)  # where objects stand that nobody told of
        if batch.padding is not None:
            areas = areas & ~batch.padding[:, None]
        return losses.per_region_diffusion_loss(error, torch.ones_like(error[:, 0, 0]), areas.float(), valid)

    @staticmethod
    def _attention_term(
        maps: list[Tensor], conditioning: Conditioning, batch: RegionBatch, valid: Bool[Tensor, "b n"], draws: Draws
    ) -> Tensor:
        """Return the attention loss, a mean over the decoder's layers; samples that are told nothing of their regions do not count."""
        terms, masks = [], batch.target.regions.masks
        for layer, attention in enumerate(maps):
            counted = valid & ~(draws.conditioning_dropped | draws.layer_dropped[:, layer])[:, None]
            terms.append(losses.attention_region_loss(attention, conditioning.token_region, masks, counted, batch.padding))
        return torch.stack(terms).mean()

    def _representation_terms(
        self, batch: RegionBatch, tokens: Float[Tensor, "b n q d"], kept: Bool[Tensor, "b n"], draws: Draws, wanted: set[str]
    ) -> dict[str, Tensor]:
        """Return the losses of the tokens themselves."""
        terms: dict[str, Tensor] = {}
        both = kept & batch.target.regions.valid
        needs_target = self.heads is not None and self.heads.needs_target
        compares_views = "feature_similarity" in wanted and self.similarity == "target_view"
        of_target = self.encode_kept(batch.target, both) if needs_target or compares_views else None
        if "feature_similarity" in wanted:
            if of_target is not None and compares_views:
                again, compared = of_target, both
            else:
                others = batch.source.regions.valid & ~draws.similarity_dropped
                again, compared = self.encode_kept(batch.source, others), kept & others
            terms["feature_similarity"] = losses.feature_similarity_loss(tokens, again, compared, self.similarity_stop_gradient)
        if "token_repulsion" in wanted:
            terms["token_repulsion"] = losses.token_repulsion_loss(tokens, _objects(kept))
        if "token_variance" in wanted:
            terms["token_variance"] = losses.token_variance_loss(tokens, _objects(kept))
        if self.heads is not None:
            terms |= self.heads.losses(tokens, of_target, batch, both if needs_target else kept)
        return terms

    def compile(self, *arguments: Any, **named: Any) -> None:
        """Compile the U-Net alone: most of the time goes there, and what is drawn sample by sample would only break the graph.

        The small backbone's replicated borders do not compile: torch 2.13 asserts another memory layout of their gradient than it gets.
        """
        self.decoder.unet.compile(*arguments, **({"dynamic": False} | named))

    def pipeline(self) -> RegionPipeline:
        """Return the pipeline that edits with the weights as they are now."""
        return self._pipeline(self.region_encoder, self.decoder.unet)

    def save_pipeline(self, folder: Path) -> None:
        """Write the pipeline as a diffusers folder, with adapters merged into the weights that they adapt."""
        self._pipeline(merged_copy(self.region_encoder), merged_copy(self.decoder.unet)).save_pretrained(folder)

    def _pipeline(self, region_encoder: Any, unet: Any) -> RegionPipeline:
        from gen.models.pipeline import RegionPipeline

        erasing = self.context_erasing
        return RegionPipeline(
            region_encoder=region_encoder,
            conditioner=self.conditioner,
            unet=unet,
            scheduler=self.decoder.noise.scheduler,
            vae=getattr(self.decoder.latent_space, "vae", None),
            heads=self.heads,
            controlnet=self.controlnet,
            source_context="none" if erasing is None else "unchanged" if erasing.changed else "whole",
            grid_channels=self.grid_channels,
            draft=self.draft,
            num_regions=self.num_regions,
            attention=self.attention,
        )

    def preview(self, batch: RegionBatch, previews: Callable[[Any, Any, int], dict[str, Image]]) -> dict[str, Image]:
        """Return what `previews` draws of the pipeline, as the weights are now, and a batch."""
        return previews(self.pipeline(), batch, self.preview_steps)


def _objects(kept: Bool[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Leave out the background, whose tokens differ from the objects' even when those have collapsed; it stays where it is alone."""
    without = torch.cat([torch.zeros_like(kept[:, :1]), kept[:, 1:]], 1)
    return torch.where(kept[:, 1:].any(), without, kept)
