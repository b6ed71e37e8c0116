"""Latents, pictures and a toy-size real pipeline for the editing tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from gen.regions import RegionLatents, RegionPose


def random_latents(seed: int = 0, batch_size: int = 1, objects: tuple[int, ...] = (1, 2, 3), num_regions: int = 6) -> RegionLatents:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(batch_size, num_regions, *shape, generator=generator)

    turn = draw() * 6.28
    pose = RegionPose(0.2 + 0.6 * draw(2), 0.05 + 0.3 * draw(2), (draw() < 0.5).float(), torch.stack([turn.sin(), turn.cos()], -1))
    valid = torch.zeros(batch_size, num_regions, dtype=torch.bool)
    valid[:, [0, *objects]] = True
    return RegionLatents(draw(2, 3) * 2 - 1, pose, valid)


@pytest.fixture(scope="session")
def make_latents() -> Callable[..., RegionLatents]:
    return random_latents


def two_squares(width: int = 32, height: int = 32) -> tuple[Image.Image, torch.Tensor]:
    """Return a picture of noise with two flat rectangles, and their label map."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    label_map = torch.zeros(height, width, dtype=torch.int64)
    label_map[height // 8 : height // 3, width // 8 : width // 3] = 1
    label_map[height // 2 : height * 3 // 4, width // 2 : width * 3 // 4] = 2
    pixels[label_map == 1] = torch.tensor([200, 30, 30], dtype=torch.uint8)
    pixels[label_map == 2] = torch.tensor([30, 30, 200], dtype=torch.uint8)
    return Image.fromarray(pixels.numpy()), label_map


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., tuple[Image.Image, torch.Tensor]]:
    return two_squares


@pytest.fixture(scope="session")
def pipeline():
    from gen.models.tiny import tiny_pipeline

    return tiny_pipeline(resolution=32, num_regions=5)
