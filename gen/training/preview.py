"""Previews: what the averaged weights paint, as PNG files in the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gen.training.state import TrainState, seed_of
from gen.training.trainer import Batch, PreviewFunction
from image_utils.io import save_image


@dataclass(frozen=True)
class Previewer:
    """Show the same batch again and again, with the same noise, while a model trains.

    Attributes:
        previews: what is drawn of a model that has a pipeline.
        batch: on the model's device.
        folder: where the files go.
    """

    previews: PreviewFunction
    batch: Batch
    folder: Path

    @torch.no_grad()
    def __call__(self, state: TrainState, model: Any) -> dict[str, Image.Image]:
        """Draw the pictures, write each as `step_<global step>_<name>.png`, and return them by name.

        Args:
            state: says which step it is.
            model: with averaged weights; its mode is as before afterwards.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed_of(state.seed, "preview"))
        was_training = model.training
        model.eval()
        try:
            pictures = model.preview(self.batch, self.previews)
        finally:
            model.train(was_training)
        for name, picture in pictures.items():
            save_image(picture, self.folder / f"step_{state.global_step:08d}_{name}.png", None)
        return pictures
