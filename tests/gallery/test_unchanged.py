"""What is measured of an edit says what it means: exactly known paintings instead of a model's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gen import LatentImage, edits
from gen.editing.painting import EditedPixels
from gen.gallery.unchanged import centroid_errors, difference_map, largest_difference_outside, psnr_elsewhere
from gen.models.tiny import tiny_pipeline
from gen.regions import RegionLatents

GREY = (128, 128, 128)


@pytest.fixture(scope="module")
def picture():
    """Draw a red square of 8 pixels on grey, twice as wide as high; the pipeline sees it pixel by pixel."""
    pixels, label_map = np.full((16, 32, 3), 128, np.uint8), torch.zeros(16, 32, dtype=torch.int64)
    pixels[4:12, 4:12], label_map[4:12, 4:12] = (220, 30, 30), 1
    return LatentImage.encode(tiny_pipeline(resolution=32, num_regions=3), Image.fromarray(pixels), label_map)


def painting(picture: LatentImage, latents: RegionLatents, left: int | None) -> EditedPixels:
    """Return what a model without a fault would paint: the square with its left edge there, or nowhere."""
    pixels = np.full((16, 32, 3), 128, np.uint8)
    if left is not None:
        pixels[4:12, left : left + 8] = (220, 30, 30)
    there = replace(picture, image=Image.fromarray(pixels)).pixel_values
    return EditedPixels(there, latents, picture.paint_pixels(latents, num_inference_steps=1).changed)


def test_a_centroid_error_is_a_share_of_the_longer_side(picture):
    """The object is asked to go 16 of 32 pixels to the right, and is painted there, 4 short of it, or not at all."""
    moved, gone = edits.move(picture.latents, 1, 0.5, 0.0), edits.remove(picture.latents, 1)
    shifts, removed = torch.tensor([[0.5, 0.0]]), painting(picture, gone, None)
    errors = [float(centroid_errors(picture, 1, painting(picture, moved, left), removed, shifts)) for left in (20, 16, None)]
    assert errors[:2] == pytest.approx([0.0, 4 / 32], abs=1e-6) and np.isnan(errors[2])
    with pytest.raises(ValueError, match="region 2 has no pixels"):
        centroid_errors(picture, 2, removed, removed, shifts)


def test_what_fills_the_square_is_not_elsewhere(picture):
    """Noise below a picture that is wider than high is no fault; noise in the picture is, as large as it is."""
    exact = painting(picture, edits.move(picture.latents, 1, 0.1, 0.0), 7)
    assert float(psnr_elsewhere(picture, exact)) == 100
    below, within = exact.pixel_values.clone(), exact.pixel_values.clone()
    below[:, :, 16:] += 1.0
    within[:, :, :16, 24:] += 0.2
    assert float(psnr_elsewhere(picture, replace(exact, pixel_values=below))) == 100
    share = float((~exact.changed[:, :16, 24:]).sum() / (~exact.changed[:, :16]).sum())
    assert float(psnr_elsewhere(picture, replace(exact, pixel_values=within))) == pytest.approx(10 * np.log10(4 / (share * 0.04)), abs=1e-3)


def test_differences_are_shown_and_counted_in_grey_levels(picture):
    edited = picture.image.copy()
    edited.putpixel((30, 1), (130, 128, 121))
    outside = torch.zeros(16, 32, dtype=torch.bool)
    assert largest_difference_outside(picture, edited, outside) == pytest.approx(7, abs=1e-4)
    assert largest_difference_outside(picture, edited, ~outside) == 0
    heat = np.asarray(difference_map(picture.image, edited)).astype(int)
    assert (np.abs(heat - heat[1, 29]).sum(-1) > 0)[:, 14:].nonzero()[0].tolist() == [1]  # right of the object, whose grey differs
    with pytest.raises(ValueError, match="32x16 pixels is compared with one of 8x8"):
        difference_map(picture.image, Image.new("RGB", (8, 8), GREY))
