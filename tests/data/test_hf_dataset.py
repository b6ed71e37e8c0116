"""HfDataset: data sets as the datasets library writes them, read by column; and columns, splits and cells that are wrong."""

from __future__ import annotations

import io
import itertools
import json
import sys
from multiprocessing.reduction import ForkingPickler

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.hf_dataset import HfDataset
from gen.segmentation import GroundTruth
from tests.one_step import TINY, assert_trains_and_reloads, composed

STILL = Augmentation(probability=0.0)
SIDE = 24


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.full((SIDE, SIDE, 3), number, np.uint8))


def label_map(dtype: type = np.uint8) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), dtype)
    labels[:, 4:10], labels[4:20, 14:18] = 3, 7
    return labels


def rows(count: int, first: int = 0) -> datasets.Dataset:
    """Return rows whose red tells their number, with a label map, two overlapping masks and captions."""
    numbers = range(first, first + count)
    outer, inner = np.zeros((2, SIDE, SIDE), np.uint8)
    outer[2:20, 2:20], inner[5:10, 5:10] = 255, 255
    columns = {
        "image": [picture(number) for number in numbers],
        "mask": [Image.fromarray(label_map()) for _ in numbers],
        "objects": [[Image.fromarray(outer), Image.fromarray(inner)] for _ in numbers],
        "caption": [f"number {number}" for number in numbers],
        "captions": [[f"first {number}", "second"] for number in numbers],
        "other": list(numbers),
    }
    image = datasets.Image()
    text = datasets.Value("string")
    features = {"image": image, "mask": image, "objects": datasets.List(image), "caption": text, "captions": datasets.List(text)}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features | {"other": datasets.Value("int64")}))


def saved(folder):
    datasets.DatasetDict({"train": rows(5), "test": rows(2, first=100)}).save_to_disk(folder)


def single(folder):
    rows(5).save_to_disk(folder)


def parquet(folder):
    rows(5).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    rows(2, first=100).to_parquet(folder / "data" / "test-00000-of-00001.parquet")


def arrow(folder):
    for split, table in (("train", rows(5)), ("test", rows(2, first=100))):
        table.save_to_disk(folder.with_name("saved") / split)
        (folder / split).mkdir(parents=True)
        (folder.with_name("saved") / split / "data-00000-of-00001.arrow").rename(folder / split / "data.arrow")


def image_folder(folder):
    for split, first, count in (("train", 0, 5), ("test", 100, 2)):
        (folder / split / "masks").mkdir(parents=True)
        with open(folder / split / "metadata.jsonl", "w") as file:
            for number in range(first, first + count):
                picture(number).save(folder / split / f"{number}.png")
                Image.fromarray(label_map()).save(folder / split / "masks" / f"{number}.png")
                names = {"file_name": f"{number}.png", "mask_file_name": f"masks/{number}.png"}
                file.write(json.dumps(names | {"caption": f"number {number}"}) + "\n")


def hf_dataset(root, **settings) -> HfDataset:
    shared = {"resolution": SIDE, "train_batch_size": 2, "source_augmentation": STILL, "target_augmentation": STILL, "num_held_out": 0}
    return HfDataset(root=str(root), **(shared | settings))


def numbers(batches) -> list[int]:
    return ((torch.cat([batch.target.pixel_values[:, 0, 0, 0] for batch in batches]) + 1) * 127.5).round().long().tolist()


def take(data, count, **arguments):
    return list(itertools.islice(data.train_batches(seed=3, **arguments), count))


@pytest.mark.parametrize("write", [saved, single, parquet, arrow, image_folder])
def test_every_layout_gives_the_pictures_regions_and_captions_written(tmp_path, write):
    write(tmp_path / "set")
    split = {} if write is single else {"validation_split": "test"}
    data = hf_dataset(tmp_path / "set", mask_column="mask", caption_column="caption", segmenter=GroundTruth(), **split)
    assert len(data) == 5
    for number, item in enumerate(data.items(list(range(5)))):
        assert ((item.pixel_values + 1) * 127.5).round().unique().tolist() == [number]
        assert item.caption == f"number {number}"
        assert item.label_map.unique(return_counts=True)[1].tolist() == [SIDE * SIDE - 6 * SIDE - 64, 6 * SIDE, 64]
    if write is not single:
        assert [item.caption for item in data.validation_items(8)] == ["number 100", "number 101"]
        assert len(data.pictures()) == 7
    batch = take(data, 1)[0]
    assert [f"number {number}" for number in numbers([batch])] == list(batch.captions)
    assert batch.source.regions.valid.tolist() == [[True, True, True, False, False, False]] * 2


def test_masks_of_one_object_each_may_overlap(tmp_path):
    saved(tmp_path / "set")
    item = hf_dataset(tmp_path / "set", mask_column="objects", caption_column="captions").items([3])[0]
    assert item.caption == "first 3"
    assert item.masks.flatten(1).sum(1).tolist() == [SIDE * SIDE - 18 * 18, 18 * 18, 25]
    assert (item.masks[1] & item.masks[2]).sum() == 25


def test_label_maps_of_16_and_32_bits_and_plain_bytes(tmp_path):
    """The library stores arrays of more than 8 bits as TIFF."""
    for dtype in (np.uint16, np.int32):
        labels = label_map(dtype) * 1000
        content = io.BytesIO()
        picture(7).save(content, "PNG")
        features = datasets.Features({"image": datasets.Value("binary"), "mask": datasets.Image()})
        table = datasets.Dataset.from_dict({"image": [content.getvalue()] * 2, "mask": [labels] * 2}, features=features)
        table.save_to_disk(tmp_path / dtype.__name__)
        read = hf_dataset(tmp_path / dtype.__name__, mask_column="mask").pictures()[1]
        assert torch.equal(read.label_map, torch.from_numpy(labels.astype(np.int64)))
        assert read.image.getpixel((0, 0)) == (7, 7, 7)


def test_a_stream_continues_anywhere_whatever_the_workers(tmp_path):
    saved(tmp_path / "set")
    data = hf_dataset(tmp_path / "set", mask_column="mask", num_held_out=1)
    whole = numbers(take(data, 6))
    assert len(set(whole)) == 4
    assert numbers(take(hf_dataset(tmp_path / "set", mask_column="mask", num_held_out=1, num_workers=2), 6)) == whole
    assert numbers(take(data, 2, start=8)) == whole[8:]


def test_it_passes_between_processes_that_are_not_forked(tmp_path):
    """What a loader's worker gets where processes are spawned: the object as bytes, and the pictures still on disk."""
    saved(tmp_path / "set")
    data = hf_dataset(tmp_path / "set")
    content = bytes(ForkingPickler.dumps(data))
    assert len(content) < 40_000
    assert torch.equal(ForkingPickler.loads(content).items([2])[0].pixel_values, data.items([2])[0].pixel_values)


def test_it_trains_a_step(tmp_path):
    saved(tmp_path / "set")
    words = ("dataset=hf_dataset", f"dataset.root={tmp_path / 'set'}", "dataset.mask_column=mask", "dataset.validation_split=test")
    assert_trains_and_reloads(composed(*TINY, *words), tmp_path / "pipeline")


class TestBadInput:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"image_column": "img"},
                r"dataset\.image_column='img' is no column of .*; it has image, mask, objects, caption, captions, other",
            ),
            ({"mask_column": "segmentation"}, r"dataset\.mask_column='segmentation' is no column"),
            ({"split": "val"}, r"dataset\.split='val' is no split of .*; it has train, test"),
            ({"validation_split": "val"}, r"dataset\.validation_split='val' is no split"),
            ({"validation_split": "train"}, r"dataset\.validation_split='train' is what is trained on; give another, or null"),
        ],
    )
    def test_columns_and_splits_are_looked_for_at_the_start(self, tmp_path, settings, message):
        saved(tmp_path / "set")
        with pytest.raises(ValueError, match=message):
            hf_dataset(tmp_path / "set", **settings)

    def test_a_single_split_is_not_also_held_out(self, tmp_path):
        (tmp_path / "set").mkdir()
        datasets.Dataset.from_dict({"image": [picture(1)] * 2}).to_parquet(tmp_path / "set" / "test.parquet")
        with pytest.raises(ValueError, match=r"dataset\.validation_split='test' is what is trained on"):
            hf_dataset(tmp_path / "set", validation_split="test")

    def test_what_is_no_data_set_is_refused(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(ValueError, match="cannot be opened"):
            hf_dataset(tmp_path / "empty")
        with pytest.raises(ValueError, match="neither a folder nor a name on the hub"):
            hf_dataset(tmp_path / "nowhere")
        with pytest.raises(
            ValueError, match=r"'nobody/nothing' is no folder here, and as a name on the hub it cannot be opened \(Couldn't reach"
        ):
            hf_dataset("nobody/nothing")
        (tmp_path / "damaged").mkdir()
        (tmp_path / "damaged" / "train.parquet").write_bytes(b"PAR1 and no more")
        with pytest.raises(ValueError, match="cannot be opened"):
            hf_dataset(tmp_path / "damaged")

    def test_without_the_library_the_way_to_install_it_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ValueError, match=r"needs the datasets library: pip install -c constraints\.txt -e '\.\[data\]'"):
            hf_dataset(tmp_path)

    def test_a_bad_cell_is_named_or_its_row_replaced_by_the_next(self, tmp_path):
        outside = tmp_path / "outside.png"
        picture(9).save(outside)
        good = {"bytes": io.BytesIO(), "path": None}
        picture(3).save(good["bytes"], "PNG")
        good["bytes"] = good["bytes"].getvalue()
        cells = [good, {"bytes": b"no picture", "path": None}, {"bytes": None, "path": str(outside)}, None]
        table = datasets.Dataset.from_dict({"image": cells}, features=datasets.Features({"image": datasets.Image(decode=False)}))
        table.to_parquet(tmp_path / "set" / "train.parquet")
        pictures = hf_dataset(tmp_path / "set").pictures()
        assert pictures[0].name == "set/train/0"
        for number, message in (
            (1, "set/train/1 cannot be read"),
            (2, "set/train/2 names .*outside the data set's folder"),
            (3, "set/train/3 has no picture"),
        ):
            with pytest.raises(ValueError, match=message):
                pictures[number]
        items = hf_dataset(tmp_path / "set", on_bad_file="skip").items([0, 1, 2, 3])
        assert all(torch.equal(item.pixel_values, items[0].pixel_values) for item in items)

    def test_a_picture_that_went_away_is_named(self, tmp_path):
        image_folder(tmp_path / "set")
        data = hf_dataset(tmp_path / "set")
        (tmp_path / "set" / "train" / "1.png").unlink()
        with pytest.raises(ValueError, match=r"set/train/1 names .*1\.png, which is no file"):
            data.items([0, 1, 2, 3, 4])

    def test_a_root_that_is_a_link(self, tmp_path):
        image_folder(tmp_path / "set")
        (tmp_path / "link").symlink_to(tmp_path / "set", target_is_directory=True)
        assert len(hf_dataset(tmp_path / "link").items([0, 1, 2, 3, 4])) == 5

    def test_columns_without_pictures_and_masks_of_another_size(self, tmp_path):
        saved(tmp_path / "set")
        with pytest.raises(ValueError, match="set/train/0 has int where a picture is expected"):
            hf_dataset(tmp_path / "set", image_column="other").items([0])
        small = datasets.Dataset.from_dict(
            {"image": [picture(1)], "mask": [Image.fromarray(label_map()[:5])]},
            features=datasets.Features({"image": datasets.Image(), "mask": datasets.Image()}),
        )
        small.save_to_disk(tmp_path / "small")
        with pytest.raises(ValueError, match=r"small/train/0 \(label map\) is 24x5 pixels but the picture is 24x24"):
            hf_dataset(tmp_path / "small", mask_column="mask").items([0])
