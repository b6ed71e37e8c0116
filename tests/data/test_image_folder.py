"""ImageFolder: pictures, masks and captions from disk, and what it refuses."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.image_folder import ImageFolder
from gen.segmentation import Classical, GroundTruth
from image_utils import convert, io
from tests.one_step import assert_trains_by_name
from tests.segmentation.sams.tiny_sams import transformers_sam2


@pytest.fixture
def folder(tmp_path, photographs):
    """Four photographs in four formats, one with a mask beside it, one with a mask in masks/, two with captions."""
    astronaut, chelsea, coffee, rocket = (photographs[name] for name in ("astronaut", "chelsea", "coffee", "rocket"))
    astronaut.save(tmp_path / "astronaut.jpg")
    chelsea.save(tmp_path / "chelsea.png")
    coffee.save(tmp_path / "coffee.webp")
    rocket.quantize(64).save(tmp_path / "rocket.gif")
    io.save_label_map(left_right(chelsea), tmp_path / "chelsea.mask.png")
    io.save_label_map(left_right(coffee), tmp_path / "masks" / "coffee.png")
    (tmp_path / "chelsea.txt").write_text("a cat\n")
    (tmp_path / "notes.csv").write_text("not a picture")
    return tmp_path


def left_right(image):
    """Return a label map with 1 in the left half and 2 in the right third of a picture; 0 between."""
    label_map = torch.zeros(image.height, image.width, dtype=torch.long)
    label_map[:, : image.width // 2] = 1
    label_map[:, -image.width // 3 :] = 2
    return label_map


def test_items_are_ordered_by_name_square_and_in_range(folder):
    data = ImageFolder(root=str(folder), num_held_out=0, resolution=32)
    items = data.items([0, 1, 2, 3])
    assert len(data) == 4
    assert [item.caption for item in items] == ["", "a cat", "", ""]
    assert all(item.label_map.unique().tolist() == [0, 1, 2] for item in items[1:3]), "those with a mask on disk"
    assert all(item.label_map.max() >= 1 for item in items), "the others' regions are found"
    for item in items:
        assert item.pixel_values.shape == (3, 32, 32)
        assert -1 <= item.pixel_values.min() < item.pixel_values.max() <= 1


def test_picture_and_mask_pass_through_the_same_square(tmp_path):
    """A picture that is its own label map must still be so after the crop and the resize."""
    label_map = torch.zeros(60, 100, dtype=torch.long)
    label_map[10:50, 30:60] = 1
    Image.fromarray((label_map * 255).numpy().astype(np.uint8)).convert("RGB").save(tmp_path / "a.png")
    io.save_label_map(label_map, tmp_path / "a.mask.png")
    item = ImageFolder(root=str(tmp_path), num_held_out=0, resolution=30).items([0])[0]
    assert torch.equal(item.pixel_values[0] > 0, item.label_map == 1)
    assert item.label_map.sum() == 20 * 15


def test_any_mask_file_is_read(folder):
    """Two objects whose masks overlap, as an array beside the picture."""
    masks = np.zeros((2, 512, 512), bool)
    masks[0, 100:400, 100:400], masks[1, 200:300, 200:300] = True, True
    np.save(folder / "astronaut.mask.npy", masks)
    item = ImageFolder(root=str(folder), num_held_out=0, resolution=64).items([0])[0]
    assert item.masks is not None
    assert (item.masks.sum((1, 2)) / 64**2)[1:].tolist() == pytest.approx([300**2 / 512**2, 100**2 / 512**2], abs=0.02)
    assert (item.masks[2] & item.masks[1]).equal(item.masks[2]), "the small one lies within the large one"


def test_a_batch_has_masks_from_disk_and_from_the_segmenter(folder):
    data = ImageFolder(root=str(folder), num_held_out=0, resolution=32, train_batch_size=4, overfit_items=4)
    batch = next(data.train_batches(seed=0))
    cat = batch.captions.index("a cat")
    assert batch.source.regions.masks.shape == (4, 6, 32, 32)
    assert batch.source.regions.valid[:, 1].all(), "every photograph has at least one object"
    assert batch.source.regions.valid[cat].tolist() == [True, True, True, False, False, False]


def test_the_same_seed_gives_the_same_batches_with_workers(folder):
    plain, parallel = (
        next(ImageFolder(root=str(folder), num_held_out=1, resolution=32, train_batch_size=3, num_workers=n).train_batches(seed=5))
        for n in (0, 1)
    )
    assert torch.equal(plain.target.pixel_values, parallel.target.pixel_values)
    assert torch.equal(plain.target.regions.masks, parallel.target.regions.masks)


def test_held_out_pictures_are_not_trained_on(folder):
    data = ImageFolder(root=str(folder), num_held_out=2, resolution=16)
    held_out = data.validation_items(5)
    assert len(held_out) == len(data) == 2
    for train in data.items([0, 1]):
        assert not any(torch.equal(train.pixel_values, item.pixel_values) for item in held_out)
    assert len(data.validation_batch()) == 2


def test_holding_out_everything_is_refused(folder):
    with pytest.raises(ValueError, match=r"num_held_out=4 leaves no picture.*holds 4 usable"):
        ImageFolder(root=str(folder), num_held_out=4)


def test_one_segmenter_for_all_when_asked(folder):
    data = ImageFolder(root=str(folder), num_held_out=0, resolution=32, segmenter=Classical(max_regions=2), train_batch_size=4)
    assert not next(data.train_batches(seed=0)).source.regions.valid[:, 3:].any()
    strict = ImageFolder(root=str(folder), num_held_out=0, resolution=32, segmenter=GroundTruth(), train_batch_size=4)
    with pytest.raises(ValueError, match="put masks beside the pictures"):
        next(strict.train_batches(seed=0))


def test_more_objects_than_regions_keeps_the_largest(folder):
    data = ImageFolder(root=str(folder), num_held_out=0, resolution=32, num_regions=2, train_batch_size=4)
    assert next(data.train_batches(seed=0)).source.regions.masks.shape[1] == 2


def test_a_rotated_photograph_and_its_mask_agree(tmp_path, photographs):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    photographs["chelsea"].save(tmp_path / "a.jpg", exif=exif)
    io.save_label_map(torch.zeros(451, 300, dtype=torch.long), tmp_path / "a.mask.png")
    assert len(ImageFolder(root=str(tmp_path), num_held_out=0)) == 1


class TestBadInput:
    def test_missing_and_empty_folders_are_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"dataset\.root='.*nowhere' is not a folder"):
            ImageFolder(root=str(tmp_path / "nowhere"))
        with pytest.raises(ValueError, match="holds no usable picture"):
            ImageFolder(root=str(tmp_path))

    def test_a_mask_of_another_size_is_named_at_the_start(self, folder):
        io.save_label_map(torch.zeros(20, 30, dtype=torch.long), folder / "astronaut.mask.png")
        with pytest.raises(ValueError, match=r"astronaut\.mask\.png is 30x20 pixels but its picture is 512x512"):
            ImageFolder(root=str(folder), num_held_out=0)

    def test_a_photograph_in_the_place_of_a_mask_is_named_when_it_is_read(self, folder, photographs):
        photographs["astronaut"].save(folder / "astronaut.mask.png")
        with pytest.raises(ValueError, match=r"mask .*astronaut\.mask\.png has \d+ colours, so it was smoothed or is no mask"):
            ImageFolder(root=str(folder), num_held_out=0).items([0])

    def test_two_masks_or_two_pictures_of_one_name_are_refused(self, folder, photographs):
        io.save_label_map(left_right(photographs["chelsea"]), folder / "masks" / "chelsea.png")
        with pytest.raises(ValueError, match="two masks"):
            ImageFolder(root=str(folder), num_held_out=0)
        photographs["coffee"].save(folder / "coffee.jpg")
        with pytest.raises(ValueError, match=r"coffee\.jpg and .*coffee\.webp would share"):
            ImageFolder(root=str(folder), num_held_out=0, on_bad_file="skip")

    def test_a_file_that_is_no_picture_is_refused_or_skipped_and_counted(self, folder, caplog):
        (folder / "broken.jpg").write_bytes(b"this is text")
        with pytest.raises(ValueError, match=r"broken\.jpg cannot be read.*on_bad_file=skip"):
            ImageFolder(root=str(folder), num_held_out=0)
        with caplog.at_level(logging.WARNING):
            assert len(ImageFolder(root=str(folder), num_held_out=0, on_bad_file="skip")) == 4
        assert "1 of 5 pictures skipped" in caplog.text

    def test_a_picture_that_breaks_off_is_named_or_replaced_by_the_next(self, folder, caplog):
        whole = (folder / "astronaut.jpg").read_bytes()
        (folder / "astronaut.jpg").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=r"astronaut\.jpg cannot be read"):
            ImageFolder(root=str(folder), num_held_out=0).items([0])
        with caplog.at_level(logging.WARNING):
            first, second = ImageFolder(root=str(folder), num_held_out=0, on_bad_file="skip").items([0, 1])
        assert torch.equal(first.pixel_values, second.pixel_values)
        assert "astronaut.jpg" in caplog.text


@pytest.mark.parametrize("name", ["classical", "sam", "sam2"])
def test_a_training_step_on_photographs_whatever_cuts_them(folder, tmp_path_factory, name):
    """The SAMs are asked for every mask that they have: the shipped one knows no photographs, and the other has random weights."""
    words = [f"dataset/segmenter={name}", "dataset.num_held_out=1", "dataset.keep_in_memory=4"]
    if name != "classical":
        weights = "tiny"
        if name == "sam2":
            weights = tmp_path_factory.mktemp("weights")
            transformers_sam2().save_pretrained(weights)
        every = ("pred_iou_threshold=0", "stability_threshold=0", "points_per_side=4", "rules.max_island=0", "rules.max_area=1")
        words += [f"dataset.segmenter.weights={weights}", *(f"dataset.segmenter.{word}" for word in every)]
    assert_trains_by_name("image_folder", folder, *words)


def test_real_photographs_with_published_captions(shared_data, tmp_path):
    source = shared_data / "text_editing_photos"
    described = json.loads((source / "images.json").read_text())
    for path in (source / "images").glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / f"{path.stem}.txt").write_text(str(described.get(path.name, ["picture"])[0]))
    data = ImageFolder(root=str(tmp_path), num_held_out=1, resolution=64, train_batch_size=3, overfit_items=3)
    batch = next(data.train_batches(seed=0))
    assert all(batch.captions)
    assert batch.source.regions.valid[:, :2].all()


def test_real_masks_of_rendered_photographs(shared_data, tmp_path):
    source = shared_data / "clevr_multiview"
    for path in (source / "images").glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        label_map = torch.from_numpy(np.load(source / "masks" / f"{path.stem}.npy")[..., 0].astype(np.int64))
        io.save_label_map(label_map, tmp_path / "masks" / path.name)
    item = ImageFolder(root=str(tmp_path), num_held_out=0, resolution=64).items([0])[0]
    first = min(path.stem for path in tmp_path.glob("*.png"))
    assert item.label_map.unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(item.pixel_values, convert.to_tensor(io.load_image(tmp_path / f"{first}.png"))), "64 px pictures are not resampled"
