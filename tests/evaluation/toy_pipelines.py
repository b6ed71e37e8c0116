"""Pipelines whose latents are known: a token is its region's mean colour, or the whole picture's; the painter fills boxes with it."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from gen.models.pipeline import RegionPipeline
from gen.models.tiny import tiny_pipeline
from gen.scenes import COLOURS

PALETTE = torch.tensor(list(COLOURS.values()))


class OwnColour(torch.nn.Module):
    """The token of a region is the mean colour of its own pixels, [b n 1 3]: it knows nothing else."""

    def forward(self, pixel_values, regions):
        masks = regions.masks.flatten(2).float()
        return (masks @ pixel_values.flatten(2).mT / masks.sum(-1, keepdim=True).clamp_min(1))[:, :, None]


class WholePictureColour(torch.nn.Module):
    """The token of every region is half its own mean colour and half the picture's: it knows its neighbours."""

    def forward(self, pixel_values, regions):
        return OwnColour()(pixel_values, regions) / 2 + pixel_values.mean((2, 3))[:, None, None] / 2


class Painter(RegionPipeline):
    """Fills every region's box with the colour that its token is."""

    def decode(self, latents, *, context=None, num_inference_steps=4, generator=None, **others):
        pictures = torch.zeros(len(latents.valid), 3, self.resolution, self.resolution)
        boxes = (latents.pose.boxes() * self.resolution).round().long()
        for sample, region in latents.valid.nonzero().tolist():
            left, top, right, bottom = boxes[sample, region].tolist()
            pictures[sample, :, top:bottom, left:right] = latents.tokens[sample, region, 0, :, None, None]
        return pictures


class Stubborn(RegionPipeline):
    """Paints what it was shown, whatever the latents say."""

    def decode(self, latents, *, context=None, **others):
        return context.pixel_values


class ColourReader:
    """Names the colour in the middle of a box by its hue; knows no shape and no material, and always says the first."""

    def read(self, images, boxes):
        side, colours = images.shape[-1], []
        for image, box in zip(images, boxes, strict=True):
            quarter = (box[2:] - box[:2]) / 4
            left, top, right, bottom = (torch.cat([box[:2] + quarter, box[2:] - quarter]) * side).round().long().tolist()
            colours.append(image[:, top : bottom + 1, left : right + 1].mean((1, 2)))
        likeness = hue((torch.stack(colours) + 1) / 2) @ hue(PALETTE).mT
        first = torch.eye(8)[:1].expand(len(boxes), -1)
        return SimpleNamespace(shape=first, colour=likeness, material=first[:, :3])


def hue(rgb: torch.Tensor) -> torch.Tensor:
    """Return colours without their brightness, as unit vectors."""
    return F.normalize(rgb - 0.7 * rgb.amin(-1, keepdim=True), dim=-1)


def toy_pipeline(encoder: torch.nn.Module | None = None, kind: type[RegionPipeline] = RegionPipeline, context: str = "unchanged"):
    """Build a 32 px pipeline with a known encoder in place of its own."""
    parts = tiny_pipeline(resolution=32, num_regions=6)
    pipeline = kind(parts.region_encoder, parts.conditioner, parts.unet, parts.scheduler, source_context=context)
    if encoder is not None:
        pipeline.region_encoder = encoder
    return pipeline
