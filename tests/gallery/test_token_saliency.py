"""Token saliency: the true derivative, zero where an encoder cannot look."""

from __future__ import annotations

import pytest
import torch

from gen.gallery.token_saliency import saliency_maps, token_saliency
from gen.models.source_pose_encoder import SourcePoseEncoder
from gen.regions import cell_centres


def test_it_is_the_norm_of_the_derivative(wide):
    def token(pixel_values: torch.Tensor) -> torch.Tensor:
        return wide.pipeline.region_encoder(pixel_values, wide.regions)[0, 2, 1]

    exact = torch.autograd.functional.jacobian(token, wide.pixel_values)[:, 0].square().sum((0, 1)).sqrt()
    estimate = token_saliency(wide, 2, num_probes=256)[1]
    assert (estimate - exact).norm() < 0.1 * exact.norm()
    torch.testing.assert_close(estimate == 0, exact == 0)


def test_tokens_of_crops_see_their_own_mask_alone_each_its_own_part(table):
    for region in (0, 1, 4):
        saliency = token_saliency(table, region, num_probes=2)
        assert saliency.shape == (16, 64, 64)
        assert (saliency[:, ~table.regions.masks[0, region]] == 0).all()
    weights = saliency.flatten(1) / saliency.sum((1, 2))[:, None]
    x, y = (weights @ cell_centres(64, 64)).unflatten(0, (4, 4)).unbind(-1)
    assert (x.diff(dim=1) > 0).all(), "tokens go row by row through the box"
    assert (y.diff(dim=0) > 0).all()


def test_an_encoder_that_sees_no_pixel_has_none(wide):
    from dataclasses import replace
    from types import SimpleNamespace

    pipeline = SimpleNamespace(region_encoder=SourcePoseEncoder(width=8), resolution=32, device=torch.device("cpu"))
    assert token_saliency(replace(wide, pipeline=pipeline), 1).abs().max() == 0


def test_the_sheet_says_how_much_lies_in_the_mask(table, wide):
    figures = saliency_maps(table).figures
    assert figures["saliency_in_own_mask_percent"] == pytest.approx(100)
    assert 3 < figures["area_of_own_mask_percent"] < 10
    beyond = saliency_maps(wide, 1).figures
    assert beyond["area_of_own_mask_percent"] < beyond["saliency_in_own_mask_percent"] < 90
    with pytest.raises(ValueError, match="region 7 is not in the picture; choose one of 0, 1, 2"):
        saliency_maps(wide, 7)
