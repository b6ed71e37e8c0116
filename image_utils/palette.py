"""Colours that tell regions apart."""

from __future__ import annotations

import colorsys

GOLDEN_RATIO = 0.618033988749895


def colours(n: int) -> list[tuple[int, int, int]]:
    """Return n distinct RGB colours in 0..255; colour k does not depend on n."""
    return [colour(index) for index in range(n)]


def colour(index: int) -> tuple[int, int, int]:
    """Return the colour with this number; ids of objects may be large, so those before it are not made.

    Hues step by the golden ratio, which never comes near an earlier hue soon; lightness and saturation take turns.
    """
    saturation = (0.90, 0.55, 0.75)[index % 3]
    value = (0.95, 0.80)[index // 3 % 2]
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * GOLDEN_RATIO) % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)
