"""COCO's run lengths of masks, plain and compressed; what is decoded is checked first, so that no file writes outside its mask."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

_MORE, _SIGN, _FIRST_CHARACTER = 32, 16, 48
_MOST_GROUPS = 8  # of five bits: 40, more than any bounded picture has pixels


def encode_mask(mask: Bool[Tensor, "h w"]) -> bytes:
    """Return a mask's compressed run lengths, column by column, the first of zeros: byte for byte what pycocotools writes.

    Source:
        Lin et al., Microsoft COCO: Common Objects in Context, 2014, and the public format of its annotations.
    """
    pixels = np.ascontiguousarray(mask.cpu().numpy().T).ravel()
    edges = np.flatnonzero(np.diff(pixels, prepend=False))
    counts = np.diff(edges, prepend=0, append=pixels.size)
    counts[3:] -= counts[1:-2].copy()  # runs are alike from one column to the next, so differences of every other one are small
    return _to_characters(counts)


def decode_mask(counts: bytes | list, height: int, width: int) -> Bool[Tensor, "h w"]:
    """Return the mask that run lengths stand for.

    Args:
        counts: compressed, or a list of whole numbers.
        height: of the mask, in pixels.
        width: of the mask, in pixels.

    Raises:
        ValueError: if the counts are no run lengths of so many pixels.
    """
    runs = _from_characters(counts) if isinstance(counts, bytes) else _whole_numbers(counts)
    if ((runs < 0) | (runs > height * width)).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths do not add up to the {width}x{height} pixels of the mask; encode it again at this size")
    pixels = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return torch.from_numpy(np.ascontiguousarray(pixels.reshape(width, height).T))


def _to_characters(values: np.ndarray) -> bytes:
    """Write signed numbers in groups of five bits, the lowest first, as few as each needs."""
    bounds = _SIGN << 5 * np.arange(_MOST_GROUPS - 1)[:, None]
    groups = 1 + ((values < -bounds) | (values >= bounds)).sum(0)
    place = np.arange(groups.sum()) - np.repeat(np.cumsum(groups) - groups, groups)
    characters = (np.repeat(values, groups) >> 5 * place) & (_MORE - 1)
    characters |= np.where(place + 1 < np.repeat(groups, groups), _MORE, 0)
    return (characters + _FIRST_CHARACTER).astype(np.uint8).tobytes()


def _from_characters(text: bytes) -> np.ndarray:
    """Read what `_to_characters` writes, and add the differences up."""
    characters = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    if not characters.size or characters.min() < 0 or characters.max() >= 2 * _MORE or characters[-1] >= _MORE:
        raise ValueError("the compressed run lengths are damaged or cut short; encode the mask again")
    ends = np.flatnonzero(characters < _MORE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    groups = ends - starts + 1
    if groups.max() > _MOST_GROUPS:
        raise ValueError("the compressed run lengths hold a number of more than 40 bits; encode the mask again")
    place = np.arange(characters.size) - np.repeat(starts, groups)
    values = np.add.reduceat((characters & (_MORE - 1)) << 5 * place, starts)
    values -= np.where(characters[ends] & _SIGN, 1 << 5 * groups, 0)
    values[1::2], values[2::2] = np.cumsum(values[1::2]), np.cumsum(values[2::2])
    return values


def _whole_numbers(counts: list) -> np.ndarray:
    if not all(type(count) is int and 0 <= count < 1 << 40 for count in counts):
        raise ValueError("run lengths must be whole numbers from 0 up; encode the mask again")
    return np.array(counts, dtype=np.int64)
