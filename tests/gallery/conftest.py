"""Pictures for the panels' tests: a rendered one of the shipped weights, and others of a toy-size pipeline with random weights."""

from __future__ import annotations

import pytest
import torch

from gen import LatentImage, RegionPipeline
from tests.editing.conftest import two_squares


@pytest.fixture(scope="session")
def shipped() -> RegionPipeline:
    return RegionPipeline.from_pretrained()


@pytest.fixture(scope="session")
def table(shipped, repository) -> LatentImage:
    """Return a rendered scene of four objects."""
    return LatentImage.open(shipped, repository / "docs/examples/table.png")


@pytest.fixture(scope="session")
def tiny() -> RegionPipeline:
    from gen.models.tiny import tiny_pipeline

    return tiny_pipeline(resolution=32, num_regions=5)


@pytest.fixture(scope="session")
def wide(tiny) -> LatentImage:
    """Return a picture that is not square, with two objects."""
    return LatentImage.encode(tiny, *two_squares(70, 45))


@pytest.fixture(scope="session")
def bare(tiny) -> LatentImage:
    """Return a picture without objects, higher than wide."""
    image, label_map = two_squares(40, 60)
    return LatentImage.encode(tiny, image, torch.zeros_like(label_map))


@pytest.fixture(scope="session")
def covered(tiny) -> LatentImage:
    """Return a picture of three objects and no background."""
    image, label_map = two_squares()
    return LatentImage.encode(tiny, image, label_map + 1)
