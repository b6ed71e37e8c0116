"""Renderings are the same bits in every setting, agree with the pinhole's formulas, and their truth is consistent."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from gen.scenes import COLOURS, PRESETS, YAW_PERIOD, render, sample_scene
from gen.scenes.camera import Pinhole

NUM_SCENES = 20


@pytest.fixture(scope="module")
def specs():
    return [sample_scene(21, scene_id, preset) for preset in PRESETS for scene_id in range(NUM_SCENES)]


@pytest.fixture(scope="module")
def rendering(specs):
    return render(specs, 64)


def assert_same_bits(a, b):
    for field in fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name)), field.name


def test_repeated_renderings_are_equal(specs, rendering):
    assert_same_bits(render(specs, 64), rendering)


def test_alone_or_in_a_batch_is_equal(specs, rendering):
    for index in (0, 17, 33, 59):
        alone, count = render([specs[index]], 64), len(specs[index].objects) + 1
        assert torch.equal(alone.pixel_values[0], rendering.pixel_values[index])
        assert torch.equal(alone.label_map[0], rendering.label_map[index])
        assert torch.equal(alone.amodal[0], rendering.amodal[index, :count])
        assert torch.equal(alone.boxes[0], rendering.boxes[index, :count])
        assert torch.equal(alone.depth[0], rendering.depth[index])


def test_the_number_of_threads_does_not_matter(specs, rendering):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert_same_bits(render(specs, 64), rendering)
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
def test_a_gpu_renders_the_same_scene(specs, rendering):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    there = render(specs, 64, device="cuda")
    assert (there.pixel_values.cpu() - rendering.pixel_values).abs().max() < 1e-3
    assert (there.label_map.cpu() == rendering.label_map).float().mean() > 0.9999
    alone = render(specs[:1], 64, device="cuda")
    assert torch.equal(alone.pixel_values[0], there.pixel_values[0])


def test_visible_pixels_are_amodal_pixels(rendering):
    labels = torch.arange(rendering.amodal.shape[1])
    visible = rendering.label_map[:, None] == labels[None, :, None, None]
    assert not (visible & ~rendering.amodal).any()
    assert rendering.amodal[:, 0].all()


@pytest.mark.parametrize("supersampling", [1, 3])
def test_visible_stays_inside_amodal_with_other_sampling(specs, supersampling):
    other = render(specs[::4], 64, supersampling)
    visible = other.label_map[:, None] == torch.arange(other.amodal.shape[1])[None, :, None, None]
    assert not (visible & ~other.amodal).any()


def test_pixel_values_are_finite_and_in_range(rendering):
    assert rendering.pixel_values.isfinite().all()
    assert rendering.pixel_values.min() >= -1
    assert rendering.pixel_values.max() <= 1


def test_amodal_masks_ignore_what_stands_in_front(make_object, make_scene):
    behind, front = make_object("box", 0.0, 0.4), make_object("cone", 0.1, -0.7, colour="blue")
    both, alone = render([make_scene(behind, front)], 64, 3), render([make_scene(behind)], 64, 3)
    assert torch.equal(both.amodal[0, 1], alone.amodal[0, 1])
    assert (both.label_map == 1).sum() < alone.amodal[0, 1].sum()
    assert (both.label_map == 2).sum() == both.amodal[0, 2].sum()


def test_a_sphere_lands_where_the_pinhole_says(make_object, make_scene):
    for x, y in ((0.0, 0.0), (1.2, 0.6), (-1.0, -0.8)):
        scene = make_scene(make_object("sphere", x, y, size=0.7))
        pinhole = Pinhole.of(scene.camera)
        right, up, depth = pinhole.to_camera(x, y, 0.8 * 0.7)
        # The outline is an ellipse; its box is bounded by the tangents of the angles to the two touching rays.
        angles = [(math.atan2(value, depth), math.asin(0.56 / math.hypot(value, depth))) for value in (right, -up)]
        edges = [[(1 + math.tan(angle + sign * half) / pinhole.tangent) / 2 for angle, half in angles] for sign in (-1, 1)]
        box = render([scene], 256, 1).boxes[0, 1]
        assert torch.allclose(box, torch.tensor([*edges[0], *edges[1]]), atol=1.1 / 256)


def test_depth_of_floor_and_sphere_follow_geometry(make_object, make_scene):
    scene = make_scene(make_object("sphere", 0.1, -0.1, size=0.7))
    pinhole = Pinhole.of(scene.camera)
    rendering = render([scene], 64, 4)
    for row, column in ((2, 3), (60, 9), (5, 60)):
        x, y = pinhole.floor_point((column + 0.5) / 64, (row + 0.5) / 64)
        assert float(rendering.depth[0, row, column]) == pytest.approx(pinhole.to_camera(x, y, 0.0)[2], rel=1e-5)
    nearest = rendering.depth[0][rendering.label_map[0] == 1].min()
    assert float(nearest) == pytest.approx(pinhole.to_camera(0.1, -0.1, 0.56)[2] - 0.56, abs=0.01)


def test_the_nearer_object_hides_the_farther(make_object, make_scene):
    front, behind = make_object("box", 0.0, -0.8), make_object("box", 0.1, 0.3, colour="blue")
    first = render([make_scene(front, behind)], 64, 3).label_map  # 9 sub-rays: no ties
    second = render([make_scene(behind, front)], 64, 3).label_map
    assert (first == 2).sum() < render([make_scene(front, behind)], 64, 3).amodal[0, 2].sum()
    swapped = torch.tensor([0, 2, 1])
    assert torch.equal(swapped[first], second)


def test_the_mean_colour_of_an_object_names_it(specs, rendering):
    reference = torch.tensor(list(COLOURS.values()))
    reference = reference / reference.sum(1, keepdim=True)
    right = []
    for spec, picture, label_map in zip(specs, (rendering.pixel_values + 1) / 2, rendering.label_map, strict=True):
        for label, item in enumerate(spec.objects, 1):
            mask = label_map == label
            if mask.sum() >= 20:
                mean = picture[:, mask].mean(1)
                nearest = (reference - mean / mean.sum()).square().sum(1).argmin()
                right.append(list(COLOURS)[nearest] == item.colour)
    assert len(right) > 200
    assert sum(right) / len(right) > 0.97


@pytest.mark.parametrize("shape", YAW_PERIOD)
def test_yaw_shows_exactly_where_the_shape_is_not_round(make_object, make_scene, shape):
    period = YAW_PERIOD[shape]
    turned = math.radians(period / 2 if period else 77)
    before, after, whole = render(
        [make_scene(make_object(shape, yaw=yaw)) for yaw in (0.3, 0.3 + turned / 2, 0.3 + math.radians(period))], 64
    ).amodal[:, 1]
    difference = (before ^ after).sum() / before.sum()
    assert difference > 0.07 if period else difference < 0.02
    assert (before ^ whole).sum() <= 2  # rounding


@pytest.mark.parametrize("texture", ["stripes", "checker", "dots"])
def test_textures_turn_with_the_object(make_object, make_scene, texture):
    ball = make_object("sphere", texture=texture, colour="yellow")
    before, after = render([make_scene(ball), make_scene(replace(ball, yaw=ball.yaw + 0.8))], 64).pixel_values
    assert (before - after).abs().mean(0).max() > 0.3


def test_more_sub_rays_only_refine(specs, rendering):
    fine = render(specs[:6], 64, 8)
    assert (fine.pixel_values - rendering.pixel_values[:6]).abs().mean() < 0.01
    assert (fine.label_map == rendering.label_map[:6]).float().mean() > 0.985


def test_a_scene_without_objects_is_floor(make_object, make_scene):
    absent = replace(make_object(), present=False)
    rendering = render([make_scene(), make_scene(absent)], 32)
    assert torch.equal(rendering.pixel_values[0], rendering.pixel_values[1])
    assert not rendering.label_map.any()
    assert not rendering.amodal[:, 1:].any()
    assert rendering.boxes[:, 0].tolist() == [[0.0, 0.0, 1.0, 1.0]] * 2


def test_an_object_outside_the_picture_is_simply_not_seen(make_object, make_scene):
    rendering = render([make_scene(make_object("mug", 30.0, 4.0))], 32)
    assert not rendering.label_map.any()


@pytest.mark.parametrize(
    ("resolution", "supersampling", "message"), [(30, 2, "resolution=30"), (0, 2, "resolution=0"), (32, 9, "supersampling=9")]
)
def test_impossible_pictures_are_refused(specs, resolution, supersampling, message):
    with pytest.raises(ValueError, match=message):
        render(specs[:1], resolution, supersampling)


def test_no_scene_is_refused():
    with pytest.raises(ValueError, match="no scenes"):
        render([], 64)
