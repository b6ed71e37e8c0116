"""Read and write moving pictures: animations by Pillow, videos by PyAV."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from types import ModuleType

from PIL import Image, PngImagePlugin

from image_utils.bounded import (
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    RefusedPictureError,
    check_pixels,
    opened,
    plain_file,
    shown,
    unreadable,
)
from image_utils.io import whole_or_not
from image_utils.srgb import upright_srgb

# FFmpeg is told the container: left to guess, it would also follow playlists to other files.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "matroska", ".mkv": "matroska", ".avi": "avi"}
MAX_VIDEO_BYTES = 1 << 30
ANIMATED = ("GIF", "PNG", "WEBP")
MAX_FPS = {".gif": 50.0, ".webp": 1000.0, ".png": 1000.0, ".mp4": 1000.0}  # viewers slow down GIFs of shorter frames
BT601 = 5
MP4_CRF = "18"  # H.264's constant quality at which people see no loss


def load_frames(path: str | Path, max_frames: int, *, max_bytes: int | None = None, max_pixels: int = 4 * MAX_PIXELS) -> list[Image.Image]:
    """Read the first frames of an animation (GIF, PNG, WebP) or of a video (mp4, mov, webm, mkv, avi; needs the package av).

    Args:
        path: the suffix tells a video; everything else is told by its content. A still picture has one frame.
        max_frames: most frames that are read.
        max_bytes: largest file that is opened; None is `MAX_BYTES` for an animation and `MAX_VIDEO_BYTES` for a video.
        max_pixels: most pixels that are decoded, all frames together.

    Returns:
        Frames of one size, each as `load_image` gives a picture; equal ones that the file joins come once.

    Raises:
        ValueError: if `load_image` would refuse the file, a frame is damaged or of another size, or the package av is missing.
    """
    if max_frames < 1:
        raise ValueError(f"max_frames={max_frames} asks for no frame; give 1 or more")
    container = CONTAINERS.get(os.path.splitext(path)[1].lower())
    if container is not None:
        frames = _video_frames(path, container, max_bytes or MAX_VIDEO_BYTES, max_pixels)
    else:
        frames = _animation_frames(path, max_bytes or MAX_BYTES, max_pixels)
    found: list[Image.Image] = []
    with closing(frames):
        for frame in islice(frames, max_frames):
            if found and frame.size != found[0].size:
                sizes = f"{_size(found[0])} and of {_size(frame)}"
                raise RefusedPictureError(f"image {shown(path)} has frames of {sizes} pixels; save them at one size")
            found.append(frame)
    if not found:
        raise RefusedPictureError(f"image {shown(path)} has no frame that can be decoded; give an undamaged file")
    return found


def save_video(frames: Iterable[Image.Image], path: str | Path, fps: int | float) -> None:
    """Write frames as a lossless animated WebP or PNG, a GIF of 256 colours a frame, or an mp4 (H.264; needs the package av).

    The file is written whole or not at all. Animations hold a frame that equals the one before for longer instead of twice.

    Args:
        frames: pictures of one size.
        path: ends in .webp, .png, .gif or .mp4; its folder is made if missing; an existing file is replaced.
        fps: frames a second; single frames of a GIF last whole hundredths of a second, all together the right time.

    Raises:
        ValueError: if there is no frame, the sizes differ or do not fit the format, the suffix or `fps` is not possible, or the
            package av is missing.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MAX_FPS:
        raise ValueError(f"cannot save {shown(path)}: give a name that ends in {', '.join(MAX_FPS)}")
    if not 0 < fps <= MAX_FPS[suffix]:
        raise ValueError(f"fps={fps} is not possible in {shown(path)}; give more than 0 and at most {MAX_FPS[suffix]:g}")
    pictures = [frame.convert("RGB") for frame in frames]
    if not pictures:
        raise ValueError(f"no frame to save as {shown(path)}; give at least one")
    for index, picture in enumerate(pictures):
        if picture.size != pictures[0].size:
            raise ValueError(f"frame {index} has {_size(picture)} pixels, frame 0 {_size(pictures[0])}; resize all to one size")
    if suffix == ".mp4" and (pictures[0].width % 2 or pictures[0].height % 2):
        raise ValueError(f"frames of {_size(pictures[0])} pixels do not fit in an mp4, whose sides are even; cut a pixel or save as .webp")
    av = _pyav(path) if suffix == ".mp4" else None
    with whole_or_not(path) as temporary:
        if av is not None:
            _write_mp4(av, pictures, temporary, fps)
        else:
            _write_animation(pictures, temporary, suffix, fps)


def _animation_frames(path: str | Path, max_bytes: int, max_pixels: int) -> Generator[Image.Image, None, None]:
    with opened(path, FORMATS, max_bytes, max_pixels) as image:
        # An animated PNG may begin with a picture for viewers that show no animation.
        first = 1 if isinstance(image, PngImagePlugin.PngImageFile) and image.default_image else 0
        for index in range(first, 1 << 31):
            try:
                if index:
                    image.seek(index)
            except EOFError:
                return
            check_pixels(path, (image.width, image.height * (index + 1 - first)), max_pixels)
            yield upright_srgb(image, shown(path))
            if image.format not in ANIMATED:
                return


def _video_frames(path: str | Path, container: str, max_bytes: int, max_pixels: int) -> Generator[Image.Image, None, None]:
    av = _pyav(path)
    with plain_file(path, f"a video ({', '.join(CONTAINERS)})", max_bytes) as file:
        try:
            with av.open(file, format=container) as video:
                if not video.streams.video:
                    raise RefusedPictureError(f"image {shown(path)} is a {container} file without pictures; give a video")
                stream = video.streams.video[0]
                check_pixels(path, (stream.width, stream.height), max_pixels)
                stream.codec_context.options = {"err_detect": "explode"}  # damage is an error, not a grey patch
                for index, frame in enumerate(video.decode(stream)):
                    if frame.is_corrupt:
                        raise ValueError(f"frame {index} is damaged")
                    check_pixels(path, (frame.width, frame.height * (index + 1)), max_pixels)
                    yield frame.to_image().rotate(frame.rotation, expand=True)
        except RefusedPictureError:
            raise
        except Exception as error:
            raise unreadable(path, tuple(CONTAINERS), error) from error


def _write_animation(pictures: Sequence[Image.Image], path: Path, suffix: str, fps: int | float) -> None:
    unit = 10 if suffix == ".gif" else 1  # milliseconds
    ends = [round(count * 1000 / (fps * unit)) * unit for count in range(len(pictures) + 1)]
    durations = [end - start for start, end in pairwise(ends)]
    kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[suffix]
    options = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)


def _write_mp4(av: ModuleType, pictures: Sequence[Image.Image], path: Path, fps: int | float) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": MP4_CRF})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"  # what every player shows
        stream.codec_context.colorspace = BT601  # what the conversion from RGB uses; players take untold large videos for BT.709
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def _pyav(path: str | Path) -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{shown(path)} is a video, which needs the package av: pip install -c constraints.txt -e '.[data]'; "
            "animations (.webp, .png, .gif) need nothing"
        ) from error
    return av


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"
