"""The ray-caster: turns specs into pictures and their whole ground truth, in pure torch, the same bits alone or in a batch.

Only elementwise operations that IEEE 754 rounds exactly, integer sums, and minima touch the numbers, so no result depends on the
batch, on vector width or on the number of threads. Work is sparse: a part's rays are cast only in the tiles that its box meets,
one minimum per sub-ray finds the nearest hits, and only those are shaded; the floor is shaded once a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gen.scenes import shading
from gen.scenes.camera import Pinhole
from gen.scenes.canvas import TILE, Canvas
from gen.scenes.floor import shade_floor
from gen.scenes.shapes import INTERSECT, NORMAL
from gen.scenes.spec import SceneSpec
from gen.scenes.tables import PartTable, floor_table, part_table

_SCENES_AT_ONCE = {"cpu": 16, "cuda": 256}  # on a CPU the working set should stay in the cache
_MISS = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Rendering:
    """Pictures and what is true of them.

    Attributes:
        pixel_values: in [-1, 1].
        label_map: 0 the floor, k the k-th object: the object that is seen by at least half of the pixel's sub-rays, the lower number
            of two that have half each.
        amodal: True where at least half of the pixel's sub-rays would see the object if it were alone; index 0 is the floor, True
            everywhere. So a visible pixel of an object is always an amodal pixel of it.
        boxes: of the amodal masks, (left, top, right, bottom) in [0, 1]; zeros for an empty mask; index 0 is the whole picture.
        depth: along the optical axis, world units, of what `label_map` names (the nearest sub-ray; the floor at the pixel's middle).
    """

    pixel_values: Float[Tensor, "b 3 h w"]
    label_map: Int[Tensor, "b h w"]
    amodal: Bool[Tensor, "b n h w"]
    boxes: Float[Tensor, "b n 4"]
    depth: Float[Tensor, "b h w"]


def render(specs: Sequence[SceneSpec], resolution: int, supersampling: int = 2, device: torch.device | str = "cpu") -> Rendering:
    """Render scenes; n is 1 + the most objects of a scene, absent ones included.

    Args:
        specs: one or more scenes.
        resolution: height and width in pixels, a multiple of 4.
        supersampling: s, for s x s sub-rays a pixel on objects, 1 to 8.
        device: where to compute and return.

    Raises:
        ValueError: if there is no scene, or `resolution` or `supersampling` cannot be used.
    """
    if not specs:
        raise ValueError("render got no scenes; give at least one SceneSpec")
    if resolution < TILE or resolution % TILE:
        raise ValueError(f"resolution={resolution} of a rendering; use a multiple of {TILE}")
    if not 1 <= supersampling <= 8:
        raise ValueError(f"supersampling={supersampling} of a rendering; use 1 to 8")
    device = torch.device(device)
    num_regions = 1 + max(len(spec.objects) for spec in specs)
    step = _SCENES_AT_ONCE.get(device.type, 64)
    chunks = [specs[i : i + step] for i in range(0, len(specs), step)]
    parts = [_render_chunk(chunk, Canvas(len(chunk), num_regions, resolution, supersampling, device)) for chunk in chunks]
    pixel_values, label_map, amodal, depth = (torch.cat(values) for values in zip(*parts, strict=True))
    return Rendering(pixel_values, label_map, amodal, _boxes(amodal), depth)


def _render_chunk(specs: Sequence[SceneSpec], canvas: Canvas) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return pixel values, label map, amodal masks and depth."""
    pinholes = [Pinhole.of(spec.camera) for spec in specs]
    table = part_table(specs, pinholes)
    colour, depth = shade_floor(table, floor_table(specs, pinholes, canvas.device), canvas)
    picture = (canvas.batch, canvas.resolution, canvas.resolution)
    labels = torch.zeros(canvas.batch * canvas.pixels, dtype=torch.uint8, device=canvas.device)
    amodal = torch.zeros((canvas.batch, canvas.num_regions, *picture[1:]), dtype=torch.bool, device=canvas.device)
    hits = _cast(table, canvas)
    if hits is not None:
        amodal = _amodal(hits, canvas)
        colour, labels, depth = _compose(hits, table, canvas, colour, depth)
    amodal[:, 0] = True
    display = 2 * colour.clamp(0, 1).sqrt() - 1
    return display.view(3, *picture).transpose(0, 1).contiguous(), labels.view(picture).long(), amodal, depth.view(picture)


@dataclass(frozen=True)
class _Hits:
    """Where sub-rays meet parts; m hits, points and normals in the part's frame.

    Attributes:
        ray: index into [s * s, b, pixels].
        region: index into [s * s, b, n, pixels].
        part: column of the table.
        depth: along the optical axis.
        point: of the surface.
        normal: unit.
    """

    ray: Int[Tensor, " m"]
    region: Int[Tensor, " m"]
    part: Int[Tensor, " m"]
    depth: Float[Tensor, " m"]
    point: Float[Tensor, "3 m"]
    normal: Float[Tensor, "3 m"]


def _cast(table: PartTable, canvas: Canvas) -> _Hits | None:
    """Intersect every part with the sub-rays of its tiles."""
    found = [_cast_kind(kind, start, stop, table, canvas) for kind, start, stop in table.kinds]
    if not found:
        return None
    return _Hits(*(torch.cat([getattr(hits, field.name) for hits in found], -1) for field in fields(_Hits)))


def _cast_kind(kind: str, start: int, stop: int, table: PartTable, canvas: Canvas) -> _Hits:
    """Intersect the parts `start` to `stop`; arrays are [rows, columns, tiles] of sub-rays, tiles last to make long vectors."""
    owner, column, row = canvas.tiles(table.boxes[start:stop])
    owner = owner + start
    axes, origin, size, depth = (canvas.array(values[..., owner]) for values in (table.axes, table.start, table.size, table.depth))
    steps, pixel, place = canvas.sub_rays()
    side = len(steps)
    ticks = canvas.ticks(canvas.supersampling)
    u = ticks.take(canvas.array(column) * side + steps[:, None])
    v = -ticks.take(canvas.array(row) * side + steps[:, None])
    # The ray starts where it passes the middle's depth: small numbers, so that float32 is enough.
    swing = [(axes[3 + i] * u)[None] + (axes[6 + i] * v)[:, None] for i in range(3)]
    direction = tuple((axes[i] + swing[i]).view(side * side, -1) for i in range(3))
    begin = tuple((origin[i] + depth * swing[i]).view(side * side, -1) for i in range(3))
    distance = INTERSECT[kind](begin, direction, tuple(size[:, None].unbind()))

    where = (distance < float("inf")).view(-1).nonzero()[:, 0]
    tile = where % len(owner)
    distance = _pick(distance, where)
    point = torch.stack([_pick(o, where) + distance * _pick(d, where) for o, d in zip(begin, direction, strict=True)])
    normal = torch.stack(tuple(NORMAL[kind](point.unbind(), size.index_select(1, tile).unbind())))
    in_tile = (pixel[:, None] * canvas.resolution + pixel).view(-1, 1)
    plane = (place[:, None] * canvas.supersampling + place).view(-1, 1)
    corner, scene = canvas.corner(column, row), table.scene[owner]
    region = (scene * canvas.num_regions + table.label[owner]) * canvas.pixels
    ray_index = (plane * canvas.batch) * canvas.pixels + in_tile + canvas.array(corner + scene * canvas.pixels)
    region_index = (plane * canvas.batch) * (canvas.num_regions * canvas.pixels) + in_tile + canvas.array(corner + region)
    part = _pick(canvas.array(owner), tile)
    return _Hits(_pick(ray_index, where), _pick(region_index, where), part, _pick(depth, tile) + distance, point, normal)


def _amodal(hits: _Hits, canvas: Canvas) -> Bool[Tensor, "b n h w"]:
    shape = (canvas.planes, canvas.batch, canvas.num_regions, canvas.resolution, canvas.resolution)
    covered = torch.zeros(shape, dtype=torch.uint8, device=canvas.device)
    covered.view(-1).index_fill_(0, hits.region, 1)
    return _sum(covered) * 2 >= canvas.planes


def _compose(
    hits: _Hits, table: PartTable, canvas: Canvas, floor: Float[Tensor, "3 p"], floor_depth: Float[Tensor, " p"]
) -> tuple[Float[Tensor, "3 p"], UInt8[Tensor, " p"], Float[Tensor, " p"]]:
    """Keep each sub-ray's nearest hit, shade it and lay the objects over the floor; return linear colour, labels and depth."""
    shape = (canvas.planes, canvas.batch * canvas.pixels)
    nearest = torch.full(shape, _MISS, dtype=torch.int64, device=canvas.device)
    # Positive floats sort like their bits; the hit's number, whose order is the same in every batch, breaks ties.
    keys = (hits.depth.view(torch.int32).long() << 32) + torch.arange(len(hits.ray), device=canvas.device)
    nearest.view(-1).scatter_reduce_(0, hits.ray, keys, "amin")
    covered = nearest != _MISS
    rays = covered.view(-1).nonzero()[:, 0]
    winners = _pick(nearest, rays) & 0xFFFFFFFF
    part = _pick(hits.part, winners)
    look = canvas.array(table.look).index_select(1, part)
    shaded = shading.shade(hits.point.index_select(1, winners), hits.normal.index_select(1, winners), look)

    colour = torch.zeros((3, *shape), device=canvas.device)
    for channel, values in zip(colour, shaded, strict=True):
        channel.view(-1).index_copy_(0, rays, values)
    labels = torch.zeros(shape, dtype=torch.uint8, device=canvas.device)
    labels.view(-1).index_copy_(0, rays, _pick(canvas.array(table.label).to(torch.uint8), part))
    depths = torch.full(shape, float("inf"), device=canvas.device)
    depths.view(-1).index_copy_(0, rays, _pick(hits.depth, winners))

    floor_share = 1 - _sum(covered.to(torch.uint8)).to(torch.float32) / canvas.planes
    mixed = floor * floor_share + _sum(colour.transpose(0, 1)) / canvas.planes
    label = _majority(labels, canvas)
    seen = torch.where(labels == label, depths, float("inf")).amin(0)
    return mixed, label, torch.where(label > 0, seen, floor_depth)


def _majority(labels: UInt8[Tensor, "s p"], canvas: Canvas) -> UInt8[Tensor, " p"]:
    """Return the label that at least half of a pixel's sub-rays carry, the lowest of two, else 0."""
    result = torch.zeros_like(labels[0])
    for label in range(canvas.num_regions - 1, 0, -1):
        result = torch.where(_sum((labels == label).to(torch.uint8)) * 2 >= canvas.planes, label, result)
    return result


def _sum(planes: Tensor) -> Tensor:
    """Add up the first dimension one by one: a fixed order, and at most 64 whole numbers fit a byte."""
    total = planes[0].clone()
    for plane in planes[1:]:
        total += plane
    return total


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.view(-1).index_select(0, index)


def _boxes(masks: Bool[Tensor, "b n h w"]) -> Float[Tensor, "b n 4"]:
    length = masks.shape[-1]
    edges = []
    for side in (2, 3):
        occupied = masks.view(torch.uint8).amax(side)  # several times quicker than any()
        found = occupied.amax(-1) > 0
        first = occupied.int().argmax(-1)
        last = length - occupied.flip(-1).int().argmax(-1)
        edges.append((torch.where(found, first, 0) / length, torch.where(found, last, 0) / length))
    (left, right), (top, bottom) = edges
    return torch.stack([left, top, right, bottom], -1)
