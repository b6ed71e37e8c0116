"""WebDataset tar shards as a dataset: read by seek, shuffled within windows of shards."""

from __future__ import annotations

import itertools
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gen.data.formats.encoded import encoded_picture
from gen.data.formats.tar_samples import DamagedShardError, read_sample, sample_spans
from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.segmentation import Classical, GroundTruth, Segmenter
from image_utils.io import MAX_BYTES

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 20.0
_PICTURES = ("jpg", "jpeg", "png", "webp")
_LABEL_MAPS = ("mask.png", "seg.png")
_CAPTIONS = ("txt", "json")
_BOUNDS = dict.fromkeys((*_PICTURES, *_LABEL_MAPS), MAX_BYTES) | dict.fromkeys(_CAPTIONS, 1 << 20)


@dataclass(kw_only=True)
class WebShards(PictureData):
    """Shards of the WebDataset format: plain tars in which the files of one sample have one name and follow one another.

    Of a sample are read `jpg`, `jpeg`, `png` or `webp`: the picture; `mask.png` or `seg.png`: its label map (grey or palette, 0 is the
    background); `txt`, or `json` with the key `caption`: its caption. Samples without a picture are left out.

    The headers of every shard are walked once, which takes about a second per 10,000 samples, and remembered in the user's cache
    folder. Then a sample is one place in one file. Nothing is unpacked to disk. Shards lie on a disk that this machine reads: addresses
    (https, s3, pipe) and compressed tars are refused, for neither lets a run continue in the middle.

    Attributes:
        root: the folder of the shards, all its `*.tar` in the order of their names, or their names with numbers in braces,
            `/data/train-{000000..000131}.tar`.
        window: shards whose samples are shuffled together; an epoch takes all shards in random order, window by window, so that what is
            read at one time lies in few files.
        segmenter: by default the label map of the sample, and colour regions where there is none.
    """

    root: str
    window: int = 8
    segmenter: Segmenter = field(default_factory=lambda: GroundTruth(fallback=Classical()))

    def check_root(self) -> None:
        """Refuse addresses."""
        if self.window < 1:
            raise ValueError(f"dataset.window={self.window} is too small; it must be at least 1")
        if "://" in self.root or self.root.startswith("pipe:"):
            raise ValueError(f"dataset.root={self.root!r} is an address; copy the shards to a disk and give their folder")

    def entries(self) -> Sequence[Any]:
        """Return the numbers of all samples; those that are sound in a damaged shard count where bad files are skipped."""
        self._shards = _listed(self.root)
        spans, told = [], time.monotonic()
        for number, shard in enumerate(self._shards):
            spans.append(self._spans(shard))
            if time.monotonic() - told > _PATIENCE_SECONDS:
                told = time.monotonic()
                logger.warning("%s: the headers of %d of %d shards are walked", self.root, number + 1, len(self._shards))
        self._first = np.cumsum([0, *(len(of_shard) for of_shard in spans)])  # number of each shard's first sample, and of all
        self._places = np.concatenate(spans)
        return range(len(self._places))

    def read(self, entry: int) -> Picture:
        """Read a sample's picture, label map and caption."""
        shard = self._shards[self._shard_of(entry)]
        key, contents = read_sample(shard, tuple(self._places[entry].tolist()), _BOUNDS)
        name = f"{shard.name}: {key if key.isprintable() else ascii(key)}"
        image, mask = (next((contents[kind] for kind in kinds if kind in contents), None) for kinds in (_PICTURES, _LABEL_MAPS))
        if image is None:
            raise ValueError(f"{name} has no picture any more; the shard has changed, so start again")
        return encoded_picture(name, image, mask, _caption(contents, name))

    def epoch_order(self, length: int, seed: int) -> Int[Tensor, " m"]:
        """Take the shards in a random order, and the samples of `window` shards at a time in a random order."""
        generator = torch.Generator().manual_seed(seed)
        shard = torch.from_numpy(self._shard_of(np.asarray(self._training[:length])))
        window = torch.randperm(len(self._shards), generator=generator)[shard] // self.window
        order = torch.randperm(length, generator=generator)
        return order[window[order].argsort(stable=True)]

    def _shard_of(self, numbers: Any) -> Any:
        return np.searchsorted(self._first, numbers, side="right") - 1

    def _spans(self, shard: Path) -> np.ndarray:
        try:
            return sample_spans(shard, _PICTURES)
        except DamagedShardError as error:
            if self.on_bad_file == "raise":
                raise ValueError(f"{error}; or leave out what is damaged with dataset.on_bad_file=skip") from error
            logger.warning("%d samples are kept: %s", len(error.spans), error)
            return error.spans


def _listed(root: str) -> list[Path]:
    """Return the shards of a folder by name, or those that a name with numbers in braces stands for."""
    if Path(root).is_dir():
        shards = sorted(Path(root).glob("*.tar"))
    else:
        parts = re.split(r"\{(\d+)\.\.(\d+)\}", root)
        ranges = [[f"{n:0{len(low)}}" for n in range(int(low), int(high) + 1)] for low, high in zip(parts[1::3], parts[2::3], strict=True)]
        shards = [Path("".join(_woven(parts[::3], numbers))) for numbers in itertools.product(*ranges)]
        if len(shards) == 1 and not shards[0].exists():
            shards = []
    if not shards:
        example = "/data/train-{000000..000131}.tar"
        raise ValueError(f"dataset.root={root!r} names no shard; give the folder of the *.tar files, or their names as in {example}")
    return shards


def _woven(texts: list[str], numbers: tuple[str, ...]) -> list[str]:
    return [part for pair in itertools.zip_longest(texts, numbers, fillvalue="") for part in pair]


def _caption(contents: dict[str, bytes], name: str) -> str:
    """Return the text, or what the JSON object calls its caption; "" where neither is there."""
    if "txt" in contents:
        return contents["txt"].decode("utf-8-sig", errors="replace").strip()
    try:
        told = json.loads(contents.get("json", b"{}"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}.json is no JSON ({error}); mend it or leave it out") from error
    caption = told.get("caption") if isinstance(told, dict) else None
    return caption.strip() if isinstance(caption, str) else ""
