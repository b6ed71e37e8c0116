"""One draw moves image, label map and pose together."""

from __future__ import annotations

import random

import pytest
import torch

from gen.data.augment import Augmentation, ViewTransform, apply_transforms


def coloured(label_map: torch.Tensor) -> torch.Tensor:
    return torch.stack([label_map / 4 - 0.5, label_map / 8, -label_map / 8], 1)


def test_the_mask_of_a_cropped_image_is_the_crop_of_its_mask():
    """Crop on whole pixels: sampling agrees exactly with slicing, every pixel doubled."""
    label_map = torch.randint(0, 5, (1, 32, 32), generator=torch.Generator().manual_seed(0))
    crop = ViewTransform(scale=0.5, shift=(0.25, -0.5))  # columns 12..28, rows 0..16
    _, maps = apply_transforms(coloured(label_map), label_map[:, None], [crop])
    assert torch.equal(maps[:, 0], label_map[:, 0:16, 12:28].repeat_interleave(2, 1).repeat_interleave(2, 2))


@pytest.mark.parametrize("seed", range(8))
def test_image_and_mask_show_the_same_thing_wherever_the_image_is_flat(seed):
    label_map = torch.zeros(1, 64, 64, dtype=torch.long)
    label_map[:, 16:48, 8:40] = 3
    transform = Augmentation(probability=1.0).draw(random.Random(seed))
    image, maps = apply_transforms(coloured(label_map), label_map[:, None], [transform])
    flat = (image[:, 0] == 3 / 4 - 0.5) | (image[:, 0] == -0.5)
    assert flat.float().mean() > 0.8
    assert torch.equal(coloured(maps[:, 0])[:, 0][flat], image[:, 0][flat])


@pytest.mark.parametrize("seed", range(20))
def test_a_crop_never_leaves_the_picture(seed):
    matrix = Augmentation(probability=1.0, max_degrees=30.0).draw(random.Random(seed)).matrix()
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)])
    assert (corners @ matrix.T).abs().max() <= 1 + 1e-5


def test_identity_returns_the_very_pixels():
    image = torch.rand(2, 3, 8, 8)
    out, _ = apply_transforms(image, torch.zeros(2, 1, 8, 8, dtype=torch.long), [ViewTransform()] * 2)
    assert torch.equal(out, image)


def test_a_probability_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="probability=1.5"):
        Augmentation(probability=1.5)
