"""CocoPanoptic: segments, categories and captions as the official archives keep them, and what is refused."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.coco_panoptic import CocoPanoptic
from image_utils import convert, io
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
# As in the official files: ids with gaps, things and stuff, not sorted.
CATEGORIES = [
    {"supercategory": "person", "isthing": 1, "color": [220, 20, 60], "id": 1, "name": "person"},
    {"supercategory": "outdoor", "isthing": 0, "color": [70, 130, 180], "id": 187, "name": "sky-other-merged"},
    {"supercategory": "vehicle", "isthing": 1, "color": [119, 11, 32], "id": 2, "name": "bicycle"},
    {"supercategory": "animal", "isthing": 1, "color": [220, 182, 255], "id": 90, "name": "toothbrush"},
]
PERSON, BICYCLE, SKY, CROWD = 0x0A0B0C, 257, 9_000_000, 65536
BOXES = {SKY: (0, 0, 20, 64), PERSON: (24, 8, 40, 20), BICYCLE: (24, 30, 36, 60), CROWD: (36, 20, 40, 30)}  # top, left, bottom, right
CATEGORY_OF = {SKY: 187, PERSON: 1, BICYCLE: 2, CROWD: 1}
COLOURS = {0: (60, 60, 60), SKY: (90, 140, 220), PERSON: (220, 40, 40), BICYCLE: (40, 200, 60), CROWD: (250, 250, 0)}


def write_picture(root, split, image_id, boxes):
    """Write a picture of coloured boxes and its panoptic PNG; return its entries in `images` and `annotations`."""
    ids = np.zeros((40, 64), dtype=np.int64)
    for number, (top, left, bottom, right) in boxes.items():
        ids[top:bottom, left:right] = number
    pixels = np.zeros((40, 64, 3), dtype=np.uint8)
    for number, colour in COLOURS.items():
        pixels[ids == number] = colour
    name = f"{image_id:012d}"
    (root / split).mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"panoptic_{split}").mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / split / f"{name}.jpg", quality=95, subsampling=0)
    encoded = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    Image.fromarray(encoded).save(root / "annotations" / f"panoptic_{split}" / f"{name}.png")
    segments = [
        {"id": number, "category_id": CATEGORY_OF[number], "iscrowd": int(number == CROWD), "bbox": [x, y, x2 - x, y2 - y], "area": 1}
        for number, (y, x, y2, x2) in boxes.items()
    ]
    image = {"license": 4, "file_name": f"{name}.jpg", "coco_url": "", "height": 40, "width": 64, "flickr_url": "", "id": image_id}
    return image, {"segments_info": segments, "file_name": f"{name}.png", "image_id": image_id}


def write_split(root, split, pictures):
    images, annotations = zip(*(write_picture(root, split, image_id, boxes) for image_id, boxes in pictures.items()), strict=True)
    panoptic = {"info": {"year": 2018}, "licenses": [], "images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(panoptic))
    captions = [
        {"image_id": image_id, "id": 10 * image_id + k, "caption": f"{words} {image_id} \n"}
        for k, words in enumerate(("Somebody by a bicycle", "A second caption of"))
        for image_id in pictures
    ]
    (root / "annotations" / f"captions_{split}.json").write_text(json.dumps({"info": {}, "images": images, "annotations": captions}))


@pytest.fixture
def root(tmp_path):
    write_split(tmp_path, "train2017", {9: BOXES, 25: {SKY: BOXES[SKY]}, 30: {BICYCLE: BOXES[BICYCLE]}})
    write_split(tmp_path, "val2017", {139: {PERSON: BOXES[PERSON], SKY: BOXES[SKY]}})
    return tmp_path


def coco(root, **settings):
    return CocoPanoptic(root=str(root), source_augmentation=STILL, target_augmentation=STILL, **settings)


def box_of(label_map, key):
    rows, columns = (label_map == key).nonzero().unbind(1)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def test_things_are_regions_with_their_ids_and_categories(root):
    picture = coco(root).pictures()[0]
    assert picture.name == "train2017/000000000009.jpg"
    assert picture.label_map.unique().tolist() == [0, BICYCLE, PERSON], "stuff and crowds are background"
    assert box_of(picture.label_map, PERSON) == BOXES[PERSON]
    assert picture.labels == {"coco_category": {PERSON: 0, BICYCLE: 1}}, "categories are numbered in the order of their ids"
    assert picture.caption == "Somebody by a bicycle 9", "the first of its captions"
    assert np.abs(np.asarray(picture.image)[32, 50].astype(int) - COLOURS[BICYCLE]).max() < 6


def test_stuff_becomes_regions_when_asked(root):
    data = coco(root, stuff="regions")
    picture = data.pictures()[0]
    assert picture.label_map.unique().tolist() == [0, BICYCLE, PERSON, SKY]
    assert picture.labels["coco_category"] == {PERSON: 0, BICYCLE: 1, SKY: 3}, "sky comes after all things, present or not"
    assert not coco(root).pictures()[1].label_map.any(), "a picture of sky alone has no thing"
    assert data.pictures()[1].label_map.any()


def test_a_batch_shows_what_was_written(root):
    batch = next(coco(root, fit="pad", resolution=64, stuff="regions", train_batch_size=3, overfit_items=3).train_batches(seed=0))
    row = batch.captions.index("Somebody by a bicycle 9")
    assert batch.labels["coco_category"][row].tolist() == [-1, 1, 0, 3, -1, -1], "objects in the order of their ids"
    colours = {number: batch.target.pixel_values[row][:, batch.target.regions.masks[row, k]] for k, number in ((1, BICYCLE), (2, PERSON))}
    for number, inside in colours.items():
        expected = torch.tensor(COLOURS[number]) / 127.5 - 1
        assert torch.allclose(inside.median(1).values, expected, atol=0.05), "the mask lies on the object that it names"
    areas = batch.target.regions.masks[row].flatten(1).sum(1).tolist()
    assert areas[1:4] == [12 * 30, 16 * 12, 20 * 64], "64 pixels wide as written: nothing is resampled"


def test_the_official_split_is_held_out(root):
    data = coco(root, resolution=40)
    assert len(data) == 3
    (held_out,) = data.validation_items(8)
    assert held_out.caption == "Somebody by a bicycle 139"
    assert len(data.pictures()) == 4


def test_a_part_of_one_split_can_be_held_out_instead(root):
    data = coco(root, train_split="train2017", validation_split=None, num_held_out=1)
    assert (len(data), len(data.validation_items(8))) == (2, 1)
    with pytest.raises(ValueError, match="validation_split='val2017' is what is trained on"):
        coco(root, train_split="val2017")


def test_pictures_without_captions(root):
    (root / "annotations" / "captions_train2017.json").unlink()
    assert coco(root).pictures()[0].caption == ""


class TestBadInput:
    def test_what_is_missing_is_named_at_the_start(self, root):
        (root / "val2017" / "000000000139.jpg").unlink()
        with pytest.raises(ValueError, match=r"val2017/000000000139\.jpg, named in panoptic_val2017\.json, does not exist"):
            coco(root)
        (root / "annotations" / "panoptic_val2017.json").unlink()
        with pytest.raises(ValueError, match=r"panoptic_val2017\.json does not exist; unpack panoptic_annotations_trainval2017\.zip"):
            coco(root)

    def test_an_unknown_stuff_is_named(self, root):
        @dataclass(kw_only=True)
        class Unchecked(CocoPanoptic):
            """Its signature is not checked at run time, as outside of tests."""

        with pytest.raises(ValueError, match=r"dataset\.stuff='things' is unknown; use 'background' or 'regions'"):
            Unchecked(root=str(root), stuff="things")

    def test_a_missing_picture_may_be_skipped(self, root, caplog):
        (root / "annotations" / "panoptic_train2017" / "000000000025.png").unlink()
        with caplog.at_level(logging.WARNING):
            assert len(coco(root, on_bad_file="skip")) == 2
        assert "000000000025.png" in caplog.text

    @pytest.mark.parametrize("damage", ["breaks off", "unknown category", "another format", "nested"])
    def test_damaged_annotations_are_named(self, root, damage):
        path = root / "annotations" / "panoptic_train2017.json"
        text = path.read_text()
        path.write_text(
            {
                "breaks off": text[: len(text) // 2],
                "unknown category": text.replace('"category_id": 2,', '"category_id": 77,'),
                "another format": json.dumps({"images": [], "annotations": [{"id": 1, "category_id": 1, "bbox": []}]}),
                "nested": "[" * 100_000,
            }[damage]
        )
        with pytest.raises(ValueError, match=r"panoptic_train2017\.json is damaged or not in COCO's format"):
            coco(root)

    @pytest.mark.parametrize("name", ["../val2017/000000000139.jpg", "/000000000139.jpg", 3])
    @pytest.mark.parametrize("kind", ["images", "annotations"])
    def test_a_name_that_is_no_path_in_the_data_set_is_refused(self, root, name, kind):
        path = root / "annotations" / "panoptic_train2017.json"
        found = json.loads(path.read_text())
        found[kind][0]["file_name"] = name
        path.write_text(json.dumps(found))
        with pytest.raises(ValueError, match=rf"dataset\.root='.*': its files name {name!r}, which is no path inside it"):
            coco(root)

    def test_damaged_captions_are_named(self, root):
        (root / "annotations" / "captions_train2017.json").write_text("[]")
        with pytest.raises(ValueError, match=r"captions_train2017\.json is damaged"):
            coco(root)

    def test_annotations_that_do_not_belong_together_are_named(self, root):
        path = root / "annotations" / "panoptic_train2017" / "000000000009.png"
        Image.new("RGB", (64, 40)).save(path)
        with pytest.raises(ValueError, match=r"000000000009\.png shows no segment that panoptic_train2017\.json lists"):
            coco(root).items([0])
        Image.new("RGB", (32, 20)).save(path)
        with pytest.raises(ValueError, match=r"000000000009\.png is 32x20 pixels but its picture is 64x40"):
            coco(root).items([0])


def test_a_picture_read_is_the_file(root):
    item = coco(root, resolution=40).items([0])[0]
    whole = convert.to_tensor(io.load_image(root / "train2017" / "000000000009.jpg"))
    assert torch.equal(item.pixel_values, whole[:, :, 12:52]), "the centred square, not resampled"


def test_one_training_step_by_name(root):
    assert_trains_by_name("coco_panoptic", root)
