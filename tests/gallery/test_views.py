"""Augmented views: without augmentation the panel is a reconstruction; with it, the poses say where everything went."""

from __future__ import annotations

import pytest
import torch

from gen.data.augment import Augmentation
from gen.evaluation.image_metrics import psnr
from gen.gallery.panel import Sampling, within_picture
from gen.gallery.views import augmented_views
from gen.regions import Regions

NEVER = Augmentation(probability=0.0)


def test_views_that_are_the_picture_are_its_reconstruction(table):
    panel = augmented_views(table, NEVER, NEVER, 1)
    plain = table.paint_pixels(table.latents, context=False).pixel_values
    assert panel.figures["psnr_of_target_view_db"] == pytest.approx(float(psnr(plain, table.pixel_values)), abs=1e-3)


def test_what_lies_beyond_the_picture_belongs_to_no_region_and_does_not_count(wide):
    sampling = Sampling(num_inference_steps=1)
    found = augmented_views(wide, NEVER, NEVER, 1, sampling).figures["psnr_of_target_view_db"]
    inside = torch.arange(32)[:, None].expand(32, 32) < 21  # 48 x 32 in a square of 32
    latents = wide.pipeline.encode(wide.pixel_values, Regions(wide.regions.masks & inside, wide.regions.valid))
    painted = wide.pipeline.decode(latents, num_inference_steps=1, generator=torch.Generator().manual_seed(0))
    assert found == pytest.approx(float(psnr(within_picture(wide, painted), within_picture(wide, wide.pixel_values))), abs=1e-3)


def test_the_shipped_model_follows_the_targets_poses(table):
    """A view that is mirrored, turned and cropped is painted nearly as well as the picture itself."""
    panel = augmented_views(table)
    assert len(panel.table) == 3 and min(row["psnr_of_target_view_db"] for row in panel.table) > 23
    only_target = augmented_views(table, NEVER, num_draws=1).figures["psnr_of_target_view_db"]
    assert only_target > 23


def test_draws_follow_from_the_seed(wide):
    first, again, other = (augmented_views(wide, num_draws=2, sampling=Sampling(num_inference_steps=1, seed=seed)) for seed in (0, 0, 1))
    assert first.table == again.table and first.table != other.table


def test_no_pair_is_refused(wide):
    with pytest.raises(ValueError, match="num_draws=0"):
        augmented_views(wide, num_draws=0)
