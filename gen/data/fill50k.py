"""Fill50k, and any data set in its form: pictures, each with a conditioning picture for a ControlNet and a prompt."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.segmentation import Classical, Segmenter
from image_utils import io


class Entry(NamedTuple):
    """One line of `prompt.json`.

    Attributes:
        source: path of the conditioning picture within the root.
        target: path of the picture to paint within the root.
        prompt: its caption.
    """

    source: str
    target: str
    prompt: str


@dataclass(kw_only=True)
class Fill50k(PictureData):
    """ControlNet's example data: filled circles to paint, outlined circles to be conditioned on.

    ```
    root/prompt.json         (a line a picture: {"source": "source/0.png", "target": "target/0.png", "prompt": "pale golden rod circle"})
    root/source/0.png ...    (the condition)
    root/target/0.png ...    (the picture)
    ```

    With `dataset.control=outlines` or `edges`, which a model with a ControlNet needs, the batch's conditioning pictures are those of the
    data; with `none` they are not read. There are no labels.

    Attributes:
        root: the folder of the data set.
        segmenter: cuts the pictures, which have no masks.

    Source: Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models, ICCV 2023; training/fill50k.zip of
    huggingface.co/lllyasviel/ControlNet, under the OpenRAIL licence.
    """

    root: str = "data/fill50k"
    segmenter: Segmenter = field(default_factory=Classical)

    def entries(self) -> list[Entry]:
        """List the lines of `prompt.json`, in their order."""
        path = Path(self.root) / "prompt.json"
        if not path.is_file():
            raise ValueError(f"{path} does not exist; dataset.root is the folder with prompt.json, source and target in it")
        with open(path, encoding="utf-8-sig", errors="replace") as lines:
            return [_entry(line, f"{path}, line {number},") for number, line in enumerate(lines, start=1) if line.strip()]

    def check(self, entry: Entry) -> None:
        """Refuse an entry whose files are not there; their headers are read with them."""
        for path in (self.inside(name=entry.source), self.inside(name=entry.target)):
            if not path.is_file():
                raise ValueError(f"{path}, named in prompt.json, does not exist; unpack the data set again")

    def read(self, entry: Entry) -> Picture:
        """Read a picture and, where it is used, its conditioning picture."""
        image, control = io.load_image(self.inside(name=entry.target)), None
        if self.control != "none":
            control = io.load_image(self.inside(name=entry.source))
            if control.size != image.size:
                raise ValueError(
                    f"{entry.source} is {control.width}x{control.height} pixels but {entry.target} is {image.width}x{image.height} in "
                    f"{self.root}; make them one size"
                )
        return Picture(image, caption=entry.prompt, control=control, name=entry.target)


def _entry(line: str, place: str) -> Entry:
    try:
        fields = json.loads(line)
        entry = Entry(*(fields[name] for name in Entry._fields))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{place} is not an object with "source", "target" and "prompt" ({error!r}); write one a line') from error
    if not all(isinstance(value, str) for value in entry):
        raise ValueError(f'{place} has a "source", "target" or "prompt" that is not a text; write one a line')
    return entry
