"""Classical: finds what a person would outline in plain pictures, always the same, never more than asked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gen import scenes
from gen.segmentation import Classical
from image_utils import convert


def best_overlaps(found: Tensor, truth: Tensor) -> list[float]:
    """Return, for each true object of more than 16 pixels, its largest intersection over union with a found object."""
    objects = [truth == label for label in truth.unique() if label > 0 and (truth == label).sum() > 16]
    return [
        max([float(((found == k) & mask).sum() / ((found == k) | mask).sum()) for k in found.unique() if k > 0], default=0.0)
        for mask in objects
    ]


def disc(side: int, x: float, y: float, radius: float) -> Tensor:
    """Return a boolean disc; all lengths are shares of the side."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((columns + 0.5) / side - x) ** 2 + ((rows + 0.5) / side - y) ** 2 < radius**2


def painted(side: int, *discs: tuple[Tensor, tuple[float, float, float]]) -> Tensor:
    """Paint discs of one colour each on grey."""
    picture = torch.full((3, side, side), 0.1)
    for mask, colour in discs:
        picture[:, mask] = torch.tensor(colour)[:, None]
    return picture


@pytest.mark.parametrize(("preset", "least"), [("simple", 0.8), ("standard", 0.65)])
def test_objects_of_rendered_scenes_are_found(preset, least):
    specs = [scenes.sample_scene(3, index, preset) for index in range(12)]
    rendering = scenes.render(specs, 64)
    segment = Classical(max_regions=8)
    overlaps = [
        overlap
        for pixels, truth in zip(rendering.pixel_values, rendering.label_map, strict=True)
        for overlap in best_overlaps(segment(pixels), truth)
    ]
    assert sum(overlaps) / len(overlaps) > least


def test_objects_are_numbered_by_area_and_the_border_is_background():
    small, large = disc(64, 0.25, 0.3, 0.1), disc(64, 0.65, 0.6, 0.2)
    found = Classical()(painted(64, (small, (0.9, -0.8, -0.8)), (large, (-0.8, -0.8, 0.9))))
    assert best_overlaps((found == 1).long(), large.long())[0] > 0.95
    assert best_overlaps((found == 2).long(), small.long())[0] > 0.9
    assert found[0].max() == found[-1].max() == 0


def test_a_shaded_ball_is_one_region():
    """The same colour in light and in shade: lightness falls to a third across the ball."""
    ball = disc(64, 0.5, 0.5, 0.3)
    light = torch.linspace(1.0, 0.33, 64).expand(64, 64)
    linear = torch.stack([0.8 * light, 0.1 * light, 0.1 * light])
    picture = torch.where(ball, linear ** (1 / 2.2) * 2 - 1, torch.tensor(0.1))
    found = Classical()(picture)
    assert found.max() == 1
    assert best_overlaps(found, ball.long())[0] > 0.95


def test_no_more_than_max_regions_and_the_largest_are_kept():
    discs = [disc(96, 0.2 + 0.3 * (k % 3), 0.25 + 0.5 * (k // 3), 0.06 + 0.01 * k) for k in range(6)]
    colours = [(0.9, -0.9, -0.9), (-0.9, 0.6, -0.9), (-0.9, -0.9, 0.9), (0.9, 0.9, -0.9), (0.9, -0.9, 0.9), (-0.9, 0.9, 0.9)]
    picture = painted(96, *zip(discs, colours, strict=True))
    assert Classical(max_regions=8)(picture).unique().tolist() == list(range(7))
    kept = Classical(max_regions=2)(picture)
    assert kept.unique().tolist() == [0, 1, 2]
    assert torch.equal(kept > 0, (discs[5] | discs[4]) & (kept > 0))


def test_islands_smaller_than_min_area_join_what_surrounds_them():
    ball, speck, crumb = disc(64, 0.5, 0.5, 0.3), disc(64, 0.5, 0.5, 0.02), disc(64, 0.1, 0.1, 0.02)
    found = Classical()(painted(64, (ball, (0.9, -0.8, -0.8)), (speck, (-0.8, 0.9, -0.8)), (crumb, (-0.8, -0.8, 0.9))))
    assert found.unique().tolist() == [0, 1]
    assert (found[speck] == 1).all()
    assert (found[crumb] == 0).all()


def test_a_picture_of_one_colour_is_all_background():
    assert not Classical()(torch.zeros(3, 32, 32)).any()


@pytest.mark.parametrize("size", [(512, 512), (64, 64), (1, 1), (3, 200)])
def test_photographs_of_any_size_give_a_few_regions_and_always_the_same(photographs, size):
    pixel_values = convert.to_tensor(photographs["astronaut"].resize(size[::-1]))
    first, second = Classical()(pixel_values), Classical()(pixel_values)
    assert first.shape == size
    assert torch.equal(first, second)
    assert first.dtype == torch.long
    assert 0 <= first.min() <= first.max() <= 5
    if min(size) >= 64:
        assert first.max() >= 3
        assert 0.1 < (first == 0).float().mean() < 0.9


def test_published_renderings_with_true_masks(shared_data):
    import numpy as np

    from image_utils.io import load_image

    folder = shared_data / "clevr_multiview"
    overlaps = []
    for path in sorted((folder / "images").glob("*.png")):
        truth = torch.from_numpy(np.load(folder / "masks" / f"{path.stem}.npy")[..., 0].astype(np.int64))
        overlaps += best_overlaps(Classical(max_regions=8)(convert.to_tensor(load_image(path))), truth)
    assert sum(overlaps) / len(overlaps) > 0.6


@pytest.mark.parametrize(
    "arguments", [{"max_regions": 0}, {"min_area": 0.0}, {"min_area": 1.0}, {"contrast": 0.0}, {"contrast": float("nan")}]
)
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="out of range"):
        Classical(**arguments)
