"""PretrainedTextEncoder: the CLIP text encoder that a Stable Diffusion decoder was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.artefact import ArtefactError
from gen.models.component import Component
from gen.models.text_encoder import put_regions, split_prompt

# What describes a CLIP text encoder; the rest of its config describes files and versions.
_DESCRIPTION = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)


class PretrainedTextEncoder(Component):
    """Encode prompts as Stable Diffusion does: all places of its context, padding included, without a mask.

    Args:
        weights: folder or hub name in diffusers' layout, with tokenizer/ and text_encoder/.
        architecture: of the text encoder, in the place of `weights`: how a saved folder builds it again.
        frozen: whether the text encoder stays as it is; the projection of regions is trained either way.
        region_width: d, of the region tokens that may stand in a prompt; None: prompts take no placeholders.

    Raises:
        ValueError: if not one of `weights` and `architecture` is given.
        ArtefactError: if the weights cannot be found, or do not fit.

    Source: words that are learned vectors, Gal et al. 2022 (Textual Inversion), arXiv 2208.01618.
    """

    def __init__(
        self,
        weights: str | None = "stable-diffusion-v1-5/stable-diffusion-v1-5",
        architecture: dict[str, Any] | None = None,
        frozen: bool = True,
        region_width: int | None = None,
    ) -> None:
        super().__init__()
        if (weights is None) == (architecture is None):
            raise ValueError(f"model.conditioner.text.weights={weights} and .architecture={architecture}: give one of the two")
        self.tokenizer: Any = None
        if weights is not None:
            from gen.models.stable_diffusion import pretrained_text_encoder

            self.tokenizer, model = pretrained_text_encoder(weights)
        else:
            from transformers import CLIPTextConfig, CLIPTextModel

            model = CLIPTextModel(CLIPTextConfig(**architecture or {}))
        self.model: Any = getattr(model, "text_model", model)  # older transformers wrap it once more
        described = self.model.config.to_dict()
        self.config |= {"weights": None, "architecture": {name: described[name] for name in _DESCRIPTION}}
        self.width, self.context = self.model.config.hidden_size, self.model.config.max_position_embeddings
        self.frozen, self.region_width = frozen, region_width
        self.model.requires_grad_(not frozen)
        self.from_region = None
        if region_width is not None:
            self.from_region = nn.Linear(region_width, self.width)
            with torch.no_grad():  # at first a region is an average word
                self.from_region.weight.zero_()
                self.from_region.bias.copy_(self.model.embeddings.token_embedding.weight.mean(0))
        self.train()

    @property
    def uses_all_parameters(self) -> bool:
        """Whether no parameter waits for a caption that names a region; see `RegionDiffusion.uses_all_parameters`."""
        return self.from_region is None

    def train(self, mode: bool = True) -> PretrainedTextEncoder:
        """Set the mode; a frozen text encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def save_files(self, folder: Path) -> None:
        """Write the tokenizer as JSON."""
        assert self.tokenizer is not None, "a text encoder that was built from its architecture has no tokenizer yet"
        self.tokenizer.save_pretrained(folder / "tokenizer")

    def load_files(self, folder: Path) -> None:
        """Read the tokenizer that `save_files` wrote.

        Raises:
            ArtefactError: if it is missing or not the text encoder's.
        """
        from transformers import CLIPTokenizer

        folder = folder / "tokenizer"
        # Without its files transformers gives a tokenizer of the special tokens alone, and no error.
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True) if (folder / "tokenizer.json").is_file() else None
        if tokenizer is None or not 2 < len(tokenizer) <= self.model.config.vocab_size:
            raise ArtefactError(f"{folder}: holds no tokenizer of a text encoder with {self.model.config.vocab_size} tokens")
        self.tokenizer = tokenizer

    def tokenise(self, captions: list[str] | tuple[str, ...]) -> tuple[Int[Tensor, "b l"], list[tuple[int, int, int]]]:
        """Return token numbers, padded and cut to the context, and (sample, place, region) of every placeholder."""
        first, last, pad = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        rows, placeholders = [], []
        for row, caption in enumerate(captions):
            ids = [first]
            for piece in split_prompt(caption):
                if isinstance(piece, int) and len(ids) < self.context - 1:
                    placeholders.append((row, len(ids), piece))
                ids += [last] if isinstance(piece, int) else self.tokenizer(piece, add_special_tokens=False).input_ids
            ids = [*ids[: self.context - 1], last]
            rows.append(ids + [pad] * (self.context - len(ids)))
        return torch.tensor(rows, device=self.model.embeddings.token_embedding.weight.device), placeholders

    def forward(
        self,
        captions: list[str] | tuple[str, ...],
        regions: Float[Tensor, "b n e"] | None = None,
        exists: Bool[Tensor, "b n"] | None = None,
    ) -> tuple[Float[Tensor, "b l d"], Bool[Tensor, "b l"]]:
        """Return text tokens, all of them present.

        Args:
            captions: with "[2]" in the place of region 2, or "[region]" in that of the next region.
            regions: a token a region, which is projected and takes the place of the placeholder's word embedding.
            exists: regions that a caption may name.

        Raises:
            ValueError: if a caption names a region that does not exist, or names one although there is no projection.
        """
        ids, placeholders = self.tokenise(captions)
        if placeholders and self.from_region is None:
            raise ValueError(
                f"prompt {captions[placeholders[0][0]]!r} names a region, but this text encoder takes none; train it with"
                " model.conditioner.text.region_width set to the tokens' width"
            )
        vectors = None if regions is None or self.from_region is None else self.from_region(regions)

        def replaced(module: nn.Module, inputs: Any, words: Tensor) -> Tensor:
            return put_regions(words, placeholders, captions, vectors, exists)

        handle = self.model.embeddings.token_embedding.register_forward_hook(replaced)
        try:
            tokens = self.model(input_ids=ids).last_hidden_state
        finally:
            handle.remove()
        return tokens, torch.ones_like(ids, dtype=torch.bool)
