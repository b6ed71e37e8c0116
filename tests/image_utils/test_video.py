"""Frames come back from animations and videos in order and colour, and what is no moving picture is refused by name."""

from __future__ import annotations

import os
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from image_utils.bounded import RefusedPictureError
from image_utils.video import load_frames, save_video


def frame(index, width=64, height=48):
    """Return a blue and red picture with a green square that moves to the right."""
    pixels = np.full((height, width, 3), (200, 0, 0), np.uint8)
    pixels[:, : width // 2] = (20, 40, 220)
    pixels[8:16, 4 + index * 8 : 12 + index * 8] = (30, 230, 40)
    return Image.fromarray(pixels)


FRAMES = [frame(index) for index in range(6)]


def differences(first, second):
    pairs = zip(first, second, strict=True)
    return [float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean()) for one, other in pairs]


def duration(path):
    """Return the milliseconds that an animation lasts."""
    with Image.open(path) as image:
        total = 0.0
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            total += image.info["duration"]
        return total


@pytest.mark.parametrize("suffix", ["webp", "png", "gif"])
def test_an_animation_comes_back_exactly_and_lasts_as_told(tmp_path, suffix):
    save_video(FRAMES, tmp_path / f"new/a.{suffix}", fps=24)
    assert differences(load_frames(tmp_path / f"new/a.{suffix}", 100), FRAMES) == [0] * 6
    assert abs(duration(tmp_path / f"new/a.{suffix}") - 250) <= 5
    assert os.listdir(tmp_path / "new") == [f"a.{suffix}"]


def test_a_video_comes_back_in_order_and_colour(tmp_path):
    pytest.importorskip("av")
    save_video(FRAMES, tmp_path / "a.mp4", fps=12)
    found = load_frames(tmp_path / "a.mp4", 100)
    assert max(differences(found, FRAMES)) < 3
    for index, picture in enumerate(found):
        distances = [differences([picture], [other])[0] for other in FRAMES]
        assert int(np.argmin(distances)) == index
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_only_the_first_frames_are_read(tmp_path):
    save_video(FRAMES, tmp_path / "a.webp", fps=10)
    assert differences(load_frames(tmp_path / "a.webp", 2), FRAMES[:2]) == [0, 0]
    pytest.importorskip("av")
    save_video(FRAMES, tmp_path / "a.mp4", fps=10)
    assert len(load_frames(tmp_path / "a.mp4", 2)) == 2


def test_a_still_picture_has_one_frame(tmp_path):
    FRAMES[0].save(tmp_path / "a.jpg")
    FRAMES[0].save(tmp_path / "a.tiff", save_all=True, append_images=FRAMES[1:])
    assert len(load_frames(tmp_path / "a.jpg", 5)) == len(load_frames(tmp_path / "a.tiff", 5)) == 1


def test_the_picture_for_viewers_without_animation_is_no_frame(tmp_path):
    poster = Image.new("RGB", FRAMES[0].size, "white")
    poster.save(tmp_path / "a.png", save_all=True, append_images=FRAMES, default_image=True)
    assert differences(load_frames(tmp_path / "a.png", 100), FRAMES) == [0] * 6


def test_transparent_frames_are_laid_on_white(tmp_path):
    frames = [Image.new("RGBA", (8, 8), (255, 0, 0, 0)), Image.new("RGBA", (8, 8), (0, 0, 255, 255))]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert [picture.getpixel((0, 0)) for picture in load_frames(tmp_path / "a.webp", 5)] == [(255, 255, 255), (0, 0, 255)]


def test_a_phone_held_upright_gives_upright_frames(tmp_path):
    """Phones store pictures lying and write the turn into the track's header."""
    pytest.importorskip("av")
    save_video(FRAMES, tmp_path / "a.mp4", fps=10)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)  # a quarter clockwise
    (tmp_path / "b.mp4").write_bytes(content)
    turned = [picture.transpose(Image.Transpose.ROTATE_270) for picture in FRAMES]
    assert max(differences(load_frames(tmp_path / "b.mp4", 100), turned)) < 3


@pytest.mark.parametrize(("suffix", "codec"), [("webm", "libvpx-vp9"), ("avi", "mpeg4"), ("mov", "libx264"), ("mkv", "ffv1")])
def test_other_containers_and_codecs_are_read(tmp_path, suffix, codec):
    av = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this build of av has no {codec}")
    with av.open(str(tmp_path / f"a.{suffix}"), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 2_000_000
        for picture in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    assert max(differences(load_frames(tmp_path / f"a.{suffix}", 10), FRAMES)) < 6


def test_a_video_in_the_colours_of_television_keeps_them(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = 1  # BT.709
        green = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (20, 200, 60)))
        container.mux(stream.encode(green.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode())
    found = np.asarray(load_frames(tmp_path / "a.mkv", 1)[0], int)
    assert np.abs(found - (20, 200, 60)).max() <= 6


def test_frames_that_do_not_fit_are_refused_and_the_old_file_is_kept(tmp_path):
    save_video(FRAMES, tmp_path / "a.webp", fps=10)
    with pytest.raises(ValueError, match=r"frame 1 has 5x5 pixels, frame 0 64x48"):
        save_video([FRAMES[0], Image.new("RGB", (5, 5))], tmp_path / "a.webp", fps=10)
    with pytest.raises(ValueError, match=r"65x48.*sides are even"):
        save_video([frame(0, width=65)], tmp_path / "a.mp4", fps=10)
    with pytest.raises(ValueError, match="no frame"):
        save_video([], tmp_path / "a.webp", fps=10)
    with pytest.raises(ValueError, match=r"a\.avi: give a name that ends in \.gif, "):
        save_video(FRAMES, tmp_path / "a.avi", fps=10)
    with pytest.raises(ValueError, match="fps=60 is not possible"):
        save_video(FRAMES, tmp_path / "a.gif", fps=60)
    with pytest.raises(ValueError, match="fps=0 "):
        save_video(FRAMES, tmp_path / "a.mp4", fps=0)
    assert len(load_frames(tmp_path / "a.webp", 10)) == 6 and os.listdir(tmp_path) == ["a.webp"]


def test_bad_videos_and_bounds_are_named(tmp_path):
    pytest.importorskip("av")
    with pytest.raises(ValueError, match=r"none\.mp4 does not exist"):
        load_frames(tmp_path / "none.mp4", 5)
    (tmp_path / "text.mp4").write_text("no video\n" * 50)
    with pytest.raises(RefusedPictureError, match=r"text\.mp4 cannot be read"):
        load_frames(tmp_path / "text.mp4", 5)
    save_video(FRAMES, tmp_path / "a.mp4", fps=10)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:900])
    with pytest.raises(RefusedPictureError, match=r"cut\.mp4 cannot be read"):
        load_frames(tmp_path / "cut.mp4", 5)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    start = content.index(b"mdat") + 900  # behind what the encoder says of itself
    content[start : start + 200] = bytes(200)
    (tmp_path / "grey.mp4").write_bytes(content)
    with pytest.raises(RefusedPictureError, match=r"grey\.mp4 (cannot be read|has no frame)"):
        load_frames(tmp_path / "grey.mp4", 10)
    (tmp_path / "list.avi").write_text(f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/a.mp4\n")
    with pytest.raises(RefusedPictureError, match=r"list\.avi cannot be read"):
        load_frames(tmp_path / "list.avi", 5)
    save_video(FRAMES, tmp_path / "a.webp", fps=10)
    for name in ("a.mp4", "a.webp"):
        assert len(load_frames(tmp_path / name, 2, max_pixels=64 * 48 * 2)) == 2
        with pytest.raises(ValueError, match="64x144 pixels, more than the bound of 6144"):
            load_frames(tmp_path / name, 3, max_pixels=64 * 48 * 2)
        with pytest.raises(ValueError, match="bytes, more than the bound of 9"):
            load_frames(tmp_path / name, 3, max_bytes=9)
    with pytest.raises(ValueError, match="max_frames=0"):
        load_frames(tmp_path / "a.webp", 0)


def test_the_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"a\.mp4 is a video, which needs the package av: pip install"):
        save_video(FRAMES, tmp_path / "a.mp4", fps=10)
    with pytest.raises(ValueError, match=r"b\.mov is a video, which needs the package av: pip install"):
        load_frames(tmp_path / "b.mov", 3)
    assert os.listdir(tmp_path) == []
