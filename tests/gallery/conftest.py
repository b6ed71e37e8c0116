"""The shipped weights, an example picture held as latents, and a toy-size pipeline, for the galleries' tests."""

from __future__ import annotations

import pytest

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
    """Encode two rectangles in noise, 48 x 32 pixels, by the toy-size pipeline."""
    return LatentImage.encode(pipeline, *two_squares(48, 32))
