"""The guidance sweep: scale 1 is the painting without guidance, and the figures name the best scale."""

from __future__ import annotations

import math

import pytest

from gen.evaluation.image_metrics import psnr
from gen.gallery.guidance_sweep import guidance_sweep
from gen.gallery.panel import Sampling


def test_the_best_scale_is_found(table):
    panel = guidance_sweep(table, (0.0, 1.0, 5.0), Sampling(num_inference_steps=2))
    found = {row["guidance_scale"]: row["psnr_db"] for row in panel.table}
    plain = table.paint_pixels(table.latents, context=False, num_inference_steps=2).pixel_values
    assert found[1.0] == pytest.approx(float(psnr(plain, table.pixel_values)), abs=1e-3)
    assert panel.figures == {"best_guidance_scale": 1.0, "psnr_at_best_scale_db": found[1.0]}
    assert found[1.0] > found[0.0] + 5 and found[1.0] > found[5.0] + 5  # without regions there is no picture, too much of them burns it
    assert max(panel.table, key=lambda row: row["psnr_elsewhere_db"])["guidance_scale"] == 1.0


def test_the_samplings_own_scale_is_not_read(wide):
    sweeps = [guidance_sweep(wide, (0.5, 2.0), Sampling(num_inference_steps=1, guidance_scale=scale)) for scale in (1.0, 4.0)]
    assert sweeps[0].table == sweeps[1].table


@pytest.mark.parametrize("scales", [(), (1.0, 1.0), (math.nan,), (math.inf, 1.0)])
def test_scales_that_make_no_sweep_are_refused(wide, scales):
    with pytest.raises(ValueError, match="guidance sweep"):
        guidance_sweep(wide, scales)
