"""Segment Anything in High Quality: transformers' network, and the segmenter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gen.pretrained_folder import load_network, pretrained_folder
from gen.segmentation.sams.automatic_segmenter import AutomaticSegmenter
from gen.segmentation.sams.mask_decoder import SharedImage
from gen.segmentation.sams.promptable_weights import Loader
from gen.segmentation.sams.sam import SamNetwork


class SamHqNetwork(SamNetwork):
    """`transformers.SamHQModel`, decoded as its authors do.

    The decoder of transformers 5.23 drops the image embedding that comes out of its transformer and upscales the one that went in, rows
    and columns exchanged; `run_decoder` upscales what came out.
    """

    def _shared(self, pictures: Float[Tensor, "1 3 s s"]) -> SharedImage:
        seen, decoder = self.network.vision_encoder(pictures), self.network.mask_decoder
        embedding, early = seen.last_hidden_state, seen.intermediate_embeddings[0].permute(0, 3, 1, 2)
        fine = decoder.encoder_conv2(decoder.activation(decoder.encoder_norm(decoder.encoder_conv1(embedding))))
        fine = fine + decoder.compress_vit_conv2(decoder.activation(decoder.compress_vit_norm(decoder.compress_vit_conv1(early))))
        return self._shared_image(embedding, self.network.get_image_wide_positional_embeddings(), fine=fine[0])

    def _several(self, logits: Float[Tensor, "p 4 s s"], ious: Float[Tensor, "p 4"]) -> tuple[Tensor, Tensor]:
        """Take the best of the three masks: the added fine mask is of one object."""
        rows, best = torch.arange(len(logits), device=logits.device), 1 + ious[:, 1:].argmax(1)
        return logits[rows, best][:, None], ious[rows, best][:, None]


def load_sam_hq(weights: str, device: torch.device, dtype: torch.dtype, compiled: bool) -> SamHqNetwork:
    """Load a folder of transformers' SAM-HQ, exactly.

    Raises:
        ArtefactError: if there is none, or weights are missing, superfluous or of another shape.
    """
    from transformers import SamHQModel

    network = load_network(pretrained_folder(weights, ("",)), {"SamHQModel": SamHQModel})
    return SamHqNetwork(network, network.config.vision_config.image_size, "vision_encoder", device, dtype, compiled)


@dataclass(frozen=True, kw_only=True)
class SamHq(AutomaticSegmenter):
    """Segment Anything in High Quality, asked for everything in a picture.

    Attributes:
        weights: "base", "large" or "huge" of the hub, a folder, or a hub name.

    Source: Ke et al., Segment Anything in High Quality, 2023, arXiv 2306.01567.
    """

    weights: str = "base"

    @staticmethod
    def sizes() -> dict[str, str]:
        """Return what a size's name stands for."""
        return {size: f"syscv-community/sam-hq-vit-{size}" for size in ("base", "large", "huge")}

    @staticmethod
    def kinds() -> tuple[str, ...]:
        """Return which networks a folder may hold, as its config.json calls them."""
        return ("sam_hq",)

    def loader(self) -> Loader:
        """Return the function that loads the network."""
        return load_sam_hq
