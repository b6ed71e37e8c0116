"""RegionPipeline: all that is needed to edit, as a diffusers folder: no Hydra, no training code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Bool, Float
from torch import Tensor

from gen.artefact import ArtefactError, verify_folder, write_folder
from gen.models.attention import attach_attention
from gen.models.component import Component
from gen.models.conditioner import Conditioner, Conditioning
from gen.models.heads import Heads
from gen.models.latent_space import AutoencoderSpace, LatentSpace, PixelSpace
from gen.models.noise_process import NoiseProcess
from gen.models.pretrained_backbone import TransformersBackbone
from gen.models.region_crop_encoder import RegionCropEncoder
from gen.models.region_encoder import RegionEncoder
from gen.models.rotation_head import RotationHead
from gen.models.source_context import SourceContext
from gen.models.source_pose_encoder import SourcePoseEncoder
from gen.models.timm_backbone import TimmBackbone
from gen.models.unet import denoise
from gen.regions import RegionLatents, RegionPose, Regions, picture_coordinates

# A folder is data: only these classes are ever built from one, whatever its model_index.json says.
_REQUIRED = {
    "region_encoder": (RegionEncoder, RegionCropEncoder, SourcePoseEncoder),
    "conditioner": (Conditioner,),
    "unet": (UNet2DConditionModel,),
    "scheduler": (DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler),
}
_OPTIONAL = {"vae": (AutoencoderKL, AutoencoderTiny), "heads": (Heads,), "controlnet": (ControlNetModel,)}
_SETTINGS = ("source_context", "grid_channels", "draft", "num_regions")
_PICKLES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
_INNER = (TransformersBackbone, TimmBackbone, RotationHead)  # imported so that a region encoder's or heads' folder may name them

ContextKind = Literal["none", "unchanged", "whole"]


def shipped_folder() -> Path:
    """Return the folder of the weights that come with the package: 64 px, trained on the simple rendered scenes."""
    return Path(__file__).resolve().parents[1] / "weights" / "scenes64"


class RegionPipeline:
    """Encode a picture's regions into latents, and paint latents into a picture.

    Args:
        region_encoder: image and regions -> tokens.
        conditioner: latents -> what the decoder is told.
        unet: the decoder.
        scheduler: of the sampling.
        vae: autoencoder of a latent-space model; None for pixel space.
        heads: predictions from the tokens, such as an object's class; None for none.
        controlnet: the branch that reads a conditioning picture; None for none.
        source_context: what the decoder sees of an edited picture: nothing, what the edit cannot change, or all of it.
        grid_channels: whether the decoder is told the coordinates of its cells.
        draft: whether the decoder predicts the difference from a draft, see `denoise`.
        num_regions: most regions a picture is cut into, background included, when the pipeline's users segment.
        attention: how attention is computed, see `attach_attention`.
    """

    def __init__(
        self,
        region_encoder: Component,
        conditioner: Conditioner,
        unet: UNet2DConditionModel,
        scheduler: Any,
        vae: AutoencoderKL | AutoencoderTiny | None = None,
        heads: Heads | None = None,
        controlnet: ControlNetModel | None = None,
        source_context: ContextKind = "unchanged",
        grid_channels: bool = False,
        draft: bool = False,
        num_regions: int = 6,
        attention: Literal["sdpa", "xformers", "flash"] = "sdpa",
    ) -> None:
        self.region_encoder: Any = region_encoder
        self.conditioner, self.unet, self.scheduler, self.vae = conditioner, unet, scheduler, vae
        self.heads, self.controlnet = heads, controlnet
        self.source_context, self.grid_channels, self.draft, self.num_regions = source_context, grid_channels, draft, num_regions
        patch_size = int((unet.config.out_channels / 3) ** 0.5)
        self.latent_space: LatentSpace = AutoencoderSpace(vae) if vae is not None else PixelSpace(patch_size)
        self.noise = NoiseProcess(scheduler)
        if draft and (vae is not None or not getattr(conditioner.layout, "draft_channels", ())):
            raise ArtefactError("draft is true, but this pipeline has no layout that drafts pixels: it was not saved by `save_pretrained`")
        conditioner.fit_to(unet)
        for network in filter(None, (unet, controlnet)):
            attach_attention(network, attention)

    @property
    def components(self) -> dict[str, Any]:
        """The parts that the folder holds, by name."""
        parts = {name: getattr(self, name) for name in (*_REQUIRED, *_OPTIONAL)}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def device(self) -> torch.device:
        """Where the parts are."""
        return next(self.unet.parameters()).device

    @property
    def resolution(self) -> int:
        """Side of the square pictures, in pixels."""
        return self.unet.config.sample_size * self.latent_space.downscale

    def modules(self) -> list[torch.nn.Module]:
        """Return the parts that are networks."""
        return [part for part in self.components.values() if isinstance(part, torch.nn.Module)]

    def to(self, target: torch.device | str | torch.dtype) -> RegionPipeline:
        """Move every part to a device, or change its dtype, to save it smaller; it paints in fp32."""
        for part in self.modules():
            part.to(target)
        return self

    @torch.no_grad()
    def encode(self, pixel_values: Float[Tensor, "b 3 h w"], regions: Regions) -> RegionLatents:
        """Encode every region; the pose is measured from its mask.

        Args:
            pixel_values: in [-1, 1], `resolution` x `resolution`.
            regions: of the same size.

        Raises:
            ValueError: if picture or masks have another size.
        """
        for name, size in (("pixel_values", pixel_values.shape[-2:]), ("regions", regions.masks.shape[-2:])):
            if tuple(size) != (self.resolution, self.resolution):
                raise ValueError(
                    f"{name} is {size[1]}x{size[0]} pixels; this pipeline works at {self.resolution}x{self.resolution}: resize it"
                )
        regions = regions.to(self.device)
        tokens = self.region_encoder(pixel_values.to(self.device), regions)
        return RegionLatents(tokens, RegionPose.from_regions(regions), regions.valid)

    def surroundings(self, pixel_values: Float[Tensor, "b 3 h w"], changed: Bool[Tensor, "b h w"]) -> SourceContext | None:
        """Return what the decoder may see of a picture while it is edited; None for a pipeline without source context.

        Args:
            pixel_values: the picture before the edit, in [-1, 1].
            changed: what the edit may change.
        """
        if self.source_context == "none":
            return None
        known = torch.ones_like(changed) if self.source_context == "whole" else ~changed
        return SourceContext(pixel_values.to(changed.device), known)

    @torch.no_grad()
    def decode(
        self,
        latents: RegionLatents,
        *,
        prompt: str | list[str] | None = None,
        context: SourceContext | None = None,
        control: Float[Tensor, "b 3 h w"] | None = None,
        camera: Float[Tensor, "b 12"] | None = None,
        num_inference_steps: int = 4,
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        attention_maps: list[Tensor] | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Paint latents.

        Args:
            latents: what is where.
            prompt: a caption for all pictures or one each; None or "" for none.
            context: the surroundings of an edit; None paints from the latents alone.
            control: conditioning pictures in [-1, 1], for a pipeline with a ControlNet; None paints without it.
            camera: of the view to paint relative to the picture's, see `RegionBatch.camera`, for a pipeline with a camera token.
            num_inference_steps: denoising steps.
            guidance_scale: 1 is off; more follows the latents more closely.
            generator: of the noise, on the CPU; the same state gives the same picture. A list gives every picture its own.
            attention_maps: a list to which every step adds its cross-attention, see `denoise`; that without the latents is left out.

        Returns:
            Pixels in [-1, 1].

        Raises:
            ValueError: if a context, a conditioning picture or a camera is given to a pipeline that was trained without.
        """
        batch_size, side = latents.valid.shape[0], self.unet.config.sample_size
        if control is not None and self.controlnet is None:
            raise ValueError("control is given, but this pipeline has no ControlNet; leave it out")
        if camera is not None and self.conditioner.camera is None:
            raise ValueError("camera is given, but this pipeline was trained without a camera token; leave it out")
        told = self.condition(latents, prompt, camera=camera)
        dropped = torch.ones(batch_size, dtype=torch.bool, device=self.device)
        plain = self.condition(latents, None, dropped) if guidance_scale != 1.0 else None
        context = self._context(context, batch_size)

        def predict(noisy: Tensor, timesteps: Tensor) -> Tensor:
            prediction = self.predict(noisy, timesteps, told, context, control, attention_maps)
            if plain is None:
                return prediction
            unguided = self.predict(noisy, timesteps, plain, context, control)
            return unguided + guidance_scale * (prediction - unguided)

        shape = (batch_size, self.latent_space.channels, side, side)
        noise = randn_tensor(shape, generator=generator, device=torch.device("cpu")).to(self.device)
        return self.latent_space.decode(self.noise.sample(predict, noise, num_inference_steps))

    def condition(
        self,
        latents: RegionLatents,
        prompt: str | list[str] | None = None,
        dropped: Bool[Tensor, " b"] | None = None,
        camera: Float[Tensor, "b 12"] | None = None,
    ) -> Conditioning:
        """Return what the decoder is told of latents, a prompt and a camera; `dropped` samples are told nothing of their regions.

        A pipeline with a camera token is told that the camera stays where it is, if nothing else is said.
        """
        batch_size = latents.valid.shape[0]
        captions = list(prompt) if isinstance(prompt, list) else [prompt or ""] * batch_size
        camera = torch.eye(3, 4).flatten().expand(batch_size, -1) if camera is None else camera
        return self.conditioner(latents.to(self.device), self.unet.config.sample_size, captions, dropped, camera=camera.to(self.device))

    def predict(
        self,
        noisy: Float[Tensor, "b c g g"],
        timesteps: Tensor,
        conditioning: Conditioning,
        context: SourceContext | None = None,
        control: Float[Tensor, "b 3 h w"] | None = None,
        attention_maps: list[Tensor] | None = None,
    ) -> Float[Tensor, "b c g g"]:
        """Return the decoder's prediction at one noise level; `attention_maps` as in `denoise`."""
        context = self._context(context, noisy.shape[0])
        own = picture_coordinates(self.resolution, self.resolution, noisy.device) if self.grid_channels else None
        coordinates = None if own is None else own.expand(len(noisy), -1, -1, -1)
        branch = self.controlnet if control is not None else None
        control = None if control is None else control.to(noisy.device)
        return denoise(
            self.unet, noisy, timesteps, conditioning, context,
            coordinates=coordinates, control=control, controlnet=branch, attention_maps=attention_maps, draft=self.draft,
        )  # fmt: skip

    def _context(self, context: SourceContext | None, batch_size: int) -> SourceContext | None:
        if self.source_context == "none":
            if context is not None:
                raise ValueError("context is given, but this pipeline was trained without source context; leave it out")
            return None
        return (context or SourceContext.nothing(batch_size, self.resolution)).to(self.device)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the folder whole or not at all, with checksums; safetensors and JSON only, and no path of this machine."""

        def write(folder: Path) -> None:
            index: dict[str, Any] = {"_class_name": type(self).__name__}
            for name, part in self.components.items():
                part.save_pretrained(folder / name)
                index[name] = [type(part).__module__.split(".")[0], type(part).__name__]
            index |= {name: getattr(self, name) for name in _SETTINGS}
            (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
            for path in folder.rglob("*.json"):
                config = json.loads(path.read_text())
                if isinstance(config, dict) and config.pop("_name_or_path", None) is not None:  # where diffusers loaded a part from
                    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

        write_folder(Path(save_directory), write)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path | None = None, device: torch.device | str = "cpu") -> RegionPipeline:
        """Load a folder written by `save_pretrained`.

        Args:
            pretrained_model_name_or_path: a local folder; None for the weights that come with the package.
            device: to load to.

        Raises:
            ArtefactError: if a file is missing, damaged or a pickle, or the folder names a class that is not a pipeline's.
        """
        folder = shipped_folder() if pretrained_model_name_or_path is None else Path(pretrained_model_name_or_path)
        verify_folder(folder)
        for path in folder.rglob("*"):
            if path.suffix in _PICKLES:
                raise ArtefactError(
                    f"{path}: is a pickle, which can run code and is never loaded; convert it with safetensors.torch.save_file"
                )
        index = json.loads((folder / "model_index.json").read_text())
        parts = {}
        for name, allowed in (_REQUIRED | _OPTIONAL).items():
            class_name = (index.get(name) or [None, None])[1]
            if class_name is None and name in _OPTIONAL:
                continue
            known = {candidate.__name__: candidate for candidate in allowed}
            if class_name not in known:
                raise ArtefactError(f"{folder / 'model_index.json'}: {name} is {class_name!r}; a region pipeline has {' or '.join(known)}")
            parts[name] = _load(known[class_name], folder / name)
        settings = {name: index[name] for name in _SETTINGS if name in index}
        if settings.get("source_context", "none") not in get_args(ContextKind):
            raise ArtefactError(
                f"{folder / 'model_index.json'}: source_context is {settings['source_context']!r}; it is one of {get_args(ContextKind)}"
            )
        return cls(**parts, **settings).to(device)


def _load(kind: Any, folder: Path) -> Any:
    if issubclass(kind, Component):
        return kind.from_pretrained(folder)
    weights = {"use_safetensors": True} if issubclass(kind, torch.nn.Module) else {}
    part = kind.from_pretrained(folder, local_files_only=True, **weights)
    return part.float().eval() if isinstance(part, torch.nn.Module) else part
