"""Superpixels: cover the picture with connected patches that follow colour, never more than asked, always the same."""

from __future__ import annotations

import pytest
import torch

from gen import scenes
from gen.segmentation import Segmenter, Superpixels
from image_utils import convert


@pytest.fixture(scope="module")
def pictures():
    return scenes.render([scenes.sample_scene(4, index, "standard") for index in range(12)], 64)


@pytest.mark.parametrize("num_segments", [4, 8, 16, 32])
def test_elements_are_numbered_from_one_and_never_more_than_asked(pictures, num_segments):
    counts = []
    for pixels in pictures.pixel_values:
        elements = Superpixels(num_segments)(pixels)
        assert elements.unique().tolist() == list(range(1, int(elements.max()) + 1))
        counts.append(int(elements.max()))
    assert max(counts) <= num_segments
    assert max(counts) > num_segments // 2
    assert sum(counts) / len(counts) > 0.4 * num_segments


def test_elements_are_connected(photographs):
    from skimage.measure import label

    elements = Superpixels(24)(convert.to_tensor(photographs["coffee"].resize((96, 96))))
    assert label(elements.numpy(), connectivity=1, background=0).max() == elements.max()


def test_the_same_picture_always_gives_the_same_elements_and_partitions_differ_between_pictures(pictures):
    segment = Superpixels(16)
    first = [segment(pixels) for pixels in pictures.pixel_values]
    assert all(torch.equal(one, segment(pixels)) for one, pixels in zip(first, pictures.pixel_values, strict=True))
    assert len({int(one.max()) for one in first}) > 2
    fixed = Superpixels(16, random_partition=False)
    assert not all(torch.equal(one, fixed(pixels)) for one, pixels in zip(first, pictures.pixel_values, strict=True))


def test_elements_follow_colour(pictures):
    """Most pixels of an element belong to one object, far more often than in a regular grid of as many cells."""

    def purity(elements, truth):
        inside = truth > 0
        return sum((truth[elements == k] == truth[elements == k].mode().values)[inside[elements == k]].sum() for k in elements.unique())

    found = sum(int(purity(Superpixels(32)(p), t)) for p, t in zip(pictures.pixel_values, pictures.label_map, strict=True))
    rows, columns = torch.meshgrid(torch.arange(64) // 12, torch.arange(64) // 12, indexing="ij")
    squares = sum(int(purity(rows * 6 + columns, truth)) for truth in pictures.label_map)
    total = int((pictures.label_map > 0).sum())
    assert found / total > 0.6
    assert found > 1.5 * squares


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (8, 8)])
def test_any_size_is_cut(size):
    elements = Superpixels(6)(torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert elements.shape == size
    assert elements.dtype == torch.long
    assert 1 <= elements.min() <= elements.max() <= 6


def test_it_is_a_segmenter_and_refuses_what_is_out_of_range():
    assert isinstance(Superpixels(), Segmenter)
    for arguments in ({"num_segments": 0}, {"compactness": 0.0}):
        with pytest.raises(ValueError, match="out of range"):
            Superpixels(**arguments)
