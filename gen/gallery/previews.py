"""Previews: the panels that are drawn while a model trains, chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from PIL.Image import Image

if TYPE_CHECKING:
    from gen.data.batch import RegionBatch
    from gen.gallery.panel import Panel
    from gen.models.pipeline import RegionPipeline

PanelName = Literal[
    "augmented_views",
    "edits",
    "guidance_sweep",
    "mask_dropout",
    "position_sweep",
    "removal_grid",
    "single_tokens",
]
PANELS: tuple[PanelName, ...] = get_args(PanelName)


@dataclass(frozen=True, kw_only=True)
class Previews:
    """Draw the chosen panels of a validation batch: the same held-out pictures and the same noise at every call.

    Attributes:
        panels: their names, each once; each becomes one sheet.
        num_pictures: most pictures of the batch that a panel shows, one under another.

    Raises:
        ValueError: if a panel is named twice, or no picture shall be shown.
    """

    panels: tuple[PanelName, ...] = ("edits",)
    num_pictures: int = 8

    def __post_init__(self) -> None:
        if len(set(self.panels)) < len(self.panels):
            raise ValueError(f"previews.panels={list(self.panels)}: a panel is named twice; name each once, of {', '.join(PANELS)}")
        if self.num_pictures < 1:
            raise ValueError(f"previews.num_pictures={self.num_pictures}: must be at least 1")

    def __call__(self, pipeline: RegionPipeline, batch: RegionBatch, num_inference_steps: int) -> dict[str, Image]:
        """Return the sheets by name."""
        from gen.editing.latent_image import LatentImage  # panels bring diffusers, and `train.py --help` reads this file
        from gen.gallery.panel import Sampling, stacked
        from image_utils.convert import to_pil

        view, sampling = batch.source, Sampling(num_inference_steps=num_inference_steps)
        pictures = [
            LatentImage.encode(
                pipeline, to_pil(view.pixel_values[i].cpu()), view.regions[i].to("cpu"), batch.captions[i],
                None if pipeline.controlnet is None or batch.control is None else batch.control[i : i + 1],
            )
            for i in range(min(len(batch), self.num_pictures))
        ]  # fmt: skip
        return {name: stacked([panel_of(name)(picture, sampling=sampling) for picture in pictures]).image for name in self.panels}


def panel_of(name: PanelName) -> Callable[..., Panel]:
    """Return the function that draws a panel of one picture: (picture, sampling=Sampling()) -> Panel."""
    from gen.gallery.edits import edits
    from gen.gallery.guidance_sweep import guidance_sweep
    from gen.gallery.mask_dropout import mask_dropout
    from gen.gallery.position_sweep import position_sweep
    from gen.gallery.removal_grid import removal_grid
    from gen.gallery.single_tokens import single_tokens
    from gen.gallery.views import augmented_views

    panels: dict[PanelName, Callable[..., Panel]] = {
        "augmented_views": augmented_views,
        "edits": edits,
        "guidance_sweep": guidance_sweep,
        "mask_dropout": mask_dropout,
        "position_sweep": position_sweep,
        "removal_grid": removal_grid,
        "single_tokens": single_tokens,
    }
    return panels[name]
