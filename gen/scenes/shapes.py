"""The shapes: of which parts they consist, where a ray meets a part, and which way its surface faces there.

All in the part's own frame: origin in the middle of the part, z up, one unit = the object's `size`. A ray is
`origin + t * direction`; the camera is far outside and above the floor, so the nearest crossing is wanted and undersides are never seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Vector = Sequence[Tensor]  # x, y, z; or the three numbers of a part's size

_INFINITY = float("inf")
_TINY = 1e-20  # keeps 1 / 0 finite without changing any other number
_TORUS_STEPS = 20
_TORUS_SKIN = 0.008  # a ray that ends so close to a torus has met it, units of size


@dataclass(frozen=True)
class Part:
    """A primitive of a shape.

    Attributes:
        kind: a key of `INTERSECT` and `NORMAL`.
        centre: of the part in the object's frame (floor at z = 0), units of `size`.
        size: (box) half extents; (cylinder, cup) radius, half height, wall; (cone) radius, height; (capsule) radius, half length;
            (torus) ring radius, tube radius, least x that is kept.
        spheres: (x, y, z, radius) in the object's frame whose convex hull contains the part.
    """

    kind: str
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    spheres: tuple[tuple[float, float, float, float], ...]


def _ring(radius: float, z: float, count: int = 8) -> list[tuple[float, float, float, float]]:
    outer = radius / math.cos(math.pi / count)
    turns = [2 * math.pi * (i + 0.5) / count for i in range(count)]
    return [(outer * math.cos(turn), outer * math.sin(turn), z, 0.0) for turn in turns]


def _box(centre: tuple[float, float, float], half: tuple[float, float, float]) -> Part:
    signs = [(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    corners = tuple((centre[0] + i * half[0], centre[1] + j * half[1], centre[2] + k * half[2], 0.0) for i, j, k in signs)
    return Part("box", centre, half, corners)


def _upright(kind: str, radius: float, half_height: float, wall: float = 0.0) -> Part:
    hull = _ring(radius, 0.0) + _ring(radius, 2 * half_height)
    return Part(kind, (0.0, 0.0, half_height), (radius, half_height, wall), tuple(hull))


def _torus(centre: tuple[float, float, float], ring: float, tube: float, least_x: float) -> Part:
    count = 12
    outer = ring / math.cos(math.pi / count)
    turns = [2 * math.pi * (i + 0.5) / count for i in range(count)]
    points = [(max(outer * math.cos(turn), least_x), outer * math.sin(turn)) for turn in turns]
    hull = tuple((centre[0] + x, centre[1], centre[2] + z, tube) for x, z in points)
    return Part("torus", centre, (ring, tube, least_x), hull)


PARTS: dict[str, tuple[Part, ...]] = {
    "sphere": (Part("sphere", (0.0, 0.0, 0.8), (0.8, 0.0, 0.0), ((0.0, 0.0, 0.8, 0.8),)),),
    "box": (_box((0.0, 0.0, 0.55), (0.8, 0.5, 0.55)),),
    "cylinder": (_upright("cylinder", 0.6, 0.65),),
    "cone": (Part("cone", (0.0, 0.0, 0.8), (0.78, 1.6, 0.0), (*_ring(0.78, 0.0), (0.0, 0.0, 1.6, 0.0))),),
    "capsule": (Part("capsule", (0.0, 0.0, 0.42), (0.42, 0.6, 0.0), ((-0.6, 0.0, 0.42, 0.42), (0.6, 0.0, 0.42, 0.42))),),
    "torus": (_torus((0.0, 0.0, 0.86), 0.6, 0.26, -_INFINITY),),
    "block": (_box((0.0, 0.0, 0.3), (0.85, 0.4, 0.3)), _box((-0.5, 0.0, 1.05), (0.35, 0.4, 0.45))),
    "mug": (_upright("cup", 0.58, 0.6, 0.09), _torus((0.54, 0.0, 0.62), 0.39, 0.12, 0.0)),
}

# Radius of a disc on the floor, in units of `size`, that contains the shape seen from above.
FOOTPRINT = {shape: max(math.hypot(x, y) + r for part in parts for x, y, _, r in part.spheres) for shape, parts in PARTS.items()}


def _quadratic(a: Tensor, half_b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Solve a t^2 + 2 half_b t + c = 0; return whether there are roots, and the roots."""
    discriminant = half_b * half_b - a * c
    root = discriminant.clamp(min=0).sqrt()
    return discriminant > 0, (-half_b - root) / a, (-half_b + root) / a


def _slab(origin: Tensor, direction: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1 / (direction + _TINY)
    middle, reach = -origin * inverse, half * inverse.abs()
    return middle - reach, middle + reach


def _intersect_sphere(o: Vector, d: Vector, size: Vector) -> Tensor:
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    half_b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - size[0] * size[0]
    met, near, _ = _quadratic(a, half_b, c)
    return torch.where(met, near, _INFINITY)


def _intersect_box(o: Vector, d: Vector, size: Vector) -> Tensor:
    near_x, far_x = _slab(o[0], d[0], size[0])
    near_y, far_y = _slab(o[1], d[1], size[1])
    near_z, far_z = _slab(o[2], d[2], size[2])
    near = torch.maximum(torch.maximum(near_x, near_y), near_z)
    far = torch.minimum(torch.minimum(far_x, far_y), far_z)
    return torch.where(near < far, near, _INFINITY)


def _intersect_cylinder(o: Vector, d: Vector, size: Vector) -> Tensor:
    a = d[0] * d[0] + d[1] * d[1] + _TINY
    half_b = o[0] * d[0] + o[1] * d[1]
    c = o[0] * o[0] + o[1] * o[1] - size[0] * size[0]
    met, near, far = _quadratic(a, half_b, c)
    low, high = _slab(o[2], d[2], size[1])
    near, far = torch.maximum(near, low), torch.minimum(far, high)
    return torch.where(met & (near < far), near, _INFINITY)


def _intersect_cone(o: Vector, d: Vector, size: Vector) -> Tensor:
    radius, height, _ = size
    slope = radius / height
    squared = slope * slope
    below, fall = height / 2 - o[2], -d[2]  # distance under the tip and its rate
    a = d[0] * d[0] + d[1] * d[1] - squared * fall * fall + _TINY
    half_b = o[0] * d[0] + o[1] * d[1] - squared * below * fall
    c = o[0] * o[0] + o[1] * o[1] - squared * below * below
    met, first, second = _quadratic(a, half_b, c)
    best = torch.full_like(first, _INFINITY)
    for root in (first, second):
        depth = below + root * fall
        best = torch.where(met & (depth > 0) & (depth < height) & (root < best), root, best)
    return best


def _intersect_capsule(o: Vector, d: Vector, size: Vector) -> Tensor:
    radius, half_length, _ = size
    yz_a, yz_b = d[1] * d[1] + d[2] * d[2], o[1] * d[1] + o[2] * d[2]
    yz_c = o[1] * o[1] + o[2] * o[2] - radius * radius
    met, near, _ = _quadratic(yz_a + _TINY, yz_b, yz_c)
    along = o[0] + near * d[0]
    end = torch.maximum(torch.minimum(along, half_length), -half_length)
    outside = along != end
    shifted = o[0] - torch.where(outside, end, o[0])
    cap_met, cap_near, _ = _quadratic(yz_a + d[0] * d[0], yz_b + shifted * d[0], yz_c + shifted * shifted)
    near = torch.where(outside, cap_near, near)
    return torch.where(met & (cap_met | ~outside), near, _INFINITY)


def _intersect_torus(o: Vector, d: Vector, size: Vector) -> Tensor:
    """March along the ray by the distance to the surface, only for rays that meet the disc around the ring."""
    ring, tube, least_x = (value.expand_as(o[0]) for value in size)
    bound = _intersect_cylinder((o[0], o[2], o[1]), (d[0], d[2], d[1]), (ring + tube, tube, tube))
    chosen = (bound < _INFINITY).flatten().nonzero()[:, 0]
    ox, oy, oz, dx, dy, dz, t, ring, tube, least_x = (v.flatten().index_select(0, chosen) for v in (*o, *d, bound, ring, tube, least_x))
    per_unit = 1 / (dx * dx + dy * dy + dz * dz).sqrt()
    for _ in range(_TORUS_STEPS):
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        from_ring = (x * x + z * z).sqrt() - ring
        distance = torch.maximum((from_ring * from_ring + y * y).sqrt() - tube, least_x - x)
        t = t + distance * per_unit
    result = torch.full_like(bound, _INFINITY)
    result.view(-1)[chosen] = torch.where(distance < _TORUS_SKIN, t, _INFINITY)
    return result


def _intersect_cup(o: Vector, d: Vector, size: Vector) -> Tensor:
    radius, half_height, wall = size
    a = d[0] * d[0] + d[1] * d[1] + _TINY
    half_b = o[0] * d[0] + o[1] * d[1]
    square = o[0] * o[0] + o[1] * o[1]
    met, near, far = _quadratic(a, half_b, square - radius * radius)
    low, high = _slab(o[2], d[2], half_height)
    start, stop = torch.maximum(near, low), torch.minimum(far, high)
    inner = radius - wall
    hollow, inner_near, inner_far = _quadratic(a, half_b, square - inner * inner)
    falls_in = hollow & (low > near) & (low > inner_near) & (low < inner_far)
    bottom = (wall - half_height - o[2]) / (d[2] + _TINY)
    start = torch.where(falls_in, torch.minimum(inner_far, bottom), start)
    return torch.where(met & (torch.maximum(near, low) < stop), start, _INFINITY)


def _normal_sphere(p: Vector, size: Vector) -> Vector:
    return p[0] / size[0], p[1] / size[0], p[2] / size[0]


def _normal_box(p: Vector, size: Vector) -> Vector:
    x, y, z = (value.abs() / half for value, half in zip(p, size, strict=True))
    on_x = (x >= y) & (x >= z)
    on_z = ~on_x & (z >= y)
    zero = torch.zeros_like(x)
    return torch.where(on_x, p[0].sign(), zero), torch.where(on_x | on_z, zero, p[1].sign()), torch.where(on_z, p[2].sign(), zero)


def _normal_cylinder(p: Vector, size: Vector) -> Vector:
    on_top = p[2] > size[1] - 1e-3
    zero = torch.zeros_like(p[0])
    return torch.where(on_top, zero, p[0] / size[0]), torch.where(on_top, zero, p[1] / size[0]), on_top.to(p[0].dtype)


def _normal_cone(p: Vector, size: Vector) -> Vector:
    slope = size[0] / size[1]
    distance = (p[0] * p[0] + p[1] * p[1]).sqrt() + 1e-6
    scale = 1 / (distance * (1 + slope * slope).sqrt())
    return p[0] * scale, p[1] * scale, slope * distance * scale


def _normal_capsule(p: Vector, size: Vector) -> Vector:
    along = p[0] - torch.maximum(torch.minimum(p[0], size[1]), -size[1])
    return along / size[0], p[1] / size[0], p[2] / size[0]


def _normal_torus(p: Vector, size: Vector) -> Vector:
    distance = (p[0] * p[0] + p[2] * p[2]).sqrt() + 1e-6
    outward = (distance - size[0]) / distance
    x, y, z = p[0] * outward, p[1], p[2] * outward
    length = (x * x + y * y + z * z).sqrt() + 1e-6
    return x / length, y / length, z / length


def _normal_cup(p: Vector, size: Vector) -> Vector:
    radius, half_height, wall = size
    distance = (p[0] * p[0] + p[1] * p[1]).sqrt() + 1e-6
    inside = distance < radius - wall / 2
    flat = (p[2] > half_height - 1e-3) | ((p[2] < wall - half_height + 1e-3) & (distance < radius - wall - 1e-3))
    outward = torch.where(inside, -1 / distance, 1 / distance)
    zero = torch.zeros_like(distance)
    return torch.where(flat, zero, p[0] * outward), torch.where(flat, zero, p[1] * outward), flat.to(distance.dtype)


INTERSECT: dict[str, Callable[[Vector, Vector, Vector], Tensor]] = {
    "sphere": _intersect_sphere,
    "box": _intersect_box,
    "cylinder": _intersect_cylinder,
    "cone": _intersect_cone,
    "capsule": _intersect_capsule,
    "torus": _intersect_torus,
    "cup": _intersect_cup,
}

NORMAL: dict[str, Callable[[Vector, Vector], Vector]] = {
    "sphere": _normal_sphere,
    "box": _normal_box,
    "cylinder": _normal_cylinder,
    "cone": _normal_cone,
    "capsule": _normal_capsule,
    "torus": _normal_torus,
    "cup": _normal_cup,
}
