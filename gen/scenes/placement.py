"""Placement: whether objects fit beside one another on the floor, inside the picture, without hiding one another too much."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gen.scenes.camera import Pinhole, object_box
from gen.scenes.shapes import FOOTPRINT
from gen.scenes.spec import ObjectSpec

_GAP = 0.04  # between footprints, world units
_MARGIN = 0.016  # to the picture's border, image units


@dataclass(frozen=True)
class Layout:
    """The rules of a legal arrangement for one camera.

    Attributes:
        pinhole: the camera.
        hidden: the largest share of an object's box that the boxes of nearer objects may cover.
    """

    pinhole: Pinhole
    hidden: float

    def accepts(self, objects: tuple[ObjectSpec, ...], changed: int = -1) -> bool:
        """Tell whether `objects[changed]` fits among the others, all of which fit already; absent objects take no room."""
        item = objects[changed]
        if not item.present:
            return True
        others = [other for index, other in enumerate(objects) if other.present and index != changed % len(objects)]
        if any(_collide(item, other) for other in others):
            return False
        box = object_box(self.pinhole, item)
        if min(box[:2]) < _MARGIN or max(box[2:]) > 1 - _MARGIN:
            return False
        ranked = [(self._depth(other), object_box(self.pinhole, other)) for other in [*others, item]]
        return all(_covered(box, depth, ranked) <= self.hidden for depth, box in ranked)

    def _depth(self, item: ObjectSpec) -> float:
        return self.pinhole.to_camera(item.x, item.y, 0.0)[2]


def _collide(a: ObjectSpec, b: ObjectSpec) -> bool:
    return math.hypot(a.x - b.x, a.y - b.y) < a.size * FOOTPRINT[a.shape] + b.size * FOOTPRINT[b.shape] + _GAP


def _covered(box: tuple[float, float, float, float], depth: float, ranked: list) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    hidden = 0.0
    for other_depth, other in ranked:
        if other_depth < depth:
            width, height = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
            hidden += max(width, 0.0) * max(height, 0.0)
    return hidden / area
