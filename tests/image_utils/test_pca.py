"""Colours follow the features' main directions, are the same every time, and one outlier does not drown them."""

from __future__ import annotations

import pytest
import torch

from image_utils.pca import fit_colours, paint_features


def planted(n=500, d=16, spreads=(9.0, 3.0, 1.0)):
    """Return features that vary along three known directions, their coordinates and the directions."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(d, 3, generator=generator, dtype=torch.float64)).Q.T
    coordinates = torch.rand(n, 3, generator=generator, dtype=torch.float64) * torch.tensor(spreads)
    return (coordinates @ directions + 5).float(), coordinates, directions


def test_planted_directions_become_the_three_channels():
    features, coordinates, directions = planted()
    colours = fit_colours(features)
    assert torch.allclose((colours.directions @ directions.T).abs(), torch.eye(3).double(), atol=0.05)
    rgb = colours(features)
    for channel in range(3):
        assert abs(torch.corrcoef(torch.stack([rgb[:, channel].double(), coordinates[:, channel]]))[0, 1]) > 0.99
    assert rgb.min() >= -1 and rgb.max() <= 1 and (rgb.amax(0) == 1).all() and (rgb.amin(0) == -1).all()


def test_the_same_features_get_the_same_colours_in_any_order_and_precision():
    features, _, _ = planted()
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(1))
    assert torch.equal(fit_colours(features)(features), fit_colours(features)(features))
    assert torch.allclose(fit_colours(features[order])(features), fit_colours(features)(features), atol=1e-5)
    assert torch.allclose(fit_colours(features.bfloat16())(features), fit_colours(features)(features), atol=0.1)


def test_one_outlier_leaves_the_others_colourful():
    features, _, _ = planted(spreads=(1.0, 1.0, 1.0))
    features[0] += 100 * torch.nn.functional.normalize(torch.ones(16), dim=0)
    assert (fit_colours(features)(features)[1:].std(0) > 0.3).all()


def test_pictures_share_colours_and_the_mask_is_black_and_has_no_say():
    features, _, _ = planted(n=2 * 5 * 4)
    maps = features.view(2, 5, 4, 16).permute(0, 3, 1, 2)
    painted = paint_features(maps)
    assert torch.equal(painted, fit_colours(features)(features).view(2, 5, 4, 3).permute(0, 3, 1, 2))
    mask = torch.ones(2, 5, 4, dtype=torch.bool)
    mask[0, :2] = False
    disturbed = maps.clone()
    disturbed[0, :, :2] = 1000
    masked = paint_features(disturbed, mask)
    assert (masked[0, :, :2] == -1).all() and torch.equal(masked, paint_features(maps, mask))
    again = paint_features(maps[1:], colours=fit_colours(features))
    assert torch.equal(again, painted[1:])


def test_features_that_do_not_vary_are_grey():
    assert (fit_colours(torch.full((10, 4), 3.0))(torch.full((10, 4), 3.0)) == 0).all()
    line = torch.linspace(0, 1, 50)[:, None] * torch.tensor([[1.0, 2.0]])
    rgb = fit_colours(line)(line)
    assert (rgb[:, 1:] == 0).all() and (rgb[1:, 0] >= rgb[:-1, 0]).all() and rgb[0, 0] == -1


def test_what_cannot_be_coloured_is_refused():
    with pytest.raises(ValueError, match="nothing to colour"):
        paint_features(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="not finite"):
        fit_colours(torch.tensor([[1.0, float("nan")]]))
