"""Colours differ, and a region keeps its colour when others come."""

from __future__ import annotations

from image_utils.palette import colours


def test_colours_are_distinct_and_stable():
    many = colours(256)
    assert len(set(many)) == 256
    assert colours(5) == many[:5]


def test_first_colours_are_far_apart():
    few = colours(8)
    distances = [sum(abs(a - b) for a, b in zip(x, y, strict=True)) for i, x in enumerate(few) for y in few[:i]]
    assert min(distances) > 60
