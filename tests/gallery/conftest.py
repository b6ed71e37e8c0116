"""Pictures for the galleries' tests: rendered ones held by the shipped weights, and others of a toy-size pipeline with random weights."""

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
    """Open a held-out scene: 1 cylinder, 2 L-shaped block, 3 cone, 4 sphere."""
    return LatentImage.open(shipped, repository / "docs" / "examples" / "table.png")


@pytest.fixture(scope="session")
def mugs(shipped, repository) -> LatentImage:
    """Open a held-out scene: 1 and 3 white mugs, 2 an orange sphere, 4 a cyan one."""
    return LatentImage.open(shipped, repository / "docs" / "examples" / "mugs.png")


@pytest.fixture(scope="session")
def pipeline() -> RegionPipeline:
    from gen.models.tiny import tiny_pipeline

    return tiny_pipeline(resolution=32, num_regions=5)


@pytest.fixture(scope="session")
def wide(pipeline) -> LatentImage:
    """Return a picture that is not square, with two objects."""
    return LatentImage.encode(pipeline, *two_squares(48, 32))


@pytest.fixture(scope="session")
def bare(pipeline) -> LatentImage:
    """Return a picture without objects, higher than wide."""
    image, label_map = two_squares(40, 60)
    return LatentImage.encode(pipeline, image, torch.zeros_like(label_map))


@pytest.fixture(scope="session")
def single(pipeline) -> LatentImage:
    """Return a picture with one object."""
    image, label_map = two_squares()
    return LatentImage.encode(pipeline, image, (label_map == 1).long())


@pytest.fixture(scope="session")
def covered(pipeline) -> LatentImage:
    """Return a picture of three objects and no background."""
    image, label_map = two_squares()
    return LatentImage.encode(pipeline, image, label_map + 1)


@pytest.fixture(scope="session")
def whole(shipped) -> LatentImage:
    """Return a picture that is one object, of the shipped weights."""
    image, label_map = two_squares()
    return LatentImage.encode(shipped, image, torch.ones_like(label_map))


@pytest.fixture(scope="session")
def strip(pipeline) -> LatentImage:
    """Return a picture much wider than high, with one object; in the square it is one pixel high."""
    label_map = torch.zeros(8, 300, dtype=torch.int64)
    label_map[:, 10:40] = 1
    return LatentImage.encode(pipeline, two_squares(300, 8)[0], label_map)
