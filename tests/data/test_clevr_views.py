"""ClevrViews: real pictures of one scene by ten cameras: ids, positions, turns and cameras agree with the pixels; what is refused."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from gen.data.augment import Augmentation
from gen.data.clevr_views import CLASSES, ClevrViews
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
FOCAL, MIDDLE = 69.58, 32.0  # pixels: the camera that the data's authors rendered with, fitted to their pixel_coords
CUBE = 3  # id of the only cube


@pytest.fixture(scope="module")
def root(shared_data):
    return shared_data / "clevr_multiview"


@pytest.fixture(scope="module")
def scene(root):
    return json.loads((root / "scenes" / "CLEVR_new_000000.json").read_text())


@pytest.fixture
def copy(root, tmp_path):
    return shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)


def views(root, **settings):
    settings = {"num_held_out": 0, "source_augmentation": STILL, "target_augmentation": STILL} | settings
    return ClevrViews(root=str(root), **settings)


def projected(points: np.ndarray) -> np.ndarray:
    return MIDDLE + FOCAL * points[:, :2] / points[:, 2:]


def test_objects_are_where_the_data_say_and_as_far_away(root, scene):
    pictures = views(root).pictures()
    assert len(pictures) == 10
    errors = []
    for frame in range(10):
        picture = pictures[frame]
        assert picture.label_map.unique().tolist() == [0, 1, 2, 3, 4]
        for key, item in enumerate(scene["objects"], start=1):
            x, y, distance = item["pixel_coords"][frame]
            assert picture.depth[key] * 4 + 11 == pytest.approx(distance, abs=1e-5)
            rows, columns = (picture.label_map == key).nonzero().float().mean(0).tolist()
            errors.append(math.hypot(columns - x, rows - y))
    errors = np.reshape(errors, (10, 4))
    assert errors[:, :3].max() < 5, "visible pixels lie around the middle; some objects are partly hidden"
    assert np.median(errors[:, :3]) < 1.5
    assert errors[:, 3].max() < 12, "the dolphin leaps above the point that the data call its middle"
    assert picture.labels == {"clevr_shape": {1: 1, 2: 3, 3: 0, 4: 4}, "clevr_colour": {1: 7, 2: 5, 3: 2, 4: 4}} | {
        "clevr_material": {1: 1, 2: 1, 3: 1, 4: 0},
        "clevr_size": {1: 0, 2: 1, 3: 0, 4: 0},
    }
    assert picture.rotation_period == {1: 0, 2: 360, 3: 90, 4: 360}
    assert CLASSES["clevr_colour"][1][7] == scene["objects"][0]["color"]


def test_every_camera_is_told_relative_to_every_other(root, scene):
    """A point in the first camera's axes, moved by [R | t], lands where the second view's pixel_coords have it."""
    data = views(root, pair_probability=1.0)
    middles = np.array([item["3d_coords"] for item in scene["objects"]])
    errors = []
    for entry in data._training:
        picture = data.read(entry)
        other = int(picture.target.name[-6:-4])
        assert other != entry.frame
        seen = data.shots(entry.clip, [entry.frame])[0].viewpoint
        points = np.stack([seen.seen(middle) for middle in middles]) / 11
        matrix = picture.camera.view(3, 4).numpy()
        moved = points @ matrix[:, :3].T + matrix[:, 3]
        expected = np.array([item["pixel_coords"][other] for item in scene["objects"]])
        assert np.allclose(moved[:, 2] * 11, expected[:, 2], atol=1e-4)
        errors.append(np.abs(projected(moved) - expected[:, :2]).max())
    assert max(errors) < 1, "pixel_coords are whole pixels"


def test_the_cube_is_turned_as_its_outline_shows(root, scene):
    """Draw the cube's corners by the rotation alone, in every view: it covers the cube's mask, and a cube turned otherwise covers less."""
    pictures = views(root).pictures()
    size = scene["objects"][CUBE - 1]["3d_coords"][2]  # it stands on the floor
    corners = size * np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])

    def overlap(turned: float) -> float:
        cos, sin = math.cos(math.radians(turned)), math.sin(math.radians(turned))
        extra = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        shares = []
        for frame in range(10):
            picture = pictures[frame]
            x, y, distance = scene["objects"][CUBE - 1]["pixel_coords"][frame]
            along = np.array([x - MIDDLE, y - MIDDLE, FOCAL])
            points = corners @ (sight(along).T @ picture.rotations[CUBE].numpy() @ extra).T + along * distance / FOCAL
            drawn = hull(projected(points), picture.image.size)
            mask, others = (picture.label_map == CUBE).numpy(), (picture.label_map > 0).numpy() & (picture.label_map != CUBE).numpy()
            drawn = drawn & ~others
            shares.append((drawn & mask).sum() / (drawn | mask).sum())
        return float(np.mean(shares))

    assert overlap(0) > 0.9
    assert overlap(0) > max(overlap(turned) for turned in (-30, -15, 15, 30, 45))


def sight(along: np.ndarray) -> np.ndarray:
    """Return the shortest rotation that brings a direction straight ahead, by Rodrigues' formula."""
    along = along / np.linalg.norm(along)
    axis = np.cross(along, (0, 0, 1))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + along[2])


def hull(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a mask of the convex hull of points: the union of all triangles among them, drawn at eight times the size."""
    image = Image.new("1", (8 * size[0], 8 * size[1]))
    draw = ImageDraw.Draw(image)
    for i in range(len(points)):
        for j in range(i):
            for k in range(j):
                draw.polygon([tuple(8 * point) for point in points[[i, j, k]]], fill=1)
    return np.asarray(image)[4::8, 4::8]


def test_a_batch_of_pairs(root):
    batch = next(views(root, pair_probability=1.0, train_batch_size=10, num_workers=1).train_batches(seed=0))
    assert batch.source.regions.valid[:, 1:5].all()
    assert torch.equal(batch.source.regions.valid, batch.target.regions.valid)
    assert (batch.source.rotations[:, 1:5] != batch.target.rotations[:, 1:5]).flatten(1).any(1).all()
    assert batch.labels["clevr_shape"][:, :5].tolist() == [[-1, 1, 3, 0, 4]] * 10
    colour = (batch.source.pixel_values[:, None] * batch.source.regions.masks[:, :, None]).sum((-2, -1))
    after = (batch.target.pixel_values[:, None] * batch.target.regions.masks[:, :, None]).sum((-2, -1))
    same = torch.cosine_similarity(colour[:, 1], after[:, 1], dim=-1)
    assert same.min() > 0.8, "the yellow sphere is yellow in both views"


def test_what_is_missing_or_damaged_is_named(copy, tmp_path):
    with pytest.raises(ValueError, match=r"holds no scenes/\*\.json; give the folder that holds scenes"):
        views(tmp_path)
    mask, path = copy / "masks" / "CLEVR_new_000000_03.npy", copy / "scenes" / "CLEVR_new_000000.json"
    whole = mask.read_bytes()
    for data, message in (
        (whole[:500], r"_03.npy cannot be read"),
        (b"", r"_03.npy cannot be read"),
        (whole.replace(b"(64, 64, 5)", b"(64, 64000,)"), r"_03.npy cannot be read"),
    ):
        mask.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            views(copy).pictures()[3]
    labels = np.full((64, 64, 5), 9, np.float32)
    np.save(mask, labels)
    with pytest.raises(ValueError, match=r"_03.npy has labels 9..9 for 4 objects"):
        views(copy).pictures()[3]
    mask.unlink()
    with pytest.raises(ValueError, match=r"_03.npy is missing beside .*_03.png; download the scene again"):
        views(copy)
    mask.write_bytes(whole)
    scene = json.loads(path.read_text())
    path.write_text(json.dumps(scene | {"camera": {"location": scene["camera"]["location"][:2]}}))
    with pytest.raises(ValueError, match=r"CLEVR_new_000000.json is not what multi-view CLEVR has \(IndexError"):
        views(copy).pictures()[3]
    for text in ("{", "[" * 100_000, json.dumps(scene | {"camera": {"location": [[float("nan"), 1, 2]] * 10}})):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"CLEVR_new_000000.json is not what multi-view CLEVR has"):
            views(copy).pictures()[3]


def test_views_of_a_scene_whose_name_begins_like_anothers_are_not_counted(copy):
    for folder, suffix in (("scenes", ".json"), ("images", "_00.png"), ("masks", "_00.npy")):
        shutil.copyfile(copy / folder / f"CLEVR_new_000000{suffix}", copy / folder / f"CLEVR_new_000000_b{suffix}")
    assert [length for _, length in views(copy).clips()] == [10, 1]


def test_one_training_step_by_name(root):
    assert_trains_by_name("clevr_views", root, "dataset.num_held_out=0")
