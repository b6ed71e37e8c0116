"""Regions by their names: an open-vocabulary detector finds boxes, and a network of the SAM family cuts out what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.artefact import ArtefactError
from gen.pretrained_folder import load_network, pretrained_folder
from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.picture_key import key_seed, picture_key
from gen.segmentation.sams.automatic_segmenter import AutomaticSegmenter
from gen.segmentation.sams.promptable_weights import refuse_bad_weights, runs_on
from gen.segmentation.sams.prompted import Prompt, prompted_masks
from gen.segmentation.sams.sam import Sam
from gen.segmentation.suppression import box_nms
from image_utils import convert

_DETECTORS = {"base": "google/owlv2-base-patch16-ensemble", "large": "google/owlv2-large-patch14-ensemble"}


@dataclass(frozen=True)
class FoundBoxes:
    """What a detector found, best first.

    Attributes:
        boxes: (left, top, right, bottom) in pixels of the picture.
        scores: in [0, 1].
        labels: number of the text that fits best.
    """

    boxes: Float[Tensor, "m 4"]
    scores: Float[Tensor, " m"]
    labels: Int[Tensor, " m"]


@dataclass(frozen=True, kw_only=True)
class SamText:
    """Cut out the things that have a name.

    Attributes:
        labels: names of what to find, as one would call it: "mug", "black cat".
        detector: OWLv2 weights: "base" or "large" of the hub, a folder, or a hub name.
        sam: whose network answers the boxes.
        rules: what becomes of the masks.
        threshold: boxes with a lower score go, in [0, 1].
        box_nms_threshold: IoU of boxes above which the one of lower score goes, whatever its label.
        device: of the detector: "cpu", "cuda", or "auto" as in `AutomaticSegmenter`.

    Source: OWLv2: Minderer et al., Scaling Open-Vocabulary Object Detection, 2023, arXiv 2306.09683.
    """

    labels: Sequence[str]
    detector: str = "base"
    sam: AutomaticSegmenter = field(default_factory=Sam)
    rules: MaskRules = field(default_factory=MaskRules)
    threshold: float = 0.2
    box_nms_threshold: float = 0.5
    device: str = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.labels, str) or not self.labels or not all(label.strip() for label in self.labels):
            raise ValueError(f"labels={self.labels!r}: name at least one thing to find, as in labels='[mug,cat]', and no empty name")
        refuse_bad_weights(self.detector, _DETECTORS, ("owlv2",), argument="detector")
        for name in ("threshold", "box_nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not within [0, 1]")

    def find(self, pixel_values: Float[Tensor, "3 h w"]) -> FoundBoxes:
        """Return the boxes of all names."""
        processor, network = _loaded(_DETECTORS.get(self.detector, self.detector), runs_on(self.device))
        return find_boxes(processor, network, pixel_values, self.labels, self.threshold, self.box_nms_threshold)

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return the regions of a picture in [-1, 1]; the data's own are not looked at."""
        found = self.find(pixel_values)
        prompts = [Prompt(box=tuple(box)) for box in found.boxes.tolist()]
        masks, _ = prompted_masks(self.sam.network(), pixel_values, prompts)
        return self.rules(masks, found.scores.to(masks.device), key_seed(picture_key(pixel_values)))


@torch.inference_mode()
def find_boxes(
    processor: Any, network: Any, pixel_values: Float[Tensor, "3 h w"], labels: Sequence[str], threshold: float, box_nms_threshold: float
) -> FoundBoxes:
    """Return where the detector sees one of the labels.

    Args:
        processor: `transformers.Owlv2Processor`.
        network: `transformers.Owlv2ForObjectDetection`.
        pixel_values: in [-1, 1].
        labels: names.
        threshold: of the score.
        box_nms_threshold: of the boxes' IoU.
    """
    height, width = pixel_values.shape[1:]
    texts = [f"a photo of a {label}" for label in labels]
    inputs = processor(text=[texts], images=convert.to_pil(pixel_values), return_tensors="pt").to(network.device)
    output = network(**inputs)
    scores, best = output.logits[0].sigmoid().cpu().max(-1)
    # Pictures are padded to a square below or at the right, so a share of the square is a share of the longer side.
    centre, size = (output.pred_boxes[0].cpu() * max(height, width)).split(2, -1)
    limit = torch.tensor([width, height])
    boxes = torch.cat([torch.minimum((centre + sign * size / 2).clamp_min(0), limit) for sign in (-1, 1)], -1)
    good = (scores >= threshold) & (boxes[:, 2:] - boxes[:, :2] >= 1).all(-1)
    boxes, scores, best = boxes[good], scores[good], best[good]
    kept = box_nms(boxes, scores, box_nms_threshold)
    return FoundBoxes(boxes[kept], scores[kept], best[kept])


@lru_cache(maxsize=1)
def _loaded(weights: str, device: torch.device) -> tuple[Any, Any]:
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    folder = pretrained_folder(weights, ("",), "detector")
    network = load_network(folder, {"Owlv2ForObjectDetection": Owlv2ForObjectDetection})
    try:
        processor = Owlv2Processor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(
            f"detector={weights}: its preprocessor or tokenizer cannot be loaded ({reason}); copy their files too"
        ) from error
    known, wanted = len(processor.tokenizer), network.config.text_config.vocab_size
    if known < wanted:  # a folder without a vocabulary gives an empty tokenizer
        raise ArtefactError(f"{folder}: its tokenizer knows {known} tokens, the network {wanted}; copy the tokenizer's files there too")
    return processor, network.eval().requires_grad_(False).to(device)
