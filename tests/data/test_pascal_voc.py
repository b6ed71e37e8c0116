"""PascalVoc: objects from palette indices, their classes by majority, void as background, the official splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.pascal_voc import PascalVoc
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
CAT, DOG, PERSON = 8, 12, 15


def voc_palette():
    """Return VOC's colour map: bits 0, 3, 6 of an index are the highest of red, bits 1, 4, 7 of green, bits 2, 5 of blue."""
    return [sum((index >> (3 * k + channel) & 1) << (7 - k) for k in range(3)) for index in range(256) for channel in range(3)]


def save_indices(path, indices):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices, mode="P")
    image.putpalette(voc_palette())
    image.save(path)


def write_picture(root, name, objects, classes):
    pixels = np.stack([objects.astype(int) * 70 % 256, classes.astype(int) * 12 % 256, np.full(objects.shape, 90)], -1).astype(np.uint8)
    (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
    save_indices(root / "SegmentationObject" / f"{name}.png", objects)
    save_indices(root / "SegmentationClass" / f"{name}.png", classes)


def two_objects():
    """Return a cat, number 1, and a person, number 2, whose outlines are void."""
    objects, classes = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    for number, category, left in ((1, CAT, 14), (2, PERSON, 34)):
        objects[8:28, left : left + 12], classes[8:28, left : left + 12] = 255, 255
        objects[9:27, left + 1 : left + 11], classes[9:27, left + 1 : left + 11] = number, category
    return objects, classes


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("2007_000032", "2007_000039", "2007_000033"):
        write_picture(root, name, *two_objects())
    sets = root / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("2007_000032\n2007_000039\n")
    (sets / "val.txt").write_text("2007_000033\n")
    (sets / "trainval.txt").write_text("2007_000032\n2007_000033\n2007_000039\n")
    return root


def voc(root, **settings):
    return PascalVoc(root=str(root), source_augmentation=STILL, target_augmentation=STILL, **settings)


def test_objects_have_their_numbers_and_classes_and_void_is_background(root):
    picture = voc(root).pictures()[0]
    assert picture.name == "2007_000032"
    assert picture.label_map.unique(return_counts=True)[1].tolist() == [40 * 60 - 2 * 180, 180, 180]
    assert picture.labels == {"voc_class": {1: 7, 2: 14}}, "cat and person, counted from 0"


def test_an_objects_class_is_that_of_most_of_its_pixels(root):
    objects, classes = two_objects()
    classes[9:14, 15:25], classes[14:18, 15:25] = DOG, 255  # of 18 rows 5 are dog, 4 void, 9 cat
    classes[objects == 2] = 255
    write_picture(root, "2007_000032", objects, classes)
    assert voc(root).pictures()[0].labels == {"voc_class": {1: 7}}, "nobody knows the class of the second"


def test_a_batch_shows_what_was_written(root):
    batch = next(voc(root, resolution=40, train_batch_size=2, overfit_items=2).train_batches(seed=0))
    assert batch.labels["voc_class"].tolist() == [[-1, 7, 14, -1, -1, -1]] * 2
    assert batch.target.regions.masks.flatten(2).sum(2).tolist() == [[40 * 40 - 360, 180, 180, 0, 0, 0]] * 2
    blue_and_red = batch.target.pixel_values[0][:, batch.target.regions.masks[0, 2]].median(1).values
    assert torch.allclose(blue_and_red, torch.tensor([140.0, 180.0, 90.0]) / 127.5 - 1, atol=0.05), "the person's mask lies on the person"


def test_the_official_splits(root):
    data = voc(root)
    assert (len(data), len(data.validation_items(8)), len(data.pictures())) == (2, 1, 3)
    everything = voc(root, train_split="trainval", validation_split=None, num_held_out=0)
    assert len(everything) == 3
    with pytest.raises(ValueError, match="train_split='trainval' and dataset.validation_split='val' share 1 pictures"):
        voc(root, train_split="trainval")


class TestBadInput:
    def test_what_is_missing_is_named(self, root):
        (root / "SegmentationObject" / "2007_000033.png").unlink()
        with pytest.raises(ValueError, match=r"SegmentationObject/2007_000033\.png, of a picture in ImageSets.*does not exist"):
            voc(root)
        with pytest.raises(ValueError, match=r"Segmentation/train\.txt does not exist; dataset\.root is the folder of one year"):
            voc(root.parent)

    def test_names_out_of_the_root_are_refused_and_double_ones_taken_once(self, root):
        path = root / "ImageSets" / "Segmentation" / "train.txt"
        path.write_text("2007_000032\n2007_000032\n2007_000039\n")
        assert len(voc(root)) == 2
        path.write_text("../../2007_000032\n")
        with pytest.raises(ValueError, match=r"its files name '\.\./\.\./2007_000032\.jpg', which is no path inside it"):
            voc(root)

    def test_masks_that_lost_their_palette_are_named(self, root):
        path = root / "SegmentationClass" / "2007_000032.png"
        Image.open(path).convert("RGB").save(path)
        with pytest.raises(ValueError, match=r"2007_000032\.png is a picture in mode RGB; save it as a grey or palette PNG"):
            voc(root).items([0])
        Image.open(path).convert("L").save(path)
        with pytest.raises(ValueError, match=r"SegmentationClass/2007_000032\.png has class \d+, and VOC has 1\.\.20"):
            voc(root).items([0])

    def test_masks_of_another_size_are_named(self, root):
        save_indices(root / "SegmentationClass" / "2007_000032.png", np.zeros((20, 30), np.uint8))
        with pytest.raises(ValueError, match=r"2007_000032\.png is 30x20 pixels but its picture is 60x40"):
            voc(root).items([0])


def test_one_training_step_by_name(root):
    assert_trains_by_name("pascal_voc", root)
