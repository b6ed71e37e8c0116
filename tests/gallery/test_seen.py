"""Pictures for a sheet: cut to the picture, regions numbered, and what is not there checkered."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from gen.gallery.panel import shown, within_picture
from gen.gallery.seen import CHECK, GREYS, as_pictures, numbered, over_checkerboard, without
from image_utils.convert import to_pil


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def test_the_square_is_cut_to_the_picture(wide):
    square = wide.pixel_values
    cut = within_picture(wide, square)
    assert cut.shape[-2:] == (21, 32)  # 48 x 32 in a square of 32
    assert torch.equal(square[..., 21:, :], cut[..., -1:, :].expand(-1, -1, 11, -1))  # the rest repeats the last row
    assert (pixels(as_pictures(wide, square)[0]) == pixels(to_pil(cut[0]))).all()


def test_opacity_decides_between_picture_and_board():
    image = Image.new("RGB", (2 * CHECK, CHECK), (200, 30, 30))
    opacity = torch.zeros(CHECK, 2 * CHECK)
    opacity[0], opacity[1] = 1.0, 0.5
    over = pixels(over_checkerboard(image, opacity)).astype(int)
    assert (over[0] == (200, 30, 30)).all()
    assert (over[2:, :CHECK] == GREYS[0]).all() and (over[2:, CHECK:] == GREYS[1]).all()
    assert abs(over[1, 0, 0] - (200 + GREYS[0]) / 2) <= 1


def test_only_the_chosen_regions_are_numbered(wide):
    image, valid = pixels(shown(wide.image)), wide.regions.valid
    none = wide.regions.keep(torch.zeros_like(valid))
    only_second = wide.regions.keep(torch.arange(valid.shape[1])[None] == 2)
    assert (pixels(numbered(wide, none)) == image).all()
    second = (pixels(numbered(wide, only_second)) != image).any(-1)
    both = (pixels(numbered(wide)) != image).any(-1)
    assert second.any() and both[second].all() and both.sum() > second.sum()


def test_what_is_gone_is_checkered_and_nothing_else(wide):
    mask = wide.regions.masks[0, 1]
    image, cut = pixels(shown(wide.image)), pixels(without(wide, mask))
    board = np.isin(cut, GREYS).all(-1) & (cut != image).any(-1)
    shares = np.asarray(Image.fromarray(mask[:21].numpy()).resize(shown(wide.image).size, Image.Resampling.NEAREST))
    assert (board == shares).all() and (cut[~shares] == image[~shares]).all()
