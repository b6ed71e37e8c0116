"""Pictures and label maps from bytes: the same as from a file with these bytes, within the same bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from image_utils import io


def test_bytes_of_a_file_are_read_as_the_file_is(tmp_path, photographs):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    photographs["chelsea"].save(tmp_path / "a.jpg", exif=exif)
    image = io.decode_image((tmp_path / "a.jpg").read_bytes(), "record 3")
    assert image.size == (300, 451)
    assert np.array_equal(np.asarray(image), np.asarray(io.load_image(tmp_path / "a.jpg")))
    label_map = torch.arange(400).view(20, 20)
    io.save_label_map(label_map, tmp_path / "a.png")
    assert torch.equal(io.decode_label_map((tmp_path / "a.png").read_bytes(), "record 3"), label_map)


def test_bounds_and_damage_are_refused_with_the_name_that_was_given(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    for refused, message in (
        (lambda: io.decode_image(data, "record 3", max_pixels=1000), r"image record 3 has 40x30 pixels, more than the bound"),
        (lambda: io.decode_image(data, "record 3", max_bytes=10), r"image record 3 has (\d+|too many) bytes, more than the bound of 10"),
        (lambda: io.decode_image(data[:60], "record 3"), r"image record 3 cannot be read"),
        (lambda: io.decode_image(b"", "record 3"), r"image record 3 cannot be read"),
        (lambda: io.decode_label_map(data, "record 3"), r"label map record 3 is a picture in mode RGB"),
        (lambda: io.decode_label_map(b"no PNG", "record 3"), r"image record 3 cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
