"""Previews: what the averaged weights paint, as PNG files in the run folder."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from gen.training.state import TrainState, seed_of
from gen.training.trainer import Batch
from image_utils.io import save_image


@torch.no_grad()
def save_previews(state: TrainState, batch: Batch, folder: Path) -> dict[str, Image.Image]:
    """Paint previews with the averaged weights, the same noise at every step, and write `step_<global step>_<name>.png`.

    Args:
        state: its model paints; weights and mode are as before afterwards.
        batch: on the model's device.
        folder: where the files go.

    Returns:
        The pictures by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed_of(state.seed, "preview"))
    was_training = state.model.training
    state.model.eval()
    try:
        with state.averaged_weights():
            pictures = state.model.preview(batch)
    finally:
        state.model.train(was_training)
    for name, picture in pictures.items():
        save_image(picture, folder / f"step_{state.global_step:08d}_{name}.png", None)
    return pictures
