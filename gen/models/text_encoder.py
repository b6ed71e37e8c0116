"""CaptionEncoder: the small text encoder over the world's captions."""

from __future__ import annotations

import re

import torch
import torch.nn as nn
from jaxtyping import Bool, Float, Int
from torch import Tensor


class CaptionEncoder(nn.Module):
    """Encode captions of known words; an empty caption has no tokens.

    Args:
        vocabulary: the known words; any other word is read as one shared unknown word.
        width: d, of the tokens.
        max_words: longer captions are cut.
    """

    def __init__(self, vocabulary: list[str], width: int = 128, max_words: int = 32) -> None:
        super().__init__()
        self.index = {word: i + 1 for i, word in enumerate(vocabulary)}
        self.max_words = max_words
        self.words = nn.Embedding(len(vocabulary) + 1, width)
        self.places = nn.Parameter(torch.randn(max_words, width) * 0.02)
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)

    def tokenise(self, captions: list[str] | tuple[str, ...]) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Return word numbers (0 is the unknown word) and True where there is a word; l is the longest caption, at least 1."""
        split = [re.findall(r"[a-z0-9]+", caption.lower())[: self.max_words] for caption in captions]
        length = max(1, *(len(words) for words in split))
        ids = torch.zeros(len(captions), length, dtype=torch.long)
        present = torch.zeros(len(captions), length, dtype=torch.bool)
        for row, words in enumerate(split):
            ids[row, : len(words)] = torch.tensor([self.index.get(word, 0) for word in words], dtype=torch.long)
            present[row, : len(words)] = True
        return ids.to(self.places.device), present.to(self.places.device)

    def forward(self, captions: list[str] | tuple[str, ...]) -> tuple[Float[Tensor, "b l d"], Bool[Tensor, "b l"]]:
        """Return text tokens and where they are present."""
        ids, present = self.tokenise(captions)
        tokens = self.words(ids) + self.places[: ids.shape[1]]
        seen = present | ~present.any(1, keepdim=True)  # attention over no word at all is undefined
        return self.layer(tokens, src_key_padding_mask=~seen), present
