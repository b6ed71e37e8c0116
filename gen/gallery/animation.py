"""Animation: frames that a notebook plays where it would show a picture."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from image_utils.video import save_video


@dataclass(frozen=True)
class Animation:
    """Frames of one size; as the last line of a notebook's cell it plays, over and over.

    Attributes:
        frames: in their order.
        fps: frames a second.
    """

    frames: list[Image.Image]
    fps: float = 6.0

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Return the animation as a GIF, and as a PNG for viewers of notebooks that know no GIF (IPython's protocol)."""
        with TemporaryDirectory() as folder:
            files = {kind: Path(folder) / f"frames.{kind}" for kind in ("gif", "png")}
            for path in files.values():
                save_video(self.frames, path, self.fps)
            bundle = {f"image/{kind}": b64encode(path.read_bytes()).decode() for kind, path in files.items()}
        return {**bundle, "text/plain": f"{len(self.frames)} frames"}
