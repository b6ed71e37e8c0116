"""Ray hits lie on the shapes, normals face the camera, hulls contain the shapes, and analytic shadows agree with traced ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gen.scenes import SHAPES
from gen.scenes.camera import Pinhole, object_box
from gen.scenes.canvas import Canvas
from gen.scenes.raycast import _cast
from gen.scenes.shadows import sun_and_sky
from gen.scenes.shapes import INTERSECT, NORMAL, PARTS, Part
from gen.scenes.tables import part_table

EVERY_PART = [pytest.param(part, id=f"{shape}-{part.kind}-{number}") for shape in SHAPES for number, part in enumerate(PARTS[shape])]


def rays_from_above(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(3, count, generator=generator) - 0.5) * 2.4
    direction = torch.stack([*(torch.rand(2, count, generator=generator) * 2 - 1), -0.5 - torch.rand(count, generator=generator)])
    direction = direction / direction.norm(dim=0)
    return target - 6 * direction, direction


def trace(part: Part, origin: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    size = tuple(torch.full((1, 1), value) for value in part.size)
    return INTERSECT[part.kind](tuple(row[None] for row in origin), tuple(row[None] for row in direction), size)[0]


def inside(part: Part, p: torch.Tensor) -> torch.Tensor:
    """Tell by the definition of each solid whether points belong to it."""
    a, b, c = part.size
    x, y, z = p
    round_z = (x * x + y * y).sqrt()
    if part.kind == "sphere":
        return p.norm(dim=0) < a
    if part.kind == "box":
        return (x.abs() < a) & (y.abs() < b) & (z.abs() < c)
    if part.kind == "cylinder":
        return (round_z < a) & (z.abs() < b)
    if part.kind == "cone":
        return (z.abs() < b / 2) & (round_z < a * (b / 2 - z) / b)
    if part.kind == "capsule":
        return torch.stack([x - x.clamp(-b, b), y, z]).norm(dim=0) < a
    if part.kind == "torus":
        return (((x * x + z * z).sqrt() - a).square() + y * y < b * b) & (x > c)
    return (round_z < a) & (z.abs() < b) & ~((round_z < a - c) & (z > c - b))


@pytest.mark.parametrize("part", EVERY_PART)
def test_the_first_crossing_enters_the_solid(part):
    """Step along every ray: nothing before the reported hit, the solid just behind it, and no miss that passes through."""
    origin, direction = rays_from_above(4000)
    hit = trace(part, origin, direction)
    for distance in np.arange(3.5, 8.5, 0.05):
        within = inside(part, origin + distance * direction)
        early = within & (distance < hit - 0.03)
        assert early.float().mean() < 0.002  # slivers that a march by 0.01 may skip
    found = hit < float("inf")
    assert found.float().mean() > 0.02
    behind = inside(part, (origin + (hit + 0.02) * direction)[:, found])
    assert behind.float().mean() > 0.95  # the rest grazes an edge


@pytest.mark.parametrize("part", EVERY_PART)
def test_normals_are_unit_and_face_the_ray(part):
    origin, direction = rays_from_above(4000)
    hit = trace(part, origin, direction)
    found = hit < float("inf")
    if part.kind == "torus":
        found &= (origin + hit * direction)[0] > part.size[2] + 0.02  # the cut is hidden in the mug's wall
    point = (origin + hit * direction)[:, found]
    normal = torch.stack(tuple(NORMAL[part.kind](tuple(point), tuple(torch.full_like(point[0], value) for value in part.size))))
    assert torch.allclose(normal.norm(dim=0), torch.ones_like(normal[0]), atol=2e-3)
    away = 0.4 if part.kind == "torus" else 0.01  # a march may stop just behind the point where it passed closest
    assert ((normal * direction[:, found]).sum(0) < away).float().mean() > 0.99
    outside = inside(part, point + 0.02 * normal)
    assert outside.float().mean() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_contain_every_hit_and_are_tight(make_object, make_scene, shape):
    scenes = [make_scene(make_object(shape, x, y, yaw=yaw)) for x, y, yaw in ((0.0, 0.0, 0.3), (1.1, 0.9, 2.0), (-1.2, -0.8, -1.1))]
    pinholes = [Pinhole.of(scene.camera) for scene in scenes]
    table = part_table(scenes, pinholes)
    canvas = Canvas(len(scenes), 2, 128, 1, torch.device("cpu"))
    everywhere = np.tile(np.array([0.0, 0.0, 1.0, 1.0]), (len(table.scene), 1))
    hits, all_hits = _cast(table, canvas), _cast(replace(table, boxes=everywhere), canvas)
    assert torch.equal(hits.ray.sort()[0], all_hits.ray.sort()[0])
    for number, (scene, pinhole) in enumerate(zip(scenes, pinholes, strict=True)):
        pixel = all_hits.ray[all_hits.ray // canvas.pixels == number] % canvas.pixels
        x, y = pixel % 128, pixel // 128
        left, top, right, bottom = (128 * value for value in object_box(pinhole, scene.objects[0]))
        assert 0 <= x.min() + 1 - left < 4
        assert 0 <= y.min() + 1 - top < 4
        assert 0 <= right - x.max() < 4
        assert 0 <= bottom - y.max() < 4


@pytest.mark.parametrize("part", EVERY_PART)
@pytest.mark.parametrize("azimuth", [0.4, 2.2])
def test_soft_shadows_agree_with_traced_ones(part, azimuth):
    """Where a ray from the floor to the lamp meets the part, at most half of the lamp is left, and the other way round."""
    light = torch.tensor([np.sin(azimuth) * 0.62, np.cos(azimuth) * 0.62, (1 - 0.62**2) ** 0.5], dtype=torch.float32)
    ticks = torch.linspace(-2.6, 2.6, 80)
    x, y = (value.reshape(-1, 1) for value in torch.meshgrid(ticks, ticks, indexing="xy"))
    centre, size = (tuple(torch.full((1,), value) for value in values) for values in (part.centre, part.size))
    sun, sky = sun_and_sky(part.kind, x, y, centre, size, tuple(light[:, None]), torch.full((1,), 0.1))
    floor = torch.stack([x[:, 0] - part.centre[0], y[:, 0] - part.centre[1], torch.full((len(x),), -part.centre[2])])
    # Rays run from the lamp downwards, because intersections look from above; what lies under the floor does not shade.
    blocked = trace(part, floor + 6 * light[:, None], -light[:, None].expand(3, len(x))) < 6.0
    assert ((sun[:, 0] < 0.5) == blocked).float().mean() > 0.985
    assert sun.min() >= 0
    assert sun.max() <= 1
    assert sky.min() >= 0.4
    assert sun[0] == sky[0] == 1  # far away
