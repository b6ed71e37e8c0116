"""Edits on latents: as functions, as JSON plans, and applied to a picture."""

from gen.editing.editor import CutImage, EditedPixels, EditResult, edit_image, edit_pixels
from gen.editing.plan import Copy, Edit, EditPlan, Flip, Insert, Interpolate, Move, Remove, Resize, Rotate, Swap, from_json, to_json

__all__ = [
    "Copy",
    "CutImage",
    "Edit",
    "EditPlan",
    "EditResult",
    "EditedPixels",
    "Flip",
    "Insert",
    "Interpolate",
    "Move",
    "Remove",
    "Resize",
    "Rotate",
    "Swap",
    "edit_image",
    "edit_pixels",
    "from_json",
    "to_json",
]
