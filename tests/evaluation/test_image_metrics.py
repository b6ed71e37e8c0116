"""PSNR and SSIM: known values of identical, inverted and shifted pictures, whole and under a mask."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import structural_similarity

from gen.evaluation.image_metrics import mean_colour, psnr, ssim

METRICS = pytest.mark.parametrize("metric", [psnr, ssim])


def noise(seed: int = 0, side: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def grating() -> torch.Tensor:
    """Columns of black and white in turn: one pixel further is its own negative."""
    return (torch.arange(32) % 2 * 2.0 - 1).expand(1, 3, 32, 32)


def interior() -> torch.Tensor:
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 6:-6, 6:-6] = True
    return mask


def test_identical_pictures_reach_the_top():
    assert psnr(noise(), noise()).tolist() == [100, 100]
    torch.testing.assert_close(ssim(noise(), noise()), torch.ones(2))


@METRICS
def test_which_of_two_pictures_is_the_truth_does_not_matter(metric):
    torch.testing.assert_close(metric(noise(0), noise(1)), metric(noise(1), noise(0)))


def test_psnr_of_a_known_error():
    truth = torch.zeros(1, 3, 4, 4)
    assert float(psnr(truth + 0.2, truth)) == pytest.approx(20.0, abs=1e-4)  # 0.1 of the range
    assert float(psnr(truth - 1, truth + 1)) == 0  # black for white


def test_psnr_of_a_picture_shifted_by_one_pixel():
    """A white pixel on black is wrong twice, at its old and at its new place."""
    truth = -torch.ones(1, 3, 20, 20)
    truth[..., 5, 5] = 1
    assert float(psnr(truth.roll(1, -1), truth)) == pytest.approx(10 * math.log10(400 / 2), abs=1e-4)


def test_ssim_of_black_for_white_is_its_first_constant():
    """No structure and no contrast: what is left of the luminance term is C1 / (1 + C1), with C1 = 0.01^2."""
    white = torch.ones(1, 3, 16, 16)
    assert float(ssim(-white, white)) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-4)


@pytest.mark.parametrize("change", [lambda picture: -picture, lambda picture: picture.roll(1, -1)], ids=["inverted", "shifted by a pixel"])
def test_ssim_of_a_grating_and_its_negative(change):
    """Covariance is minus the variance of 1/4: (-1/2 + C2) / (1/2 + C2), with C2 = 0.03^2, where no window meets the border."""
    found = ssim(change(grating()), grating(), interior())
    assert float(found) == pytest.approx((-0.5 + 9e-4) / (0.5 + 9e-4), abs=1e-3)


def test_ssim_is_scikit_images_inside_its_frame():
    """scikit-image's own mean leaves out 5 pixels on each side; so does a mask."""
    first, second = noise(0), (noise(0) + noise(1) * 0.3).clamp(-1, 1)
    mask = torch.zeros(2, 32, 32, dtype=torch.bool)
    mask[:, 5:-5, 5:-5] = True
    settings = {"channel_axis": 0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for i, found in enumerate(ssim(first, second, mask)):
        one, other = (((picture[i] + 1) / 2).double().numpy() for picture in (first, second))
        assert float(found) == pytest.approx(structural_similarity(one, other, data_range=1.0, **settings), abs=1e-6)


@METRICS
def test_a_mask_of_all_pixels_is_no_mask(metric):
    torch.testing.assert_close(metric(noise(0), noise(1), torch.ones(2, 32, 32, dtype=torch.bool)), metric(noise(0), noise(1)))


@METRICS
def test_only_the_mask_counts(metric):
    """A wrong corner lowers a figure of the whole picture, and none of what lies more than a window away from it."""
    truth, image, mask = noise(), noise(), torch.zeros(2, 32, 32, dtype=torch.bool)
    image[..., :8, :8] *= -1
    mask[:, 14:] = True
    assert (metric(image, truth, mask) > metric(image, truth)).all()
    torch.testing.assert_close(metric(image, truth, mask), metric(truth, truth, mask))


@METRICS
def test_an_empty_mask_gives_nan_for_its_own_sample_alone(metric):
    mask = torch.ones(2, 32, 32, dtype=torch.bool)
    mask[1] = False
    assert metric(noise(0), noise(1), mask).isnan().tolist() == [False, True]


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ValueError, match=r"10x32 pixels: its window has 11"):
        ssim(noise()[:, :, :10], noise()[:, :, :10])


def test_the_mean_colour_is_one_colour_with_the_same_mean():
    flat = mean_colour(noise())
    torch.testing.assert_close(flat.mean((2, 3)), noise().mean((2, 3)))
    assert float(flat.std((2, 3)).max()) < 1e-6
