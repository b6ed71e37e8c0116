"""The catalogue: which shapes, colours, materials, textures and floors the world has, and which pairs are held out."""

from __future__ import annotations

SHAPES = ("sphere", "box", "cylinder", "cone", "capsule", "torus", "block", "mug")
MATERIALS = ("matte", "shiny", "metal")
TEXTURES = ("plain", "stripes", "checker", "dots")
FLOOR_TEXTURES = ("plain", "checker", "planks", "tiles", "dots", "speckle")

# sRGB in [0, 1]; hues far enough apart that the mean colour of a render names its object.
COLOURS = {
    "red": (0.85, 0.09, 0.13),
    "orange": (0.97, 0.55, 0.05),
    "yellow": (0.95, 0.91, 0.14),
    "green": (0.13, 0.64, 0.20),
    "cyan": (0.10, 0.75, 0.78),
    "blue": (0.12, 0.26, 0.83),
    "purple": (0.56, 0.16, 0.72),
    "white": (0.93, 0.93, 0.92),
}

# Muted, so that every object stands out.
FLOOR_COLOURS = {
    "grey": (0.55, 0.55, 0.56),
    "beige": (0.71, 0.65, 0.55),
    "brown": (0.46, 0.37, 0.30),
    "blue": (0.43, 0.50, 0.61),
    "green": (0.47, 0.55, 0.46),
}

# The turn after which a plain object of this shape looks the same again, in degrees; 0: at every turn.
YAW_PERIOD = {"sphere": 0, "box": 180, "cylinder": 0, "cone": 0, "capsule": 180, "torus": 180, "block": 360, "mug": 360}


def is_held_out(shape: str, colour: str) -> bool:
    """Tell whether a pair never occurs in the presets `simple` and `standard`; one colour per shape, one shape per colour."""
    return list(COLOURS).index(colour) == (3 * SHAPES.index(shape) + 5) % len(COLOURS)
