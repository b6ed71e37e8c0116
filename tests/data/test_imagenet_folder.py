"""ImagenetFolder: classes by folder, with ImageNet's splits or without any; captions from a file of names."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from gen.data.imagenet_folder import ImagenetFolder
from image_utils import convert, io
from tests.one_step import assert_trains_by_name

NAMES = "n01440764 tench, Tinca tinca\nn02124075 Egyptian cat\nn02999999\u0020 unused\n"


@pytest.fixture
def root(tmp_path, photographs):
    root = tmp_path / "imagenet"
    for path, name in (
        ("train/n02124075/n02124075_10.JPEG", "chelsea"),
        ("train/n01440764/n01440764_9.JPEG", "coffee"),
        ("train/n01440764/n01440764_10026.JPEG", "rocket"),
        ("val/n02124075/ILSVRC2012_val_00000293.JPEG", "astronaut"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        photographs[name].resize((96, 64)).save(root / path, format="JPEG")
    (root / "train" / "n01440764" / "notes.txt").write_text("no picture")
    (root / "train" / "LOC_train_solution.csv").write_text("no class")
    (tmp_path / "LOC_synset_mapping.txt").write_text(NAMES)
    return root


def test_pictures_are_listed_by_class_and_name_and_cut_by_the_segmenter(root):
    data = ImagenetFolder(root=str(root), resolution=64)
    names = [data.pictures()[index].name for index in range(4)]
    assert names == [
        "train/n01440764/n01440764_10026.JPEG", "train/n01440764/n01440764_9.JPEG", "train/n02124075/n02124075_10.JPEG",
        "val/n02124075/ILSVRC2012_val_00000293.JPEG",
    ]  # fmt: skip
    items = data.items([0, 1, 2])
    assert [item.caption for item in items] == ["", "", ""]
    assert all(item.label_map.max() >= 1 for item in items), "colour regions are found"
    assert torch.equal(items[2].pixel_values, convert.to_tensor(io.load_image(root / names[2]))[:, :, 16:80])


def test_captions_are_the_first_names_of_the_classes(root, tmp_path):
    data = ImagenetFolder(
        root=str(root), class_names=str(tmp_path / "LOC_synset_mapping.txt"), resolution=32, train_batch_size=3, overfit_items=3
    )
    assert sorted(next(data.train_batches(seed=0)).captions) == ["a photo of Egyptian cat", "a photo of tench", "a photo of tench"]
    (held_out,) = data.validation_items(8)
    assert held_out.caption == "a photo of Egyptian cat"


def test_without_a_validation_folder_some_pictures_are_held_out(root):
    (root / "val").rename(root.parent / "elsewhere")
    data = ImagenetFolder(root=str(root), num_held_out=1)
    assert (len(data), len(data.validation_items(8))) == (2, 1)


def test_any_folder_of_classes(root):
    data = ImagenetFolder(root=str(root / "train"), num_held_out=1, resolution=16)
    assert len(data) == 2
    assert data.pictures()[0].name == "n01440764/n01440764_10026.JPEG"
    assert len(data.validation_items(8)) == 1


class TestBadInput:
    def test_a_folder_without_classes_is_named(self, root):
        flat = root / "val" / "n02124075"
        (flat / "ILSVRC2012_val_00000293.JPEG").rename(root / "val" / "ILSVRC2012_val_00000293.JPEG")
        with pytest.raises(ValueError, match=r"imagenet/val holds no picture in a folder of its class.*sort them as"):
            ImagenetFolder(root=str(root))

    def test_names_that_are_missing_are_named(self, root, tmp_path):
        names = tmp_path / "LOC_synset_mapping.txt"
        with pytest.raises(ValueError, match=r"dataset\.class_names='.*nowhere' does not exist"):
            ImagenetFolder(root=str(root), class_names=str(tmp_path / "nowhere"))
        names.write_text("n01440764 tench\n")
        with pytest.raises(ValueError, match=r"does not name the class 'n02124075'; add a line 'n02124075 <its name>'"):
            ImagenetFolder(root=str(root), class_names=str(names))
        names.write_text("\nn01440764\n")
        with pytest.raises(ValueError, match=r"LOC_synset_mapping\.txt, line 2, names nothing: 'n01440764'"):
            ImagenetFolder(root=str(root), class_names=str(names))

    def test_a_damaged_picture_is_named_when_it_is_read(self, root):
        (root / "train" / "n01440764" / "n01440764_9.JPEG").write_bytes(b"this is text")
        with pytest.raises(ValueError, match=r"n01440764_9\.JPEG cannot be read"):
            ImagenetFolder(root=str(root)).items([1])
        Image.new("CMYK", (20, 20)).save(root / "train" / "n01440764" / "n01440764_9.JPEG", format="JPEG")
        assert ImagenetFolder(root=str(root), resolution=16).items([1])[0].pixel_values.shape == (3, 16, 16)


def test_one_training_step_by_name(root):
    assert_trains_by_name("imagenet_folder", root, "dataset.num_held_out=1")
