"""Ade20k: classes and objects from the colours of _seg.png, scenes in nested folders, the official validation split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.ade20k import Ade20k
from gen.data.augment import Augmentation
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
CAR, WALL = 401, 2978  # name_ndx, as in the pictures' json files


def code(category, number):
    """Return the colour of an object in _seg.png."""
    return category // 256 * 10, category % 256, number


def write_picture(folder, name, objects):
    """Write a picture and its annotation from (class, number, columns); the first 4 columns are not annotated."""
    folder.mkdir(parents=True, exist_ok=True)
    annotation, pixels = np.zeros((40, 64, 3), np.uint8), np.full((40, 64, 3), 128, np.uint8)
    for category, number, columns in objects:
        annotation[:, columns] = code(category, number)
        pixels[:, columns] = (number * 2 % 256, 60, 200)
    Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=95, subsampling=0)
    Image.fromarray(annotation).save(folder / f"{name}_seg.png")
    Image.fromarray(annotation).save(folder / f"{name}_parts_1.png")
    (folder / name).mkdir()
    Image.new("L", (64, 40)).save(folder / name / f"instance_000_{name}.png")
    (folder / f"{name}.json").write_text("{}")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "ADE20K_2021_17_01"
    ade = root / "images" / "ADE"
    objects = [(CAR, 30, slice(4, 24)), (CAR, 90, slice(24, 34)), (WALL, 120, slice(34, 64))]
    write_picture(ade / "training" / "urban" / "street", "ADE_train_00016869", objects)
    write_picture(ade / "training" / "home_or_hotel" / "bedroom", "ADE_train_00000001", [(WALL, 7, slice(4, 64))])
    write_picture(ade / "training" / "urban", "ADE_train_00000002", [(WALL, 7, slice(4, 20)), (CAR, 7, slice(20, 64))])
    write_picture(ade / "validation" / "urban" / "street", "ADE_val_00000005", [(CAR, 255, slice(4, 64))])
    return root


def ade(root, **settings):
    return Ade20k(root=str(root), source_augmentation=STILL, target_augmentation=STILL, **settings)


def test_pictures_lie_in_scenes_of_any_depth(root):
    names = [picture.name for picture in map(ade(root).pictures().__getitem__, range(4))]
    assert names == ["ADE_train_00000001.jpg", "ADE_train_00000002.jpg", "ADE_train_00016869.jpg", "ADE_val_00000005.jpg"]


def test_two_objects_of_a_class_are_two_regions(root):
    picture = ade(root).pictures()[2]
    first, second, wall = (int(picture.label_map[20, column]) for column in (10, 30, 60))
    assert len({first, second, wall}) == 3
    assert picture.labels == {"ade_class": {first: CAR - 1, second: CAR - 1, wall: WALL - 1}}
    assert not picture.label_map[:, :4].any(), "what is not annotated is background"


def test_objects_of_two_classes_under_one_number_stay_apart(root):
    picture = ade(root).pictures()[1]
    assert sorted(picture.labels["ade_class"].values()) == [CAR - 1, WALL - 1]


def test_a_batch_shows_what_was_written(root):
    batch = next(ade(root, fit="pad", resolution=64, train_batch_size=3, overfit_items=3).train_batches(seed=0))
    row = (batch.labels["ade_class"] == CAR - 1).sum(1).argmax()
    assert batch.labels["ade_class"][row].tolist() == [-1, CAR - 1, CAR - 1, WALL - 1, -1, -1]
    assert batch.target.regions.masks[row].flatten(1).sum(1).tolist() == [4 * 40, 20 * 40, 10 * 40, 30 * 40, 0, 0]
    colour = batch.target.pixel_values[row][:, batch.target.regions.masks[row, 2]].median(1).values
    assert torch.allclose(colour, torch.tensor([180.0, 60.0, 200.0]) / 127.5 - 1, atol=0.05), "the mask lies on the second car"


def test_the_official_split_is_held_out(root):
    data = ade(root, resolution=16)
    assert (len(data), len(data.validation_items(8))) == (3, 1)


def test_what_is_missing_or_damaged_is_named(root):
    path = root / "images" / "ADE" / "training" / "urban" / "street" / "ADE_train_00016869_seg.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"ADE_train_00016869_seg\.png cannot be read"):
        ade(root).items([2])
    Image.new("RGB", (64, 20)).save(path)
    with pytest.raises(ValueError, match=r"ADE_train_00016869_seg\.png is 64x20 pixels but its picture is 64x40"):
        ade(root).items([2])
    path.unlink()
    with pytest.raises(ValueError, match=r"ADE_train_00016869_seg\.png does not exist, and its picture does"):
        ade(root)
    assert len(ade(root, on_bad_file="skip")) == 2
    with pytest.raises(ValueError, match=r"training holds no picture.*dataset\.root is the folder ADE20K_2021_17_01"):
        ade(root / "images")


def test_one_training_step_by_name(root):
    assert_trains_by_name("ade20k", root)
