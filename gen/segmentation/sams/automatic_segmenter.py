"""What all segmenters share that ask a network of the SAM family for everything in a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.picture_key import key_seed, picture_key
from gen.segmentation.sams.automatic_masks import ProposedMasks, automatic_masks
from gen.segmentation.sams.promptable import PromptableModel
from gen.segmentation.sams.promptable_weights import Loader, loaded, refuse_bad_weights
from image_utils.geometry import fitted_size, resize_label_map

LARGEST_SIDE = 2048  # pixels: hundreds of proposed masks of a larger picture would not fit the memory


@dataclass(frozen=True, kw_only=True)
class AutomaticSegmenter(ABC):
    """Base of the segmenters: the settings of automatic masks. Building one loads nothing; loader workers get the settings alone.

    A picture whose longer side is above `LARGEST_SIDE` is cut at that size, and its regions are enlarged to its own.

    Attributes:
        weights: a size by its name, a folder on this disk, or a hub name.
        rules: what becomes of the proposed masks.
        points_per_side: the grid of prompts has this many points along each side.
        pred_iou_threshold: masks whose predicted IoU is no higher go; 0 keeps all, None is what suits the weights.
        stability_threshold: masks of lower stability go; 0 keeps all, None is what suits the weights.
        stability_offset: how far the two thresholds that define stability are from 0, in logits.
        box_nms_threshold: IoU of boxes above which the mask of lower predicted IoU goes.
        device: "cpu", "cuda", or "auto": a GPU where there is one, the CPU in loader workers.
        dtype: of the image encoder and the mask decoder; "auto" is bf16 where the hardware multiplies it.
        compile: run the image encoder through torch.compile; pays on a GPU.
    """

    weights: str = "base"
    rules: MaskRules = field(default_factory=MaskRules)
    points_per_side: int = 32
    pred_iou_threshold: float | None = None
    stability_threshold: float | None = None
    stability_offset: float = 1.0
    box_nms_threshold: float = 0.7
    device: str = "auto"
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        self._refuse_bad_weights()
        if self.points_per_side < 1:
            raise ValueError(f"points_per_side={self.points_per_side} asks nothing; it must be at least 1")
        for name in ("pred_iou_threshold", "stability_threshold", "box_nms_threshold"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not within [0, 1]")
        if self.stability_offset < 0:
            raise ValueError(f"stability_offset={self.stability_offset} must be at least 0")

    def _refuse_bad_weights(self) -> None:
        refuse_bad_weights(self.weights, self.sizes(), self.kinds())

    @staticmethod
    @abstractmethod
    def sizes() -> dict[str, str]:
        """Return what a size's name stands for."""

    @staticmethod
    @abstractmethod
    def kinds() -> tuple[str, ...]:
        """Return which networks a folder may hold, as its config.json calls them."""

    @abstractmethod
    def loader(self) -> Loader:
        """Return the function that loads the network."""

    def network(self) -> PromptableModel:
        """Return the network; one is loaded a process, however many segmenters have the same settings."""
        return loaded(self.loader(), self.sizes().get(self.weights, self.weights), self.device, self.dtype, self.compile)

    def suiting_thresholds(self) -> tuple[float, float]:
        """Return the predicted IoU and the stability that the authors of the weights ask for."""
        return 0.88, 0.95

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `automatic_masks`."""
        least_iou, least_stability = self.suiting_thresholds()
        return {
            "points_per_side": self.points_per_side,
            "pred_iou_threshold": least_iou if self.pred_iou_threshold is None else self.pred_iou_threshold,
            "stability_threshold": least_stability if self.stability_threshold is None else self.stability_threshold,
            "stability_offset": self.stability_offset,
            "box_nms_threshold": self.box_nms_threshold,
        }

    def propose(self, pixel_values: Float[Tensor, "3 h w"]) -> ProposedMasks:
        """Return the masks before the rules."""
        return automatic_masks(self.network(), pixel_values, **self.settings())

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return the regions of a picture in [-1, 1]; the data's own are not looked at."""
        height, width = pixel_values.shape[1:]
        size = fitted_size(width, height, min(max(width, height), LARGEST_SIDE))
        seed = key_seed(picture_key(pixel_values))
        if size != (width, height):
            pixel_values = F.interpolate(pixel_values[None], (size[1], size[0]), mode="bilinear", antialias=True, align_corners=False)[0]
        found = self.propose(pixel_values)
        regions = self.rules(found.masks, found.scores, seed)
        return regions if size == (width, height) else resize_label_map(regions, (width, height))
