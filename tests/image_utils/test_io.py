"""Pictures come back as they were written, and bad files are refused by name."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from image_utils.io import load_image, load_label_map, read_text, save_image, save_label_map


@pytest.fixture
def picture():
    generator = np.random.default_rng(0)
    return Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8))


def same_pixels(first, second):
    return first.mode == second.mode and np.array_equal(np.asarray(first), np.asarray(second))


def test_saved_picture_comes_back_with_its_text(tmp_path, picture):
    text = {"plan": '{"edits": []}', "title": "façade ✓"}
    save_image(picture, tmp_path / "new" / "a.png", text)
    assert same_pixels(load_image(tmp_path / "new" / "a.png"), picture)
    assert read_text(tmp_path / "new" / "a.png") == text


def test_nothing_but_the_picture_is_left_in_the_folder(tmp_path, picture):
    save_image(picture, tmp_path / "a.png")
    save_image(picture, tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]


def test_failed_save_keeps_the_old_picture(tmp_path, picture):
    save_image(picture, tmp_path / "a.png")
    with pytest.raises(OSError, match="cannot write mode F"):
        save_image(Image.fromarray(np.zeros((2, 2), np.float32)), tmp_path / "a.png")
    assert os.listdir(tmp_path) == ["a.png"]
    assert same_pixels(load_image(tmp_path / "a.png"), picture)


def test_only_png_is_written(tmp_path, picture):
    with pytest.raises(ValueError, match=r"a\.jpg.*\.png"):
        save_image(picture, tmp_path / "a.jpg")


def test_exif_orientation_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    picture.save(tmp_path / "a.png", exif=exif)
    assert same_pixels(load_image(tmp_path / "a.png"), picture.transpose(Image.Transpose.ROTATE_270))


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA"])
def test_other_modes_become_rgb(tmp_path, picture, mode):
    suffix = "tiff" if mode == "CMYK" else "png"
    picture.convert("L" if mode == "LA" else mode).convert(mode).save(tmp_path / f"a.{suffix}")
    assert load_image(tmp_path / f"a.{suffix}").mode == "RGB"


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(np.full((2, 2), 0x8000, np.uint16)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (128, 128, 128)


def test_missing_folder_and_damaged_files_are_named(tmp_path, picture):
    with pytest.raises(ValueError, match=r"none\.png does not exist"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="is a folder"):
        load_image(tmp_path)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text\.png cannot be read"):
        load_image(tmp_path / "text.png")
    save_image(picture, tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for length in range(0, len(whole) - 30, 7):
        (tmp_path / "cut.png").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.png cannot be read"):
            load_image(tmp_path / "cut.png")


def test_bounds_on_bytes_and_pixels(tmp_path, picture):
    save_image(picture, tmp_path / "a.png")
    with pytest.raises(ValueError, match="bytes, more than the bound of 10"):
        load_image(tmp_path / "a.png", max_bytes=10)
    with pytest.raises(ValueError, match="7x5 pixels, more than the bound of 34"):
        load_image(tmp_path / "a.png", max_pixels=34)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bomb_is_refused_from_its_header(tmp_path, side):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(ValueError, match=r"bomb\.png has .*pixels.*make it smaller"):
        load_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("largest", [1, 255, 300])
def test_label_map_round_trip(tmp_path, largest):
    label_map = torch.tensor([[0, 1], [largest, 0]])
    save_label_map(label_map, tmp_path / "a.png")
    assert torch.equal(load_label_map(tmp_path / "a.png"), label_map)


def test_palette_label_map_gives_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 2], [1, 0]], np.uint8), mode=None).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.putdata([0, 2, 1, 0])
    image.save(tmp_path / "a.png")
    assert load_label_map(tmp_path / "a.png").tolist() == [[0, 2], [1, 0]]


def test_coloured_label_map_is_refused(tmp_path, picture):
    save_image(picture, tmp_path / "a.png")
    with pytest.raises(ValueError, match="mode RGB"):
        load_label_map(tmp_path / "a.png")
    with pytest.raises(ValueError, match="label 65536"):
        save_label_map(torch.tensor([[65536]]), tmp_path / "b.png")


def test_text_of_a_jpeg_is_refused(tmp_path, picture):
    picture.save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg cannot be read"):
        read_text(tmp_path / "a.jpg")
