"""Previews: the panels that are drawn while a model trains, chosen by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from PIL import Image

if TYPE_CHECKING:
    from gen.data.batch import RegionBatch
    from gen.editing.latent_image import LatentImage
    from gen.gallery.panel import Panel, Sampling
    from gen.models.pipeline import RegionPipeline

logger = logging.getLogger(__name__)

PanelName = Literal[
    "edits",
    "position_sweep",
    "removal_grid",
    "interpolation",
    "single_tokens",
    "guidance_sweep",
    "attention_maps",
    "saliency_maps",
    "feature_pca",
    "mask_dropout",
    "augmented_views",
]
PANELS: tuple[PanelName, ...] = get_args(PanelName)


@dataclass(frozen=True, kw_only=True)
class Previews:
    """Draw the chosen panels of a validation batch: the same held-out pictures and the same noise at every call.

    What cannot be drawn, for want of memory or because the weights have diverged, is logged and left out: it shall not end a training.

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

    def __call__(self, pipeline: RegionPipeline, batch: RegionBatch, num_inference_steps: int) -> dict[str, Image.Image]:
        """Return the sheets by name."""
        from gen.gallery.panel import Sampling, stacked  # panels bring diffusers, and `train.py --help` reads this file

        sampling = Sampling(num_inference_steps=num_inference_steps)
        sheets: dict[str, Image.Image] = {}
        pictures: list[LatentImage] = []
        for name in self.panels:
            try:
                pictures = pictures or self._pictures(pipeline, batch)
                sheets[name] = stacked([draw_panel(name, picture, sampling) for picture in pictures]).image
            except Exception:  # whatever it is, it is no reason to end a training
                logger.exception("previews.panels: %s could not be drawn and is left out", name)
        return sheets

    def _pictures(self, pipeline: RegionPipeline, batch: RegionBatch) -> list[LatentImage]:
        from gen.editing.latent_image import LatentImage
        from image_utils.convert import to_pil

        view = batch.source
        return [
            LatentImage.encode(
                pipeline, to_pil(view.pixel_values[i]), view.regions[i].to("cpu"), batch.captions[i],
                None if pipeline.controlnet is None or batch.control is None else batch.control[i : i + 1],
            )
            for i in range(min(len(batch), self.num_pictures))
        ]  # fmt: skip


def draw_panel(name: PanelName, picture: LatentImage, sampling: Sampling) -> Panel:
    """Draw a panel of a picture; of one that lacks the objects it needs, return the picture and that message."""
    from gen.gallery.panel import NothingToShowError, Panel, shown
    from image_utils.grid import image_grid

    try:
        return panel_of(name)(picture, sampling=sampling)
    except NothingToShowError as message:
        return Panel(image_grid([[shown(picture.image), Image.new("RGB", (256, 1), "white")]], captions=[["", str(message)]]))


def panel_of(name: PanelName) -> Callable[..., Panel]:
    """Return the function that draws a panel of one picture: (picture, sampling=Sampling()) -> Panel."""
    from gen.gallery.attention_maps import attention_maps
    from gen.gallery.edits import edits
    from gen.gallery.feature_pca import feature_pca
    from gen.gallery.guidance_sweep import guidance_sweep
    from gen.gallery.interpolation import another_look
    from gen.gallery.mask_dropout import mask_dropout
    from gen.gallery.position_sweep import position_sweep
    from gen.gallery.removal_grid import removal_grid
    from gen.gallery.single_tokens import single_tokens
    from gen.gallery.token_saliency import saliency_maps
    from gen.gallery.views import augmented_views

    panels: dict[PanelName, Callable[..., Panel]] = {
        "edits": edits,
        "position_sweep": position_sweep,
        "removal_grid": removal_grid,
        "interpolation": another_look,
        "single_tokens": single_tokens,
        "guidance_sweep": guidance_sweep,
        "attention_maps": attention_maps,
        "saliency_maps": lambda picture, sampling=None: saliency_maps(picture),  # nothing is painted
        "feature_pca": lambda picture, sampling=None: feature_pca([picture]),
        "mask_dropout": mask_dropout,
        "augmented_views": augmented_views,
    }
    return panels[name]
