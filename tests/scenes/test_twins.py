"""A twin differs from its scene in one thing, is as legal as the scene, and renders the same bits everywhere else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gen.scenes import OPERATIONS, PRESETS, YAW_PERIOD, is_held_out, make_twin, render, sample_scene
from gen.scenes.camera import Pinhole

CHANGED_FIELDS = {
    "move": {"x", "y"},
    "swap": {"x", "y"},
    "remove": {"present"},
    "insert": {"present"},
    "rotate": {"yaw"},
    "flip": {"yaw"},
    "resize": {"size"},
    "recolour": {"colour", "rgb", "second_rgb"},
}


@pytest.fixture(scope="module")
def twins():
    """Make some twins of each operation, over all presets."""
    specs = [sample_scene(31, scene_id, preset) for preset in PRESETS for scene_id in range(12)]
    return {operation: [twin for spec in specs if (twin := make_twin(spec, operation, 5))] for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_most_scenes_have_a_twin_and_it_is_repeatable(twins, operation):
    assert len(twins[operation]) > 28
    first = twins[operation][0]
    scene = first.after if operation == "insert" else first.before
    assert make_twin(scene, operation, 5) == first
    if operation != "flip":  # an object has only one mirror image
        assert len({make_twin(scene, operation, seed) for seed in range(6)}) > 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_the_named_object_changes_and_only_in_what_the_operation_says(twins, operation):
    for twin in twins[operation]:
        assert replace(twin.before, objects=twin.after.objects) == twin.after
        edited = {twin.object_index, twin.other_index} - {0}
        assert len(edited) == (2 if operation == "swap" else 1)
        for number, (before, after) in enumerate(zip(twin.before.objects, twin.after.objects, strict=True), 1):
            fields = {name for name in vars(before) if getattr(before, name) != getattr(after, name)}
            assert fields == (CHANGED_FIELDS[operation] if number in edited else set())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_picture_changes_at_the_object_and_nowhere_far_from_it(twins, operation):
    chosen = twins[operation]
    before, after = render([twin.before for twin in chosen], 64), render([twin.after for twin in chosen], 64)
    near = torch.zeros_like(before.label_map, dtype=torch.bool)
    for row, twin in enumerate(chosen):
        length = 1 / math.tan(twin.before.light.elevation)
        for scene in (twin.before, twin.after):
            pinhole = Pinhole.of(scene.camera)
            for index in {twin.object_index, twin.other_index} - {0}:
                item = scene.objects[index - 1]
                if not item.present:
                    continue
                azimuth = scene.light.azimuth
                for height in (0.0, 0.5, 1.0, 1.5):  # along the shadow, and the body above the floor
                    fall = item.size * height * length
                    spots = [
                        (item.x - fall * math.sin(azimuth), item.y - fall * math.cos(azimuth), 0.0),
                        (item.x, item.y, item.size * height),
                    ]
                    for spot in spots:
                        _, _, depth = pinhole.to_camera(*spot)
                        x, y = (64 * value for value in pinhole.project(*spot))
                        radius = 64 * 2.2 * item.size / (2 * depth * pinhole.tangent)
                        ticks = torch.arange(64) + 0.5
                        near[row] |= (ticks - x) ** 2 + (ticks[:, None] - y) ** 2 < radius**2
    differs = (before.pixel_values != after.pixel_values).any(1)
    assert not (differs & ~near).any()
    assert torch.equal(before.label_map[~near], after.label_map[~near])
    assert (differs.sum((1, 2)) > 8).all()


@pytest.mark.parametrize("operation", ["move", "resize", "rotate", "flip", "swap", "recolour"])
def test_the_edited_object_stays_visible_and_whole(twins, operation):
    chosen = twins[operation]
    after = render([twin.after for twin in chosen], 64)
    assert not after.amodal[:, 1:, [0, -1]].any()
    assert not after.amodal[:, 1:, :, [0, -1]].any()
    for row, twin in enumerate(chosen):
        amodal = after.amodal[row, twin.object_index]
        assert ((after.label_map[row] == twin.object_index) & amodal).sum() > 0.2 * amodal.sum()


def test_a_move_is_seen_as_a_move(twins):
    for twin in twins["move"]:
        pinhole = Pinhole.of(twin.before.camera)
        old, new = (scene.objects[twin.object_index - 1] for scene in (twin.before, twin.after))
        assert math.dist(pinhole.project(old.x, old.y, 0.0), pinhole.project(new.x, new.y, 0.0)) >= 0.15


def test_a_recoloured_object_is_never_a_held_out_pair_in_easy_presets(twins):
    for twin in twins["recolour"]:
        item = twin.after.objects[twin.object_index - 1]
        assert twin.after.preset in ("hard", "unseen_pairs") or not is_held_out(item.shape, item.colour)


@pytest.mark.parametrize("yaw", [0.4, 2.8, -0.7])  # the mug's handle in sight
@pytest.mark.parametrize("shape", ["box", "capsule", "torus", "block", "mug"])
def test_a_flipped_object_in_the_middle_has_the_mirror_image_as_its_mask(make_object, make_scene, shape, yaw):
    scene = make_scene(make_object(shape, 0.0, 0.3, yaw=yaw))
    scene = replace(scene, camera=replace(scene.camera, azimuth=0.0, look_x=0.0))
    twin = make_twin(scene, "flip", 0)
    before, after = render([twin.before, twin.after], 64).label_map
    assert (before.flip(-1) != after).sum() <= 2, "rounding may put a pixel of the edge on the other side"
    assert (before != after).sum() > 20


def test_an_object_elsewhere_is_mirrored_in_the_plane_of_its_line_of_sight(twins):
    """To the camera's left and right: how its axis x stands to the line of sight changes its sign."""
    for twin in twins["flip"]:
        position = Pinhole.of(twin.before.camera).position
        old, new = (scene.objects[twin.object_index - 1] for scene in (twin.before, twin.after))
        sight = math.atan2(old.y - position[1], old.x - position[0])
        assert abs(math.remainder((old.yaw - sight) + (new.yaw - sight), 2 * math.pi)) < 1e-9
        turn = math.remainder(math.degrees(new.yaw - old.yaw), YAW_PERIOD[old.shape])
        assert abs(turn) > 30 - 1e-9 and old.texture == "plain"


def test_insert_undoes_remove(twins):
    for twin in twins["insert"]:
        assert not twin.before.objects[twin.object_index - 1].present
        assert all(item.present for item in twin.after.objects)


def test_what_cannot_be_done_gives_none(make_object, make_scene):
    alone = make_scene(make_object("sphere"))
    assert make_twin(alone, "swap", 0) is None
    assert make_twin(alone, "rotate", 0) is None
    assert make_twin(alone, "flip", 0) is None
    assert make_twin(make_scene(make_object("mug", texture="stripes", yaw=1.0)), "flip", 0) is None
    assert make_twin(make_scene(), "remove", 0) is None
    same = make_scene(make_object("sphere", -1.0), make_object("sphere", 1.0))
    assert make_twin(same, "swap", 0) is None


def test_an_unknown_operation_is_refused(make_scene):
    with pytest.raises(ValueError, match=r"'explode'.*move"):
        make_twin(make_scene(), "explode", 0)
