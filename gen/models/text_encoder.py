"""CaptionEncoder: the small text encoder over the world's captions, and what placeholders for regions in a prompt mean."""

from __future__ import annotations

import re

import torch
import torch.nn as nn
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.models.component import Component

_PLACEHOLDER = re.compile(r"\[(region|\d+)\]", re.IGNORECASE)
_WORD = re.compile(r"[a-z0-9]+")


class CaptionEncoder(Component):
    """Encode captions of known words; an empty caption has no tokens.

    Args:
        vocabulary: the known words; any other word is read as one shared unknown word.
        width: d, of the tokens; a multiple of 4.
        max_words: longer captions are cut.
    """

    def __init__(self, vocabulary: list[str], width: int = 128, max_words: int = 32) -> None:
        super().__init__()
        self.index = {word: i + 1 for i, word in enumerate(vocabulary)}
        self.width, self.max_words = width, max_words
        self.words = nn.Embedding(len(vocabulary) + 1, width)
        self.places = nn.Parameter(torch.randn(max_words, width) * 0.02)
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)

    def tokenise(self, captions: list[str] | tuple[str, ...]) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"], list[tuple[int, int, int]]]:
        """Return word numbers, where there is a word, and the placeholders.

        Returns:
            Word numbers, 0 for the unknown word; l is the longest caption, at least 1. True where there is a word. (sample, place,
            region) of every placeholder.
        """
        split: list[list[str | int]] = []
        for caption in captions:
            words: list[str | int] = []
            for piece in split_prompt(caption):
                words += [piece] if isinstance(piece, int) else _WORD.findall(piece.lower())
            split.append(words[: self.max_words])
        length = max(1, *(len(words) for words in split))
        ids = torch.zeros(len(captions), length, dtype=torch.long)
        present = torch.zeros(len(captions), length, dtype=torch.bool)
        placeholders = []
        for row, words in enumerate(split):
            ids[row, : len(words)] = torch.tensor([self.index.get(str(word), 0) for word in words], dtype=torch.long)
            present[row, : len(words)] = True
            placeholders += [(row, place, word) for place, word in enumerate(words) if isinstance(word, int)]
        return ids.to(self.places.device), present.to(self.places.device), placeholders

    def forward(
        self,
        captions: list[str] | tuple[str, ...],
        regions: Float[Tensor, "b n d"] | None = None,
        exists: Bool[Tensor, "b n"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], Bool[Tensor, "b l"]]:
        """Return text tokens and where they are present.

        Args:
            captions: with "[2]" in the place of region 2, or "[region]" in that of the next region.
            regions: a token a region, which takes the place of the placeholder's word embedding.
            exists: regions that a caption may name.

        Raises:
            ValueError: if a caption names a region that does not exist.
        """
        ids, present, placeholders = self.tokenise(captions)
        words = put_regions(self.words(ids), placeholders, captions, regions, exists)
        tokens = words + self.places[: ids.shape[1]]
        seen = present | ~present.any(1, keepdim=True)  # attention over no word at all is undefined
        return self.layer(tokens, src_key_padding_mask=~seen), present


def split_prompt(prompt: str) -> list[str | int]:
    """Cut a prompt at its placeholders; an int is the region that one stands for.

    "[2]" is region 2, the k-th "[region]" is region k, that is the k-th object.
    """
    pieces: list[str | int] = []
    count, end = 0, 0
    for match in _PLACEHOLDER.finditer(prompt):
        pieces.append(prompt[end : match.start()])
        if match[1].isdigit():
            pieces.append(int(match[1]))
        else:
            count += 1
            pieces.append(count)
        end = match.end()
    return [piece for piece in (*pieces, prompt[end:]) if piece != ""]


def caption_of_present(caption: str, present: list[bool]) -> str:
    """Leave out of a caption the placeholders of regions that are not there: what it says of the picture holds for the rest."""
    pieces = split_prompt(caption)
    kept = [piece for piece in pieces if isinstance(piece, str) or (piece < len(present) and present[piece])]
    return "".join(piece if isinstance(piece, str) else f"[{piece}]" for piece in kept)


def put_regions(
    words: Float[Tensor, "b l d"],
    placeholders: list[tuple[int, int, int]],
    captions: list[str] | tuple[str, ...],
    regions: Float[Tensor, "b n d"] | None,
    exists: Bool[Tensor, "b n"] | None,
) -> Float[Tensor, "b l d"]:
    """Put region tokens in the place of word embeddings.

    Args:
        words: embeddings.
        placeholders: (sample, place, region) of every placeholder.
        captions: for the message.
        regions: a token a region.
        exists: regions that a caption may name; None: all of them.

    Raises:
        ValueError: if a placeholder's region does not exist, or there are no regions.
    """
    if not placeholders:
        return words
    for sample, _, region in placeholders:
        number = 0 if regions is None else regions.shape[1]
        if region >= number or (exists is not None and not bool(exists[sample, region])):
            there = [k for k in range(number) if exists is None or bool(exists[sample, k])]
            raise ValueError(f"prompt {captions[sample]!r} names region {region}, which does not exist; there are {there} (0: background)")
    assert regions is not None
    samples, places, numbers = (torch.tensor(column, device=words.device) for column in zip(*placeholders, strict=True))
    return words.index_put((samples, places), regions[samples, numbers].to(words.dtype))
