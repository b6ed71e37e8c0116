"""Mask files: each form gives the regions that were written, of the picture's size, and bad ones are refused by name."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gen.segmentation.mask_files import check_mask_file, find_mask_file, load_mask_file
from gen.segmentation.rle import encode_mask
from image_utils import io

HEIGHT, WIDTH = 6, 9
SIZE = (WIDTH, HEIGHT)


@pytest.fixture
def label_map() -> Tensor:
    labels = torch.zeros(HEIGHT, WIDTH, dtype=torch.long)
    labels[1:4, 1:5], labels[3:6, 6:9] = 1, 2
    return labels


@pytest.fixture
def overlapping() -> Tensor:
    """Two masks with a pixel in common, behind their background."""
    masks = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.bool)
    masks[1, 1:4, 1:5], masks[2, 3:6, 4:9] = True, True
    masks[0] = ~masks[1:].any(0)
    return masks


def run_lengths(mask: Tensor) -> dict:
    return {"size": [HEIGHT, WIDTH], "counts": encode_mask(mask).decode()}


def write(path: Path, masks: Tensor) -> Path:
    """Write masks in the form that the name says."""
    if path.suffix == ".json":
        path.write_text(json.dumps([{"segmentation": run_lengths(mask)} for mask in masks]))
    elif path.suffix == ".npy":
        np.save(path, masks.numpy())
    elif path.suffix == ".npz":
        np.savez_compressed(path, masks=masks.numpy())
    else:
        path.mkdir()
        (path / "metadata.csv").write_text("id,area\n")
        for number, mask in enumerate(masks):
            Image.fromarray(mask.numpy().astype(np.uint8) * 255).save(path / f"{number + 9}.png")  # 9.png comes before 10.png
    return path


@pytest.mark.parametrize("name", ["m.json", "m.npy", "m.npz", "m"])
def test_masks_become_a_label_map_unless_they_overlap(tmp_path, label_map, overlapping, name):
    apart = torch.stack([label_map == 1, label_map == 2])
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    assert torch.equal(load_mask_file(write(first / name, apart), SIZE), label_map)
    assert torch.equal(load_mask_file(write(second / name, overlapping[1:]), SIZE), overlapping)
    check_mask_file(first / name, SIZE)


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_label_maps_from_pictures(tmp_path, label_map, mode):
    image = Image.fromarray(label_map.numpy().astype(np.uint8))
    if mode == "P":
        image = image.convert("P")
        image.putdata(label_map.flatten().tolist())
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    if mode == "RGB":
        image = Image.fromarray(np.array([[0, 0, 0], [10, 200, 3], [10, 201, 0]], dtype=np.uint8)[label_map.numpy()])
    image.save(tmp_path / "m.png")
    check_mask_file(tmp_path / "m.png", SIZE)
    assert torch.equal(load_mask_file(tmp_path / "m.png", SIZE), label_map)


def test_a_picture_of_colours_without_black_has_no_background(tmp_path, label_map):
    colours = np.array([[5, 0, 0], [10, 200, 3], [10, 201, 0]], dtype=np.uint8)[label_map.numpy()]
    Image.fromarray(colours).save(tmp_path / "m.png")
    assert torch.equal(load_mask_file(tmp_path / "m.png", SIZE), label_map + 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16, np.int64])
def test_label_maps_from_arrays_keep_their_numbers(tmp_path, label_map, dtype):
    np.save(tmp_path / "m.npy", (label_map.numpy() * 100).astype(dtype))
    check_mask_file(tmp_path / "m.npy", SIZE)
    assert torch.equal(load_mask_file(tmp_path / "m.npy", SIZE), label_map * 100)


def test_coco_annotations_in_their_official_forms(tmp_path, label_map):
    """A file of COCO with an outline, SA-1B's with compressed run lengths, a crowd's with plain ones."""
    outline = [[1, 1, 5, 1, 5, 4, 1, 4]]
    plain = {"size": [HEIGHT, WIDTH], "counts": [3 + 6 * HEIGHT, 3, 3, 3, 3, 3]}
    coco = {"images": [{"id": 1, "width": WIDTH, "height": HEIGHT}], "annotations": [{"segmentation": outline}, {"segmentation": plain}]}
    (tmp_path / "a.json").write_text(json.dumps(coco))
    assert torch.equal(load_mask_file(tmp_path / "a.json", SIZE), label_map)
    sa1b = {"image": {"image_id": 1}, "annotations": [{"segmentation": run_lengths(label_map == k)} for k in (1, 2)]}
    (tmp_path / "b.json").write_text(json.dumps(sa1b))
    assert torch.equal(load_mask_file(tmp_path / "b.json", SIZE), label_map)
    (tmp_path / "none.json").write_text(json.dumps({"annotations": []}))
    assert not load_mask_file(tmp_path / "none.json", SIZE).any()


def test_polygons_agree_with_pycocotools_but_for_their_edge(tmp_path):
    coco = pytest.importorskip("pycocotools.mask")
    generator, overlaps = np.random.default_rng(0), []
    for _ in range(40):
        angles, radii = np.sort(generator.uniform(0, 2 * np.pi, 12)), generator.uniform(20, 60, 12)
        outline = np.stack([70 + radii * np.cos(angles), 60 + radii * np.sin(angles)], 1).clip(0, [150, 100]).ravel().tolist()
        (tmp_path / "m.json").write_text(json.dumps([{"segmentation": [outline]}]))
        found = load_mask_file(tmp_path / "m.json", (150, 100)).bool().numpy()
        truth = coco.decode(coco.merge(coco.frPyObjects([outline], 100, 150))).astype(bool)
        overlaps.append((found & truth).sum() / (found | truth).sum())
    assert min(overlaps) > 0.96
    assert np.mean(overlaps) > 0.98


def test_polygons_that_leave_the_picture_and_overlap_each_other(tmp_path):
    """Parts are joined, not cancelled; what lies outside is cut; a hole is where one outline crosses itself."""
    outlines = [[-5, -5, 4, -5, 4, 3, -5, 3], [2, 2, 20, 2, 20, 4, 2, 4], [-9, -9, -3, -9, -3, -3], [5, 5, 5, 5, 5, 5]]
    (tmp_path / "m.json").write_text(json.dumps([{"segmentation": outlines}]))
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.long)
    expected[:3, :4] = expected[2:4, 2:] = 1
    assert torch.equal(load_mask_file(tmp_path / "m.json", SIZE), expected)
    (tmp_path / "m.json").write_text(json.dumps([{"segmentation": [[0, 0, 9, 0, 9, 6, 0, 6, 0, 0, 2, 2, 2, 4, 7, 4, 7, 2, 2, 2]]}]))
    ring = torch.ones(HEIGHT, WIDTH, dtype=torch.long)
    ring[2:4, 2:7] = 0
    assert torch.equal(load_mask_file(tmp_path / "m.json", SIZE), ring)


def test_polygons_that_would_take_hours_are_refused(tmp_path):
    whole = [0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]
    (tmp_path / "m.json").write_text(json.dumps([{"segmentation": [whole] * 1000}]))
    with pytest.raises(ValueError, match=r"m\.json .*the 1000 polygons of one mask cover the picture 64 times"):
        load_mask_file(tmp_path / "m.json", SIZE)


def test_the_file_beside_a_picture_is_found_and_two_are_refused(tmp_path, label_map):
    picture, masks = tmp_path / "a.b.jpg", tmp_path / "masks"
    masks.mkdir()
    assert find_mask_file(picture) is None
    assert find_mask_file(tmp_path / f"{'x' * 250}.jpg") is None
    for path in (tmp_path / "a.b.mask.png", tmp_path / "a.b.mask.json", masks / "a.b.png", masks / "a.b.npz", masks / "a.b"):
        path.mkdir() if path.name == "a.b" else path.touch()
        assert find_mask_file(picture) == path
        assert find_mask_file(tmp_path / "b.jpg") is None
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "a.b.mask.png").touch(), (masks / "a.b.npy").touch()
    with pytest.raises(ValueError, match=r"two masks, .*a\.b\.mask\.png and .*a\.b\.npy; keep one"):
        find_mask_file(picture)


@pytest.mark.parametrize("name", ["m.json", "m.npy", "m.npz", "m", "m.png"])
def test_masks_of_another_size_than_the_picture_are_refused(tmp_path, overlapping, name):
    if name == "m.png":
        io.save_label_map(overlapping[1].long(), tmp_path / name)
    else:
        write(tmp_path / name, overlapping)
    with pytest.raises(ValueError, match=r"m.* is 9x6 pixels but its picture is 6x9; export the mask at the picture's size"):
        load_mask_file(tmp_path / name, (HEIGHT, WIDTH))
    if name != "m.json":
        with pytest.raises(ValueError, match="9x6 pixels"):
            check_mask_file(tmp_path / name, (HEIGHT, WIDTH))


def header_of(shape: str, dtype: str = "|b1") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (64 - (len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BAD = {
    "empty.npy": b"", "cut.npy": header_of(f"(2, {HEIGHT}, {WIDTH})") + b"\1" * 20, "object.npy": header_of(f"({HEIGHT}, {WIDTH})", "|O"),
    "floats.npy": header_of(f"({HEIGHT}, {WIDTH})", "<f4"), "huge.npy": header_of(f"(99999999, {HEIGHT}, {WIDTH})"),
    "deep.npy": header_of("(" * 3000), "no_zip.npz": b"PK\3\4 and no more", "text.json": b"{", "nested.json": b"[" * 100_000,
    "number.json": b"3", "no_outline.json": b'[{"bbox": [1, 2, 3, 4]}]', "line.json": b'[{"segmentation": [[1, 2, 3, 4]]}]',
    "odd.json": b'[{"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}]', "infinite.json": b'[{"segmentation": [[1, 2, 3, 1e999, 5, 6]]}]',
    "words.json": b'[{"segmentation": [["a", "b"]]}]', "dict.json": b'[{"segmentation": [{"x": 1}]}]',
    "counts.json": b'[{"segmentation": {"size": [6, 9], "counts": [9999999999999999999]}}]',
    "damaged.json": b'[{"segmentation": {"size": [6, 9], "counts": "~"}}]', "countless.json": b'[{"segmentation": {"size": [6, 9]}}]',
    "strings.json": b'[{"segmentation": {"size": ["6", {}], "counts": "0"}}]', "two.json": b'{"images": [1, 2], "annotations": []}',
    "picture.png": b"no picture", "unknown.mat": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damaged_and_hostile_files_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(ValueError, match=name):
        load_mask_file(tmp_path / name, SIZE)


def test_files_that_are_not_there_or_beyond_the_bounds(tmp_path, monkeypatch, overlapping):
    for name in ("a.png", "a.npy", "a.json"):
        with pytest.raises(ValueError, match="does not exist|is no file"):
            load_mask_file(tmp_path / name, SIZE)
        with pytest.raises(ValueError, match="does not exist|is no file"):
            check_mask_file(tmp_path / name, SIZE)
    os.symlink(tmp_path / "loop.npy", tmp_path / "loop.npy")
    with pytest.raises(ValueError, match=r"loop\.npy is no file"):
        load_mask_file(tmp_path / "loop.npy", SIZE)
    paths = [write(tmp_path / name, overlapping) for name in ("m.json", "m.npy", "m.npz", "m")]
    monkeypatch.setattr("gen.segmentation.mask_files.MAX_MASK_PIXELS", 3 * HEIGHT * WIDTH - 1)
    for path in paths:
        with pytest.raises(ValueError, match="more than the bound"):
            load_mask_file(path, SIZE)
    monkeypatch.setattr("image_utils.io.MAX_BYTES", 10)
    with pytest.raises(ValueError, match="bytes, more than the bound of 10"):
        check_mask_file(paths[0], SIZE)


def test_a_bomb_of_zeros_is_refused_by_its_header(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w", force_zip64=True) as file:
        file.write(header_of(f"(100000000, {HEIGHT}, {WIDTH})"))
        file.write(bytes(1 << 24))
    with pytest.raises(ValueError, match="more than the bound"):
        load_mask_file(tmp_path / "bomb.npz", SIZE)


def test_an_npz_of_several_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros((HEIGHT, WIDTH), int), b=np.zeros((HEIGHT, WIDTH), int))
    with pytest.raises(ValueError, match="2 arrays, and one is expected"):
        load_mask_file(tmp_path / "m.npz", SIZE)


def test_pictures_that_are_no_masks_are_refused(tmp_path, photographs):
    photograph = photographs["chelsea"]
    photograph.save(tmp_path / "photograph.png")
    with pytest.raises(ValueError, match="colours, so it was smoothed"):
        load_mask_file(tmp_path / "photograph.png", photograph.size)
    photograph.convert("RGBA").save(tmp_path / "clear.png")
    with pytest.raises(ValueError, match="transparency"):
        load_mask_file(tmp_path / "clear.png", photograph.size)
    photograph.save(tmp_path / "jpeg.jpg")
    (tmp_path / "jpeg.jpg").rename(tmp_path / "jpeg.png")
    with pytest.raises(ValueError, match=r"jpeg\.png cannot be read .* \(PNG\)"):
        check_mask_file(tmp_path / "jpeg.png", photograph.size)
    np.save(tmp_path / "negative.npy", np.full((HEIGHT, WIDTH), -1))
    with pytest.raises(ValueError, match="label -1"):
        load_mask_file(tmp_path / "negative.npy", SIZE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no PNG"):
        load_mask_file(tmp_path / "empty", SIZE)
