"""Mask dropout: what the panel encodes is what training encodes, and its draws follow from the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gen import LatentImage
from gen.data.batch import View
from gen.evaluation.image_metrics import psnr
from gen.gallery.mask_dropout import encode_kept, mask_dropout
from gen.gallery.panel import Sampling
from gen.models.tiny import tiny_region_diffusion
from gen.regions import picture_coordinates
from tests.editing.conftest import two_squares

ONE_STEP = Sampling(num_inference_steps=1)
ROUNDING = 1e-3  # percent: batches of other sizes sum in another order


def test_the_encoder_sees_what_it_sees_in_training():
    model = tiny_region_diffusion().eval()
    picture = LatentImage.encode(model.pipeline(), *two_squares())
    kept = picture.regions.valid & (torch.arange(5) != 2)
    unused = torch.full((1, 5, 3, 3), torch.nan)
    view = View(picture.pixel_values, picture.regions, picture.latents.pose, picture_coordinates(32, 32)[None], unused)
    with torch.no_grad():
        trained = model.encode_kept(view, kept)
    found = encode_kept(picture, kept)
    assert torch.equal(found.tokens, trained) and torch.equal(found.valid, kept)
    assert not torch.equal(found.tokens[:, 1], picture.latents.tokens[:, 1])  # what is near was erased


def test_a_probability_of_nothing_drops_nothing_and_of_one_everything(table, wide):
    none = mask_dropout(wide, 0.0, 2, sampling=ONE_STEP).figures
    assert none["psnr_of_kept_db"] == pytest.approx(none["psnr_of_all_db"], abs=1e-3) and none["token_drift_percent"] < ROUNDING
    every = mask_dropout(table, 1.0, 1).figures
    empty = table.paint_pixels(encode_kept(table, torch.arange(6)[None] == 0), context=False).pixel_values
    error = ((empty - table.pixel_values) / 2).square().mean(1)[table.regions.masks[:, 0]].mean()
    assert every["psnr_of_kept_db"] == pytest.approx(float(-10 * error.log10()), abs=1e-2)


def test_what_fills_the_square_does_not_count(wide):
    painted = wide.paint_pixels(wide.latents, context=False, num_inference_steps=1).pixel_values
    own = psnr(painted[:, :, :21], wide.pixel_values[:, :, :21])  # 48 x 32 in a square of 32
    assert mask_dropout(wide, num_draws=1, sampling=ONE_STEP).figures["psnr_of_all_db"] == pytest.approx(float(own), abs=1e-3)


def test_tokens_of_crops_do_not_know_what_was_erased_and_others_do(table, wide):
    assert mask_dropout(table).figures["token_drift_percent"] < ROUNDING
    assert mask_dropout(wide, sampling=ONE_STEP).figures["token_drift_percent"] > 1


def test_a_draw_that_keeps_nothing_has_no_figures(covered):
    assert list(mask_dropout(covered, 1.0, 2, sampling=ONE_STEP).figures) == ["psnr_of_all_db"]


def test_draws_follow_from_the_seed(wide):
    first, again, other = (np.asarray(mask_dropout(wide, sampling=Sampling(num_inference_steps=1, seed=seed)).image) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("arguments", [{"probability": 1.5}, {"probability": -0.1}, {"num_draws": 0}])
def test_what_cannot_be_drawn_is_refused(wide, arguments):
    with pytest.raises(ValueError, match="of mask dropout"):
        mask_dropout(wide, **arguments)
