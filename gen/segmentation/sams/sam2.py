"""Segment Anything 2 on single pictures: transformers' network, and the segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gen.pretrained_folder import load_network, pretrained_folder
from gen.segmentation.sams.automatic_segmenter import AutomaticSegmenter
from gen.segmentation.sams.mask_decoder import SharedImage, cell_by_cell
from gen.segmentation.sams.promptable_weights import Loader
from gen.segmentation.sams.sam import SamNetwork


class Sam2Network(SamNetwork):
    """`transformers.Sam2Model`, which sees pictures squashed to its square."""

    fit: Literal["pad", "squash"] = "squash"

    def _shared(self, pictures: Float[Tensor, "1 3 s s"]) -> SharedImage:
        *fine, embedding = self.network.get_image_embeddings(pictures)
        grid = embedding.shape[-1]
        skips = tuple(cell_by_cell(features.to(self.dtype), grid) for features in reversed(fine))
        return self._shared_image(embedding, self.network.get_image_wide_positional_embeddings(), skips=skips)

    def _single(self, logits: Float[Tensor, "p 4 s s"], ious: Float[Tensor, "p 4"]) -> tuple[Tensor, Tensor]:
        """Take the best of the three masks where the one is not stable, as the checkpoints' configurations ask for."""
        decoder = self.network.mask_decoder
        if not decoder.dynamic_multimask_via_stability:
            return super()._single(logits, ious)
        delta, one = decoder.dynamic_multimask_stability_delta, logits[:, 0]
        inner, outer = ((one > bound).sum((1, 2)) for bound in (delta, -delta))
        stable = (inner >= decoder.dynamic_multimask_stability_thresh * outer) | (outer == 0)
        chosen = torch.where(stable, 0, 1 + ious[:, 1:].argmax(1))
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, chosen][:, None], ious[rows, chosen][:, None]


def load_sam2(weights: str, device: torch.device, dtype: torch.dtype, compiled: bool) -> Sam2Network:
    """Load a folder of transformers' SAM 2, exactly; of a video model's only the memory, which single pictures do not need, is left out.

    Raises:
        ArtefactError: if there is none, or weights are missing, superfluous or of another shape.
    """
    from transformers import Sam2Model

    network = load_network(pretrained_folder(weights, ("",)), {"Sam2Model": Sam2Model})
    return Sam2Network(network, network.config.prompt_encoder_config.image_size, "vision_encoder", device, dtype, compiled)


@dataclass(frozen=True, kw_only=True)
class Sam2(AutomaticSegmenter):
    """Segment Anything 2.1, asked for everything in a picture.

    Attributes:
        weights: "tiny", "small", "base_plus" or "large" of the hub, a folder, or a hub name.

    Source: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024, arXiv 2408.00714.
    """

    weights: str = "small"

    def suiting_thresholds(self) -> tuple[float, float]:
        """Return the predicted IoU and the stability that the authors of the weights ask for."""
        return 0.8, 0.95

    @staticmethod
    def sizes() -> dict[str, str]:
        """Return what a size's name stands for."""
        return {size: f"facebook/sam2.1-hiera-{size.replace('_', '-')}" for size in ("tiny", "small", "base_plus", "large")}

    @staticmethod
    def kinds() -> tuple[str, ...]:
        """Return which networks a folder may hold, as its config.json calls them."""
        return ("sam2", "sam2_video")

    def loader(self) -> Loader:
        """Return the function that loads the network."""
        return load_sam2
