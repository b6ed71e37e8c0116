"""Where an object is and whether it is gone: known answers on drawn masks and pictures."""

from __future__ import annotations

import pytest
import torch

from gen.evaluation.region_metrics import centroid_error, centroids, distance, object_pixels, residual_share


def drawn(*places: tuple[int, int], side: int = 20) -> torch.Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    for y, x in places:
        mask[0, y, x] = True
    return mask


def test_the_centroid_is_the_middle_of_the_pixels_and_of_nothing_there_is_none():
    assert centroids(drawn((0, 0), (0, 19)))[0].tolist() == pytest.approx([0.5, 0.025])
    assert centroids(drawn()).isnan().all()


def test_centroid_error_is_a_share_of_the_width_and_infinite_for_nothing():
    assert float(centroid_error(drawn((5, 5)), drawn((5, 9)))) == pytest.approx(0.2)
    assert float(centroid_error(drawn((5, 5)), drawn((5, 5)))) == 0
    assert float(centroid_error(drawn(), drawn((5, 5)))) == torch.inf


def test_object_pixels_finds_the_object_where_it_is_painted_and_not_its_shadow():
    """A red square on a grey floor with a shadow beside it, painted four pixels to the right of the true one."""
    empty = torch.full((1, 3, 16, 16), 0.2)
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, 4:8, 2:6] = True
    red = torch.tensor([0.8, -0.8, -0.8])[:, None, None]
    truth = torch.where(mask[:, None], red, empty)
    truth[..., 8:10, 2:6] = -0.2
    painted = torch.where(mask.roll(4, -1)[:, None], red, empty)
    painted[..., 8:10, 6:10] = -0.2
    assert torch.equal(object_pixels(painted, truth, empty, mask), mask.roll(4, -1))
    assert torch.equal(object_pixels(truth, truth, empty, mask), mask)
    assert not object_pixels(empty, truth, empty, mask).any()


def test_half_of_an_object_left_is_a_residual_of_a_half():
    before, after = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    edited = after.clone()
    edited[..., :2] = 0.9
    everywhere = torch.ones(1, 4, 4, dtype=torch.bool)
    assert float(residual_share(edited, before, after, everywhere)) == 0.5
    assert float(residual_share(after, before, after, everywhere)) == 0
    assert float(residual_share(before, before, after, everywhere)) == 1


def test_distance_is_that_of_colours():
    one, two = torch.zeros(1, 3, 1, 1), torch.tensor([1.0, 2.0, 2.0])[None, :, None, None]
    assert float(distance(one, two)) == 3
