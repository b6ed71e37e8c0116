"""A toy-size real model and a batch of real scenes."""

from __future__ import annotations

import pytest

from gen.data.batch import RegionBatch
from gen.data.scenes import Scenes
from gen.models.region_diffusion import RegionDiffusion
from gen.models.tiny import tiny_region_diffusion


@pytest.fixture
def model() -> RegionDiffusion:
    return tiny_region_diffusion(resolution=32, num_regions=6)


@pytest.fixture(scope="session")
def batch() -> RegionBatch:
    return Scenes(resolution=32, train_batch_size=4, num_validation=4).validation_batch()
