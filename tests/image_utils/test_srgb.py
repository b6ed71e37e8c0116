"""Every mode, depth, turn and profile becomes the upright sRGB picture that people see."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from image_utils.bounded import shown
from image_utils.io import check_image, load_image, load_label_map, save_image
from image_utils.srgb import TURNS
from tests.image_utils.bad_pictures import png, saved


def loaded(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    return load_image(tmp_path / "a")


def fixed(*values):
    """Return numbers as an ICC profile writes them."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def icc_profile(kind, space, connection, tags):
    """Return a profile of ICC's version 2, for colours that no profile of Pillow's tells apart from sRGB."""
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": description, b"cprt": b"text" + bytes(5), b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249), **tags}
    start, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02100000, kind, space, connection, b"acsp").ljust(68, b"\0")
    return (header + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def curve(gamma):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def swapped_profile():
    """Return sRGB's primaries with red and blue swapped."""
    primaries = {b"bXYZ": (0.4361, 0.2225, 0.0139), b"gXYZ": (0.3851, 0.7169, 0.0971), b"rXYZ": (0.1431, 0.0606, 0.7142)}
    tags = {name: b"XYZ " + bytes(4) + fixed(*value) for name, value in primaries.items()}
    return icc_profile(b"mntr", b"RGB ", b"XYZ ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(2.2))})


def black_ink_profile():
    """Return a printer whose coloured inks cannot be seen."""
    ramp = bytes(range(256))
    lightness = b"".join(bytes([255 * (1 - corner % 2), 128, 128]) for corner in range(16))  # black varies fastest
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * 4 + lightness + ramp * 3
    return icc_profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def test_a_profile_is_applied_and_not_carried_on(tmp_path):
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        found = loaded(tmp_path, saved(kind, image, icc_profile=swapped_profile()))
        assert np.abs(np.array(found.getpixel((2, 2))) - (0, 0, 255)).max() <= 4, kind
        assert found.info == {}
    save_image(found, tmp_path / "b.png")
    assert load_image(tmp_path / "b.png").tobytes() == found.tobytes()


def test_profiles_of_grey_and_of_inks(tmp_path):
    linear = icc_profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve(1.0)})
    assert loaded(tmp_path, saved("PNG", Image.new("L", (2, 2), 128), icc_profile=linear)).getpixel((0, 0)) == (188, 188, 188)
    cyan = saved("JPEG", Image.new("CMYK", (8, 8), (255, 0, 0, 0)), quality=95, icc_profile=black_ink_profile())
    assert min(loaded(tmp_path, cyan).getpixel((4, 4))) >= 250
    assert loaded(tmp_path, saved("JPEG", Image.new("CMYK", (8, 8), (255, 0, 0, 0)))).getpixel((4, 4)) == (0, 255, 255)


def test_a_picture_in_srgb_keeps_every_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(loaded(tmp_path, saved("PNG", Image.fromarray(pixels), icc_profile=srgb))), pixels)


def test_a_profile_that_does_not_fit_is_left_aside_with_a_warning(tmp_path):
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    with pytest.warns(UserWarning, match=r"a: its ICC profile is left aside \(cannot open profile"):
        assert loaded(tmp_path, saved("PNG", red, icc_profile=b"rubbish")).getpixel((0, 0)) == (255, 0, 0)
    with pytest.warns(UserWarning, match="it is made for CMYK, the picture is in mode RGB"):
        assert loaded(tmp_path, saved("PNG", red, icc_profile=black_ink_profile())).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_becomes_upright(tmp_path, turn):
    upright = Image.fromarray(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8)))
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(turn, TURNS.get(turn))
    exif = Image.Exif()
    exif[0x0112] = turn
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        found = loaded(tmp_path, saved(kind, upright if back is None else upright.transpose(back), exif=exif))
        assert found.size == check_image(tmp_path / "a") == (48, 32)
        assert np.abs(np.asarray(found.convert("L"), int) - np.asarray(upright)).max() <= 12, kind


def test_sixteen_bits_a_channel_keep_the_upper_eight(tmp_path):
    grey = np.array([[0, 0x1234, 0x80FF, 0xFFFF]], np.uint16)
    header = struct.pack(">IIBBBBB", 4, 1, 16, 2, 0, 0, 0)  # colour, as no encoder of Pillow's writes it
    colour = png(header, (b"IDAT", zlib.compress(b"\0" + grey.astype(">u2").repeat(3).tobytes())))
    pgm = b"P5\n4 1\n65535\n" + grey.astype(">u2").tobytes()
    for content in (saved("PNG", Image.fromarray(grey)), saved("TIFF", Image.fromarray(grey)), colour, pgm):
        assert np.asarray(loaded(tmp_path, content))[0].tolist() == [[value] * 3 for value in (0, 0x12, 0x80, 0xFF)]


def test_thirty_two_bits_are_refused_for_nothing_says_what_is_white(tmp_path):
    for pixels in (np.full((2, 2), 0.5, np.float32), np.full((2, 2), 70_000, np.int32)):
        with pytest.raises(ValueError, match="pixels of 32 bits"):
            loaded(tmp_path, saved("TIFF", Image.fromarray(pixels)))


def test_transparency_of_every_kind_shows_white(tmp_path):
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    assert loaded(tmp_path, saved("PNG", palette)).getpixel((0, 0)) == (200, 10, 10)
    assert loaded(tmp_path, saved("PNG", palette, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert loaded(tmp_path, saved("GIF", palette, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert loaded(tmp_path, saved("PNG", Image.new("LA", (1, 1), (0, 51)))).getpixel((0, 0)) == (204, 204, 204)
    assert loaded(tmp_path, saved("WEBP", Image.new("RGBA", (1, 1), (9, 9, 9, 0)))).getpixel((0, 0)) == (255, 255, 255)
    assert loaded(tmp_path, saved("PNG", Image.new("RGB", (1, 1), (9, 9, 9)), transparency=(9, 9, 9))).getpixel((0, 0)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        content = saved(kind, frames[0], save_all=True, append_images=frames[1:])
        assert np.abs(np.array(loaded(tmp_path, content).getpixel((4, 4))) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colour_type", [0, 3])
def test_labels_of_any_depth_are_what_was_stored(tmp_path, bits, colour_type):
    """Grey of 2 or 4 bits is spread over 0..255 when it is shown; a label must not be."""
    labels = np.arange(8) % min(2**bits, 8)
    row = np.packbits(np.unpackbits(labels.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes()
    palette = [(b"PLTE", bytes(3 * min(2**bits, 256)))] if colour_type == 3 else []
    header = struct.pack(">IIBBBBB", 8, 1, bits, colour_type, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(png(header, *palette, (b"IDAT", zlib.compress(b"\0" + row))))
    assert load_label_map(tmp_path / "a.png").tolist() == [labels.tolist()]


def test_messages_stay_one_line(tmp_path):
    assert shown(tmp_path / "plain ä.png") == str(tmp_path / "plain ä.png")
    with pytest.raises(ValueError, match=r"a\\nb\.png' does not exist") as refusal:
        load_image(tmp_path / "a\nb.png")
    assert "\n" not in str(refusal.value)
    for path in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(ValueError, match="cannot be opened|does not exist"):
            load_image(path)
    with pytest.raises(ValueError, match=r"cannot save '.*a\\nb\.gif'"):
        save_image(Image.new("RGB", (1, 1)), tmp_path / "a\nb.gif")
