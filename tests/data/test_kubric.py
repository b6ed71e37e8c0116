"""ClipData and Kubric: frames, ids, poses and pairs of scenes in Kubric's layout; whole scenes held out; what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.clip_data import paired_frame
from gen.data.kubric import GSO_CATEGORIES, Kubric
from gen.segmentation import Classical
from tests.data.toy_kubric import CATEGORIES, COLOURS, FOCAL_LENGTH, SENSOR_WIDTH, SIDE, ToyClip, kubric_projection, rotated, toy_clip
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
NUM_SCENES, NUM_FRAMES = 5, 4


def write_scene(folder, clip: ToyClip):
    """Write a scene as MOVi's worker does: kb.write_image_dict and kb.write_json."""
    folder.mkdir(parents=True)
    palette = [int(value) for value in np.random.default_rng(0).integers(0, 256, 768)]
    for frame, (pixels, segmentation) in enumerate(zip(clip.frames, clip.segmentations, strict=True)):
        opaque = np.full((SIDE, SIDE, 1), 255, np.uint8)
        Image.fromarray(np.concatenate([pixels, opaque], -1)).save(folder / f"rgba_{frame:05d}.png")
        indexed = Image.fromarray(segmentation)
        indexed.putpalette(palette)
        indexed.save(folder / f"segmentation_{frame:05d}.png")
        Image.fromarray(np.ones((SIDE, SIDE), np.float32)).save(folder / f"depth_{frame:05d}.tiff")
    listed = [{key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in item.items()} for item in clip.instances]
    metadata = {
        "flags": {},
        "metadata": {"resolution": [SIDE, SIDE], "num_frames": len(clip.frames), "num_instances": len(listed)},
        "camera": {key: value.tolist() for key, value in clip.camera.items()}
        | {"focal_length": FOCAL_LENGTH, "sensor_width": SENSOR_WIDTH, "field_of_view": 0.86},
        "instances": [item | {"asset_id": "x", "mass": 1.0} for item in listed],
    }
    (folder / "metadata.json").write_text(json.dumps(metadata, sort_keys=True, indent=4))
    (folder / "data_ranges.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("kubric")
    for number in range(NUM_SCENES):
        write_scene(root / str(number), toy_clip(number, NUM_FRAMES))
    (root / "a_worker_that_died").mkdir()
    return root


def kubric(root, **settings):
    settings = {"num_held_out": 0, "resolution": SIDE, "source_augmentation": STILL, "target_augmentation": STILL} | settings
    return Kubric(root=str(root), **settings)


def place(name):
    """Return the scene's and the frame's number that a picture's name tells."""
    scene, frame = name.split(", frame ")
    return int(scene), int(frame)


def check_poses(picture, clip: ToyClip, frame: int):
    """Compare a frame with what was written: pixels, ids, classes, depth, and rotations by where points of the instances are seen."""
    assert np.array_equal(np.asarray(picture.image), clip.frames[frame])
    assert np.array_equal(picture.label_map.numpy(), clip.segmentations[frame])
    seen = [key for key in np.unique(clip.segmentations[frame]).tolist() if key]
    assert list(picture.rotations) == list(picture.depth) == seen
    assert {key: GSO_CATEGORIES[number] for key, number in picture.labels["gso_category"].items()} == {
        key: CATEGORIES[key - 1] for key in seen
    }
    assert picture.rotation_period == dict.fromkeys(seen, 360)
    camera = clip.camera["positions"][frame], clip.camera["quaternions"][frame]
    for key in seen:
        instance = clip.instances[key - 1]
        middle, quaternion = instance["positions"][frame], instance["quaternions"][frame]
        x, y = kubric_projection(*camera, middle) - 0.5
        along = np.array([x, y, FOCAL_LENGTH / SENSOR_WIDTH])  # the line of sight in the camera's axes: x right, y down, z away
        depth = picture.depth[key] * 5 + 9
        assert np.linalg.norm(middle - camera[0]) == pytest.approx(depth * np.linalg.norm(along) / along[2], rel=1e-5)
        # A point a little off the middle, projected by Kubric, is where the rotation says, in the axes of the line of sight.
        for point in np.eye(3) * 1e-4:
            u, v = kubric_projection(*camera, middle + rotated(quaternion, point[None])[0]) - 0.5
            ray = np.array([u, v, along[2]])
            across = np.cross(along / np.linalg.norm(along), ray / np.linalg.norm(ray))  # turn of the line of sight
            shift = np.cross(across, along / np.linalg.norm(along)) * np.linalg.norm(middle - camera[0]) / 1e-4
            assert np.allclose(sight(along) @ shift, np.append((picture.rotations[key].numpy() @ (point * 1e4))[:2], 0), atol=2e-3)


def sight(along):
    """Return the shortest rotation that brings a direction straight ahead, by Rodrigues' formula."""
    along = along / np.linalg.norm(along)
    axis = np.cross(along, (0, 0, 1))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + along[2])


def test_frames_are_those_that_were_written_with_all_that_is_known_of_them(scenes):
    pictures = kubric(scenes, pair_probability=0.0).pictures()
    assert len(pictures) == NUM_SCENES * NUM_FRAMES
    for index in range(len(pictures)):
        picture = pictures[index]
        scene, frame = place(picture.name)
        assert (scene, frame) == divmod(index, NUM_FRAMES)
        check_poses(picture, toy_clip(scene, NUM_FRAMES), frame)


def test_a_pair_shows_one_instance_under_one_number_and_its_camera_takes_points_across(scenes):
    data = kubric(scenes, pair_probability=1.0, max_frame_distance=2)
    distances = set()
    for entry in data._training:
        picture = data.read(entry)
        scene, frame = place(picture.name)
        assert picture.target is not None
        assert place(picture.target.name)[0] == scene
        other = place(picture.target.name)[1]
        distances.add(other - frame)
        clip = toy_clip(scene, NUM_FRAMES)
        check_poses(picture.target, clip, other)
        point = np.array([0.4, -0.7, 0.2])
        (first, second) = ((clip.camera["positions"][number], clip.camera["quaternions"][number]) for number in (frame, other))
        matrix = picture.camera.view(3, 4).double().numpy()
        x, y = kubric_projection(*first, point) - 0.5
        away = first[0] - point
        along = np.array([x, y, FOCAL_LENGTH / SENSOR_WIDTH])
        seen = along / np.linalg.norm(along) * np.linalg.norm(away) / 9  # in units of 9
        moved = matrix[:, :3] @ seen + matrix[:, 3]
        assert np.allclose(0.5 + FOCAL_LENGTH / SENSOR_WIDTH * moved[:2] / moved[2], kubric_projection(*second, point), atol=1e-4)
    assert distances <= {-2, -1, 1, 2}
    assert len(distances) > 2


def test_a_batch_has_the_same_instance_in_region_k_of_both_views(scenes):
    data = kubric(scenes, pair_probability=1.0, train_batch_size=8, num_workers=1)
    batch = next(data.train_batches(seed=0))
    coloured = [{} for _ in range(8)]  # of every sample: region -> the colours of its pixels in both views
    for view in (batch.source, batch.target):
        pixels = ((view.pixel_values.permute(0, 2, 3, 1) + 1) * 127.5).round()
        for row, key in view.regions.valid.nonzero().tolist():
            colours = {tuple(colour) for colour in pixels[row][view.regions.masks[row, key]].tolist()}
            coloured[row].setdefault(key, set()).update(colours)
        finite = view.rotations.isfinite().all(-1).all(-1)
        assert torch.equal(finite, view.regions.valid & (torch.arange(6) > 0))
    category = {tuple(map(float, COLOURS[key])): number for key, number in ((1, 14), (2, 7), (3, 16))}
    for row, regions in enumerate(coloured):
        assert all(len(colours) == 1 for colours in regions.values())
        seen = {key: category[colour] for key, (colour,) in regions.items() if key}
        known = batch.labels["gso_category"][row].tolist()
        assert all(known[key] in (-1, number) for key, number in seen.items()), "-1: only the target shows it"
        assert all(known[key] == seen[key] for key in range(1, 6) if batch.source.regions.valid[row, key])
    assert batch.camera.shape == (8, 12)
    assert not torch.allclose(batch.camera, torch.eye(3, 4).flatten().expand(8, -1))


def test_pairs_follow_from_the_frame_and_stop_when_overfitting(scenes):
    first, second = (kubric(scenes, train_batch_size=20) for _ in range(2))
    batches = [next(data.train_batches(seed=3)) for data in (first, second)]
    assert torch.equal(batches[0].target.pixel_values, batches[1].target.pixel_values)
    paired = (batches[0].source.pixel_values != batches[0].target.pixel_values).flatten(1).any(1)
    assert 4 <= int(paired.sum()) <= 16, "about half of twenty"
    single = next(kubric(scenes, overfit_items=4, train_batch_size=4).train_batches(seed=0))
    assert torch.equal(single.source.pixel_values, single.target.pixel_values)
    assert torch.equal(single.camera, torch.eye(3, 4).flatten().expand(4, -1))


def test_whole_scenes_are_held_out_and_shown_one_after_the_other(scenes):
    data = kubric(scenes, num_held_out=2)
    trained = {place(data.read(entry).name)[0] for entry in data._training}
    held_out = [place(data.read(entry).name) for entry in data._held_out]
    assert len(data) == 3 * NUM_FRAMES
    assert trained | {scene for scene, _ in held_out} == set(range(NUM_SCENES))
    assert not trained & {scene for scene, _ in held_out}
    assert [frame for _, frame in held_out] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert held_out[0][0] != held_out[1][0]
    assert all(item.target is None for item in data.validation_items(8)), "single frames"
    assert all(item.target is None for item in kubric(scenes, pair_probability=1.0).validation_items(8)), "also those of training scenes"
    assert len(kubric(scenes, num_held_out=2).pictures()) == NUM_SCENES * NUM_FRAMES


def test_wrong_settings_are_refused(scenes, tmp_path):
    for settings, message in (
        ({"pair_probability": 1.5}, r"dataset.pair_probability=1.5 is not a probability"),
        ({"max_frame_distance": 0}, r"dataset.max_frame_distance=0 is too small"),
        ({"num_held_out": 5}, r"num_held_out=5 leaves no clip to train on.*holds 5"),
        ({"num_held_out": -1}, r"num_held_out=-1 leaves no clip"),
        ({"segmenter": Classical()}, r"Classical cuts the two pictures of a pair independently.*pair_probability=0"),
    ):
        with pytest.raises(ValueError, match=message):
            kubric(scenes, **settings)
    assert len(kubric(scenes, segmenter=Classical(), pair_probability=0.0)) == 20
    with pytest.raises(ValueError, match=r"dataset\.root='.*' holds no scene of Kubric; give the folder of the scenes' folders"):
        kubric(tmp_path)


def test_damaged_scenes_are_named_and_can_be_skipped(tmp_path):
    for number in range(2):
        write_scene(tmp_path / f"s{number}", toy_clip(number, NUM_FRAMES))
    (tmp_path / "s0" / "segmentation_00002.png").unlink()
    with pytest.raises(ValueError, match=r"s0/segmentation_00002.png is missing; render the scene again.*on_bad_file=skip"):
        kubric(tmp_path)
    assert len(kubric(tmp_path, on_bad_file="skip")) == 7
    path = tmp_path / "s1" / "metadata.json"
    sound = json.loads(path.read_text())
    for key, value, message in (
        ("camera", {}, r"s1/metadata.json is not what Kubric's workers write \(no 'positions'\)"),
        ("camera", sound["camera"] | {"quaternions": [[1, 0, 0]] * 4}, r"is not what Kubric's workers write \(cannot reshape"),
        ("camera", sound["camera"] | {"quaternions": [[0, 0, 0, 0]] * 4}, r"s1, frame 1: quaternion .* is no rotation"),
        ("camera", sound["camera"] | {"positions": [[0, 0, 1e999]] * 4}, r"s1: a position in frame 1 is not finite"),
        ("camera", {name: sound["camera"][name][:1] for name in ("positions", "quaternions")}, r"is not what Kubric's workers write"),
    ):
        path.write_text(json.dumps(sound | {key: value}))
        data = kubric(tmp_path, on_bad_file="skip", pair_probability=0.0)
        with pytest.raises(ValueError, match=message):
            data.pictures()[5]
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"s1/metadata.json is not what Kubric's workers write"):
        data.pictures()[5]
    path.write_text(json.dumps(sound | {"instances": []}))
    assert kubric(tmp_path, on_bad_file="skip").pictures()[5].rotations == {}, "ids that the metadata do not tell are plain regions"
    (tmp_path / "s1" / "rgba_00004.png").write_bytes((tmp_path / "s1" / "rgba_00000.png").read_bytes())
    (tmp_path / "s1" / "segmentation_00004.png").write_bytes((tmp_path / "s1" / "segmentation_00000.png").read_bytes())
    with pytest.raises(ValueError, match=r"s1 tells the camera of 4 frames, not of frame 4"):
        kubric(tmp_path, on_bad_file="skip").pictures()[8]


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 12), st.data())
def test_a_frame_is_paired_with_another_one_near_it(number, length, distance, data):
    frame = data.draw(st.integers(0, length - 1))
    other = paired_frame(number, frame, length, 1.0, distance)
    assert paired_frame(number, frame, length, 0.0, distance) is None
    if length == 1:
        assert other is None
    else:
        assert other is not None
        assert 0 <= other < length
        assert 1 <= abs(other - frame) <= distance


def test_all_frames_near_enough_are_as_likely_and_the_share_of_pairs_is_what_was_asked():
    drawn = [paired_frame(number, 5, 24, 0.7, 3) for number in range(6000)]
    counts = {other: drawn.count(other) for other in set(drawn)}
    assert set(counts) == {None, 2, 3, 4, 6, 7, 8}
    assert counts.pop(None) == pytest.approx(1800, abs=150)
    assert all(count == pytest.approx(700, abs=110) for count in counts.values())


def test_one_training_step_by_name(scenes):
    assert_trains_by_name("kubric", scenes, "dataset.num_held_out=1")
