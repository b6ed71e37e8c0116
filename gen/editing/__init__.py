"""Edits: as functions on latents, as JSON plans, and applied to a picture. `from gen import edits` is this package."""

from gen.editing.editor import EditResult, edit_image, edit_pixels
from gen.editing.latent_image import CutImage, LatentImage
from gen.editing.operations import copy, flip, insert, interpolate, keep, move, remove, resize, rotate, swap, turn
from gen.editing.painting import EditedPixels
from gen.editing.plan import (
    Copy,
    Edit,
    EditPlan,
    Flip,
    Insert,
    Interpolate,
    Keep,
    Move,
    Remove,
    Resize,
    Rotate,
    Swap,
    Turn,
    apply,
    from_json,
    to_json,
)

__all__ = [
    "Copy", "CutImage", "Edit", "EditPlan", "EditResult", "EditedPixels", "Flip", "Insert", "Interpolate", "Keep", "LatentImage", "Move",
    "Remove", "Resize", "Rotate", "Swap", "Turn", "apply", "copy", "edit_image", "edit_pixels", "flip", "from_json", "insert",
    "interpolate", "keep", "move", "remove", "resize", "rotate", "swap", "to_json", "turn",
]  # fmt: skip
