"""RegionPipeline: all that is needed to edit, as a diffusers folder: no Hydra, no training code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from gen.artefact import ArtefactError, verify_folder, write_folder
from gen.models.conditioner import Conditioner
from gen.models.latent_space import AutoencoderSpace, LatentSpace, PixelSpace
from gen.models.region_encoder import RegionEncoder
from gen.models.source_context import SourceContext
from gen.models.unet import denoise
from gen.regions import RegionLatents, RegionPose, Regions

# A folder is data: only these classes are ever built from one, whatever its model_index.json says.
_COMPONENTS = {
    "region_encoder": (RegionEncoder,),
    "conditioner": (Conditioner,),
    "unet": (UNet2DConditionModel,),
    "scheduler": (DDIMScheduler,),
    "vae": (AutoencoderKL, AutoencoderTiny),
}
_PICKLES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}


def shipped_folder() -> Path:
    """Return the folder of the weights that come with the package: 64 px, trained on the simple rendered scenes."""
    return Path(__file__).resolve().parents[1] / "weights" / "scenes64"


class RegionPipeline(DiffusionPipeline):
    """Encode a picture's regions into latents, and paint latents into a picture.

    Args:
        region_encoder: image and regions -> tokens.
        conditioner: latents -> what the decoder is told.
        unet: the decoder.
        scheduler: of the sampling.
        vae: autoencoder of a latent-space model; None for pixel space.
        source_context: whether the decoder looks at an edited picture's surroundings.
        num_regions: most regions a picture is cut into, background included, when the pipeline's users segment.
    """

    _optional_components = ["vae"]

    def __init__(
        self,
        region_encoder: RegionEncoder,
        conditioner: Conditioner,
        unet: UNet2DConditionModel,
        scheduler: DDIMScheduler,
        vae: AutoencoderKL | AutoencoderTiny | None = None,
        source_context: bool = True,
        num_regions: int = 6,
    ) -> None:
        super().__init__()
        self.register_modules(region_encoder=region_encoder, conditioner=conditioner, unet=unet, scheduler=scheduler, vae=vae)
        self.register_to_config(source_context=source_context, num_regions=num_regions)
        patch_size = int((unet.config.out_channels / 3) ** 0.5)
        self.latent_space: LatentSpace = AutoencoderSpace(vae) if vae is not None else PixelSpace(patch_size)

    @property
    def resolution(self) -> int:
        """Side of the square pictures, in pixels."""
        return self.unet.config.sample_size * self.latent_space.downscale

    @property
    def num_regions(self) -> int:
        """Most regions of a picture, background included."""
        return self.config.num_regions

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

    @torch.no_grad()
    def decode(
        self,
        latents: RegionLatents,
        *,
        prompt: str | list[str] | None = None,
        context: SourceContext | None = None,
        num_inference_steps: int = 4,
        guidance_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "b 3 h w"]:
        """Paint latents.

        Args:
            latents: what is where.
            prompt: a caption for all pictures or one each; None or "" for none.
            context: the surroundings of an edit; None paints from the latents alone.
            num_inference_steps: denoising steps.
            guidance_scale: 1 is off; more follows the latents more closely.
            generator: of the noise, on the CPU; the same state gives the same picture.

        Returns:
            Pixels in [-1, 1].

        Raises:
            ValueError: if a context is given to a pipeline that was trained without one.
        """
        if context is not None and not self.config.source_context:
            raise ValueError("context is given, but this pipeline was trained without source context; leave it out")
        batch_size, device = latents.valid.shape[0], self.device
        latents = latents.to(device)
        if self.config.source_context:
            context = (context or SourceContext.nothing(batch_size, self.resolution)).to(device)
        captions = [prompt or ""] * batch_size if not isinstance(prompt, list) else prompt
        conditioning = self.conditioner(latents, captions)
        unguided = (
            self.conditioner(latents, None, torch.ones(batch_size, dtype=torch.bool, device=device)) if guidance_scale != 1.0 else None
        )
        side = self.unet.config.sample_size
        sample = torch.randn(batch_size, self.latent_space.channels, side, side, generator=generator).to(device)
        self.scheduler.set_timesteps(num_inference_steps)
        for timestep in self.scheduler.timesteps:
            timesteps = timestep.expand(batch_size).to(device)
            prediction = denoise(self.unet, sample, timesteps, conditioning, context)
            if unguided is not None:
                plain = denoise(self.unet, sample, timesteps, unguided, context)
                prediction = plain + guidance_scale * (prediction - plain)
            sample = self.scheduler.step(prediction, timestep, sample, return_dict=False)[0]
        return self.latent_space.decode(sample)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write the folder whole or not at all, with checksums; safetensors and JSON only, and no path of this machine."""

        def write(folder: Path) -> None:
            super(RegionPipeline, self).save_pretrained(folder, safe_serialization=True, **kwargs)
            for path in folder.rglob("*.json"):
                config = json.loads(path.read_text())
                if config.pop("_name_or_path", None) is not None:  # where diffusers loaded a part from
                    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

        write_folder(Path(save_directory), write)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, device: torch.device | str = "cpu") -> RegionPipeline:
        """Load a folder written by `save_pretrained`.

        Args:
            pretrained_model_name_or_path: a local folder.
            device: to load to.

        Raises:
            ArtefactError: if a file is missing, damaged or a pickle, or the folder names a class that is not a pipeline's.
        """
        folder = Path(pretrained_model_name_or_path)
        verify_folder(folder)
        for path in folder.rglob("*"):
            if path.suffix in _PICKLES:
                raise ArtefactError(
                    f"{path}: is a pickle, which can run code and is never loaded; convert it with safetensors.torch.save_file"
                )
        index = json.loads((folder / "model_index.json").read_text())
        parts = {}
        for name, allowed in _COMPONENTS.items():
            class_name = (index.get(name) or [None, None])[1]
            if class_name is None and name in cls._optional_components:
                continue
            known = {candidate.__name__: candidate for candidate in allowed}
            if class_name not in known:
                raise ArtefactError(f"{folder / 'model_index.json'}: {name} is {class_name!r}; a region pipeline has {' or '.join(known)}")
            weights = {"use_safetensors": True} if issubclass(known[class_name], torch.nn.Module) else {}
            parts[name] = known[class_name].from_pretrained(folder / name, local_files_only=True, **weights)
        for part in parts.values():
            if isinstance(part, torch.nn.Module):
                part.float().eval()
        settings = {key: index[key] for key in ("source_context", "num_regions") if key in index}
        return cls(**parts, **settings).to(device)
