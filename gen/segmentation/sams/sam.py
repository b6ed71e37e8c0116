"""Segment Anything: transformers' network, and the segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gen.pretrained_folder import load_network, pretrained_folder
from gen.segmentation.sams.automatic_segmenter import AutomaticSegmenter
from gen.segmentation.sams.mask_decoder import SharedImage
from gen.segmentation.sams.promptable import TwoWayNetwork
from gen.segmentation.sams.promptable_weights import Loader, refuse_bad_weights
from gen.segmentation.sams.segment_anything_package import load_package_sam


class SamNetwork(TwoWayNetwork):
    """`transformers.SamModel`, or one with the same parts."""

    def _shared(self, pictures: Float[Tensor, "1 3 s s"]) -> SharedImage:
        embedding = self.network.vision_encoder(pictures).last_hidden_state
        return self._shared_image(embedding, self.network.get_image_wide_positional_embeddings())

    def _prompts(self, points: Tensor | None, point_labels: Tensor | None, boxes: Tensor | None) -> Float[Tensor, "p t c"]:
        points, point_labels, boxes = (None if each is None else each[None] for each in (points, point_labels, boxes))
        sparse, _ = self.network.prompt_encoder(points, point_labels, boxes, None)
        return sparse[0]


def load_sam(weights: str, device: torch.device, dtype: torch.dtype, compiled: bool) -> SamNetwork:
    """Load a folder of transformers' SamModel, exactly.

    Raises:
        ArtefactError: if there is none, or weights are missing, superfluous or of another shape.
    """
    from transformers import SamModel

    network = load_network(pretrained_folder(weights, ("",)), {"SamModel": SamModel})
    return SamNetwork(network, network.config.vision_config.image_size, "vision_encoder", device, dtype, compiled)


@dataclass(frozen=True, kw_only=True)
class Sam(AutomaticSegmenter):
    """Segment Anything, asked for everything in a picture.

    Attributes:
        weights: "base", "large" or "huge" of the hub, a folder, or "tiny": comes with the package, for plain scenes. For the
            `segment_anything` package: its checkpoint as a .safetensors file.
        source: the library whose network is used.

    Source: Kirillov et al., Segment Anything, 2023, arXiv 2304.02643.
    """

    weights: str = "base"
    source: Literal["transformers", "segment_anything"] = "transformers"

    def _refuse_bad_weights(self) -> None:
        if self.source == "segment_anything":
            refuse_bad_weights(self.weights, {}, file=True)
        else:
            super()._refuse_bad_weights()

    @staticmethod
    def sizes() -> dict[str, str]:
        """Return what a size's name stands for."""
        shipped = Path(__file__).resolve().parents[2] / "weights" / "sam_tiny"
        return {"tiny": str(shipped), **{size: f"facebook/sam-vit-{size}" for size in ("base", "large", "huge")}}

    @staticmethod
    def kinds() -> tuple[str, ...]:
        """Return which networks a folder may hold, as its config.json calls them."""
        return ("sam",)

    def suiting_thresholds(self) -> tuple[float, float]:
        """Return the predicted IoU and the stability that the authors of the weights ask for; the tiny network is less sure of itself."""
        return (0.5, 0.7) if self.weights == "tiny" else super().suiting_thresholds()

    def loader(self) -> Loader:
        """Return the function that loads the network."""
        return load_package_sam if self.source == "segment_anything" else load_sam
