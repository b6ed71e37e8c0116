"""Animation: frames that a notebook plays where it would show a picture."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from image_utils.grid import image_grid
from image_utils.video import save_video


@dataclass(frozen=True)
class Animation:
    """Frames that play over and over where they are the last line of a notebook's cell.

    Attributes:
        frames: in their order, of one size.
        fps: frames a second.
    """

    frames: Sequence[Image.Image]
    fps: int | float = 6

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("an animation of no frames; give at least one, such as the frames of a panel that has some")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return the frames as a GIF and as a moving PNG, for viewers of notebooks that show no GIF (IPython's protocol)."""
        # One palette for all frames: no flicker, and half the bytes. It covers rare colours too, such as those of one small object.
        palette = image_grid([self.frames]).quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        frames = {"gif": [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames], "png": self.frames}
        bundle = {"text/plain": f"{len(self.frames)} frames"}
        with TemporaryDirectory() as folder:
            for kind, pictures in frames.items():
                path = Path(folder) / f"frames.{kind}"
                save_video(pictures, path, self.fps)
                bundle[f"image/{kind}"] = b64encode(path.read_bytes()).decode()
        return bundle
