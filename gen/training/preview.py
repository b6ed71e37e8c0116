"""Previews: what the averaged weights paint, as PNG files in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gen.training.state import TrainState, seed_of
from gen.training.trainer import Batch
from image_utils.io import save_image


@torch.no_grad()
def save_previews(state: TrainState, model: Any, batch: Batch, folder: Path) -> dict[str, Image.Image]:
    """Paint previews with the same noise at every step, and write `step_<global step>_<name>.png`.

    Args:
        state: says which step it is.
        model: with averaged weights; its mode is as before afterwards.
        batch: on the model's device.
        folder: where the files go.

    Returns:
        The pictures by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed_of(state.seed, "preview"))
    was_training = model.training
    model.eval()
    try:
        pictures = model.preview(batch)
    finally:
        model.train(was_training)
    for name, picture in pictures.items():
        save_image(picture, folder / f"step_{state.global_step:08d}_{name}.png", None)
    return pictures
