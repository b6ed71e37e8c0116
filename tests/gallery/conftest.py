"""The shipped weights, an example picture held as latents, and a toy-size pipeline, for the galleries' tests."""

from __future__ import annotations

import pytest

from gen import LatentImage, RegionPipeline


@pytest.fixture(scope="session")
def shipped() -> RegionPipeline:
    return RegionPipeline.from_pretrained()


@pytest.fixture(scope="session")
def table(shipped, repository) -> LatentImage:
    """Open a held-out scene: 1 cylinder, 2 L-shaped block, 3 cone, 4 sphere."""
    return LatentImage.open(shipped, repository / "docs" / "examples" / "table.png")


@pytest.fixture(scope="session")
def pipeline() -> RegionPipeline:
    from gen.models.tiny import tiny_pipeline

    return tiny_pipeline(resolution=32, num_regions=5)
