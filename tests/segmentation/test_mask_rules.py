"""The mask contract: what is cleaned, dropped, chosen and numbered, and that it follows the picture when that is turned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gen.segmentation.mask_rules import MaskRules

SHARE = 1 / 400  # one pixel of a picture of 20 x 20
PLAIN = MaskRules(min_area=0.0, max_area=1.0, max_hole=0.0, max_island=0.0, max_overlap=1.0, max_regions=64)
CLEANING = MaskRules(min_area=4.5 * SHARE, max_area=300.5 * SHARE, max_hole=3.5 * SHARE, max_island=2.5 * SHARE, max_overlap=0.6)


def drawn(*rows: str) -> Tensor:
    return torch.tensor([[pixel == "#" for pixel in row] for row in rows])


def random_masks(seed: int, height: int = 20, width: int = 20) -> tuple[Tensor, Tensor]:
    """Return rectangles with noise, so that there are holes, islands, overlaps and ties."""
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(0, 9, (), generator=generator))
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    for mask in masks:
        top, left, high, wide = torch.randint(0, 14, (4,), generator=generator).tolist()
        mask |= (rows >= top) & (rows <= top + high) & (columns >= left) & (columns <= left + wide)
        mask ^= torch.rand(height, width, generator=generator) < 0.04
    return masks, torch.randint(0, 4, (count,), generator=generator) / 4


def in_pixels(rules: MaskRules, before: int, after: int) -> MaskRules:
    """Return rules that mean the same numbers of pixels in a picture of another size."""
    shares = {name: getattr(rules, name) * before / after for name in ("min_area", "max_area", "max_hole", "max_island")}
    return replace(rules, **shares)


every_rules = st.builds(
    replace, st.sampled_from([CLEANING, PLAIN]), max_regions=st.sampled_from([1, 3, 64]),
    choose=st.sampled_from(["rank", "sample"]), overlapping=st.booleans(),
)  # fmt: skip
TURNS = [lambda x: x.flip(-1), lambda x: x.flip(-2), *(lambda x, k=k: x.rot90(k, (-2, -1)) for k in (1, 2, 3))]


@given(seed=st.integers(0, 9999), rules=every_rules, turn=st.sampled_from(TURNS))
@settings(max_examples=80, deadline=None)
def test_regions_of_flipped_and_turned_masks_are_the_flipped_and_turned_regions(seed, rules, turn):
    masks, scores = random_masks(seed)
    assert torch.equal(rules(turn(masks), scores, seed), turn(rules(masks, scores, seed)))


@given(seed=st.integers(0, 9999), rules=every_rules, pads=st.tuples(*[st.integers(0, 5)] * 4))
@settings(max_examples=60, deadline=None)
def test_padding_that_is_cropped_away_changes_nothing(seed, rules, pads):
    left, _, top, _ = pads
    masks, scores = random_masks(seed)
    padded = torch.nn.functional.pad(masks, pads)
    found = in_pixels(rules, 400, padded.shape[-1] * padded.shape[-2])(padded, scores, seed)
    assert torch.equal(found[..., top : top + 20, left : left + 20], rules(masks, scores, seed))


@given(seed=st.integers(0, 9999), rules=every_rules)
@settings(max_examples=80, deadline=None)
def test_rules_obey_their_own_bounds_and_leave_regions_as_they_are(seed, rules):
    masks, scores = random_masks(seed)
    found = rules(masks, scores, seed)
    if rules.overlapping:
        regions = found[1:]
        assert torch.equal(found[0], ~regions.any(0))
    else:
        assert found.unique().tolist() in (list(range(found.max() + 1)), list(range(1, found.max() + 1)))
        regions = torch.stack([found == k for k in range(1, found.max() + 1)]) if found.any() else masks[:0]
    areas = regions.sum((1, 2)) * SHARE
    assert len(regions) <= rules.max_regions
    assert ((areas >= rules.min_area) & (areas <= rules.max_area)).all()
    assert areas.tolist() == sorted(areas.tolist(), reverse=True)
    # A piece of one object that another one encloses is no hole of that one's mask as proposed, but is one of its region.
    again = rules if rules.overlapping else replace(rules, max_hole=0.0)
    assert torch.equal(again(regions, torch.ones(len(regions)), seed + 1), found)


def test_holes_are_filled_up_to_their_size_and_notches_are_not():
    ring = drawn("..........", ".####.....", ".#..#.###.", ".####.#.#.", ".......##.", "#####.....", "#...#.....", "#...#.....")
    filled = drawn("..........", ".####.....", ".####.###.", ".####.###.", ".......##.", "#####.....", "#...#.....", "#...#.....")
    found = replace(PLAIN, max_hole=2.5 / 80)(ring[None], torch.ones(1))
    assert torch.equal(found.bool(), filled)  # the last frame is open: the picture's edge encloses nothing
    smaller = replace(PLAIN, max_hole=1.5 / 80)(ring[None], torch.ones(1))
    assert torch.equal(smaller.bool() ^ filled, drawn(*["." * 10] * 2, "..##......", *["." * 10] * 5))


def test_islands_are_removed_up_to_their_size_and_the_largest_piece_never():
    pieces = drawn("##....#...", "##...#....", "..........", "....#.....")
    found = replace(PLAIN, max_island=2.5 / 40)(pieces[None], torch.ones(1))
    assert torch.equal(found.bool(), drawn("##........", "##........", "..........", ".........."))
    assert replace(PLAIN, max_island=0.5)(pieces[None], torch.ones(1)).sum() == 4
    pair = drawn("#..#")
    assert torch.equal(replace(PLAIN, max_island=0.5)(pair[None], torch.ones(1)).bool(), pair)


def test_masks_too_small_or_too_large_go():
    masks = torch.stack([drawn("####", "####"), drawn("###.", "...."), drawn("...#", "....")])
    found = replace(PLAIN, min_area=2 / 8, max_area=7 / 8)(masks, torch.tensor([3.0, 2.0, 1.0]))
    assert torch.equal(found, masks[1].long())


def test_of_two_alike_masks_the_one_with_the_better_score_stays():
    masks = torch.stack([drawn("####......"), drawn("###......."), drawn("......####")])
    rules = replace(PLAIN, max_overlap=0.7)
    assert rules(masks, torch.tensor([0.1, 0.9, 0.5])).tolist() == [[2, 2, 2, 0, 0, 0, 1, 1, 1, 1]]
    assert rules(masks, torch.tensor([0.9, 0.1, 0.5])).tolist() == [[1, 1, 1, 1, 0, 0, 2, 2, 2, 2]]


def test_the_smaller_object_is_on_top_and_a_covered_one_goes():
    masks = torch.stack([drawn("#########."), drawn("..###....."), drawn("..#......."), drawn("...##.....")])
    assert PLAIN(masks, torch.ones(4)).tolist() == [[1, 1, 3, 2, 2, 1, 1, 1, 1, 0]]
    overlapping = replace(PLAIN, overlapping=True)(masks, torch.ones(4))
    assert torch.equal(overlapping, torch.stack([~masks.any(0), masks[0], masks[1], masks[3], masks[2]]))


def test_of_two_objects_of_one_size_the_one_with_the_better_score_is_on_top():
    masks = torch.stack([drawn("###.."), drawn("..###")])
    assert PLAIN(masks, torch.tensor([0.9, 0.1])).tolist() == [[1, 1, 1, 2, 2]]
    assert PLAIN(masks, torch.tensor([0.1, 0.9])).tolist() == [[2, 2, 1, 1, 1]]


def test_what_is_too_little_after_the_cut_goes_to_the_larger_object_below():
    masks = torch.stack([drawn("########"), drawn("..####.."), drawn("..###...")])
    assert replace(PLAIN, min_area=2 / 8)(masks, torch.ones(3)).tolist() == [[1, 1, 2, 2, 2, 1, 1, 1]]


def test_a_draw_is_repeated_by_its_seed_and_follows_the_cube_root_of_the_area():
    masks = torch.zeros(4, 4, 64, dtype=torch.bool)
    for row, area in enumerate((1, 8, 27, 64)):
        masks[row, row, :area] = True
    scores = torch.ones(4)
    sample = replace(PLAIN, choose="sample", max_regions=1)
    assert torch.equal(sample(masks, scores, 5), sample(masks, scores, 5))
    area = torch.tensor([int(sample(masks, scores, seed).sum()) for seed in range(1000)])
    shares = torch.stack([(area == size).float().mean() for size in (1, 8, 27, 64)])
    assert torch.allclose(shares, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=0.05)  # three deviations of 1000 draws
    # Of two drawn, the largest is absent if both come from the others: P = sum of w_a / 10 * w_b / (10 - w_a).
    absent = sum(a / 10 * b / (10 - a) for a in (1, 2, 3) for b in (1, 2, 3) if a != b)
    twice = replace(sample, max_regions=2)
    missing = sum(not twice(masks, scores, seed)[3].any() for seed in range(1000)) / 1000
    assert missing == pytest.approx(absent, abs=0.05)


def test_no_masks_are_all_background():
    none = torch.zeros(0, 3, 5, dtype=torch.bool)
    assert not MaskRules()(none, torch.zeros(0)).any()
    assert torch.equal(MaskRules(overlapping=True)(none, torch.zeros(0)), torch.ones(1, 3, 5, dtype=torch.bool))


@pytest.mark.parametrize(
    "arguments",
    [{"max_regions": 0}, {"min_area": -0.1}, {"max_area": 1.1}, {"max_hole": float("nan")}, {"max_overlap": 2.0},
     {"min_area": 0.5, "max_area": 0.5}],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        MaskRules(**arguments)
