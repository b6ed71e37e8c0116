"""Masks of what somebody points at: points and boxes of one picture, each prompt a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.picture_key import key_seed, picture_key
from gen.segmentation.sams.automatic_segmenter import AutomaticSegmenter
from gen.segmentation.sams.promptable import PromptableModel
from gen.segmentation.sams.sam import Sam


@dataclass(frozen=True)
class Prompt:
    """One object, pointed at in pixels of the picture: x to the right, y down, (0, 0) in the upper left corner.

    Attributes:
        points: (x, y) each.
        point_labels: of each point, 1 where the object is, 0 where it is not; all 1 if left out.
        box: (left, top, right, bottom), or None.
    """

    points: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if not self.points and self.box is None:
            raise ValueError("a prompt without points and without a box asks for nothing; give one of them")
        if self.point_labels and len(self.point_labels) != len(self.points):
            raise ValueError(f"point_labels={self.point_labels} of {len(self.points)} points; give one label a point, or none at all")
        if set(self.point_labels) - {0, 1}:
            raise ValueError(f"point_labels={self.point_labels}; a label is 1 where the object is and 0 where it is not")
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(f"box={self.box} holds nothing; it is (left, top, right, bottom) with left < right and top < bottom")

    def refuse_outside(self, height: int, width: int) -> None:
        """Refuse coordinates that are not within the picture.

        Raises:
            ValueError: naming the first.
        """
        corners = [] if self.box is None else [self.box[:2], self.box[2:]]
        for x, y in [*self.points, *corners]:
            if not (0 <= x <= width and 0 <= y <= height):
                raise ValueError(f"({x}, {y}) is outside the picture of {width} x {height} pixels; coordinates are (x, y) in its pixels")


@torch.inference_mode()
def prompted_masks(
    network: PromptableModel, pixel_values: Float[Tensor, "3 h w"], prompts: Sequence[Prompt]
) -> tuple[Bool[Tensor, "p h w"], Float[Tensor, " p"]]:
    """Return one mask a prompt, in the prompts' order, and the IoU that the network predicts.

    A single point may mean a part or a whole: of three masks the best is taken. Several points, or a box, leave no doubt: one mask.

    Raises:
        ValueError: if a prompt is outside the picture.
    """
    height, width = pixel_values.shape[1:]
    for prompt in prompts:
        prompt.refuse_outside(height, width)
    masks, scores = torch.zeros(len(prompts), height, width, dtype=torch.bool), torch.zeros(len(prompts))
    if not prompts:
        return masks.to(pixel_values.device), scores.to(pixel_values.device)
    embedding = network.embed(pixel_values[None])
    alike: dict[tuple[int, bool], list[int]] = {}
    for number, prompt in enumerate(prompts):
        alike.setdefault((len(prompt.points), prompt.box is not None), []).append(number)
    for (num_points, boxed), numbers in alike.items():
        group = [prompts[number] for number in numbers]
        points = torch.tensor([prompt.points for prompt in group], dtype=torch.float32) if num_points else None
        labels = torch.tensor([prompt.point_labels or (1,) * num_points for prompt in group]) if num_points else None
        boxes = torch.tensor([prompt.box for prompt in group], dtype=torch.float32) if boxed else None
        logits, ious = network.decode(embedding, points, labels, boxes, multimask=num_points == 1 and not boxed)
        best = ious.argmax(1)
        rows = torch.arange(len(group), device=ious.device)
        masks[numbers] = embedding.frame.masks(logits[rows, best]).cpu()
        scores[numbers] = ious[rows, best].cpu()
    return masks.to(pixel_values.device), scores.to(pixel_values.device)


@dataclass(frozen=True, kw_only=True)
class PromptedSam:
    """Cut out what the prompts point at: region k is the k-th prompt's.

    Attributes:
        prompts: the same for every picture.
        sam: whose network answers; its own rules and thresholds are for automatic masks and are not looked at.
        rules: clean, suppress and number the masks as those of automatic ones; None leaves every prompt its region, which may overlap.
    """

    prompts: tuple[Prompt, ...]
    sam: AutomaticSegmenter = field(default_factory=Sam)
    rules: MaskRules | None = None

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return the rules' regions; without rules masks, of which row 0 is where no prompt's is; the data's own are not looked at."""
        masks, scores = prompted_masks(self.sam.network(), pixel_values, self.prompts)
        if self.rules is not None:
            return self.rules(masks, scores, key_seed(picture_key(pixel_values)))
        return torch.cat([~masks.any(0, keepdim=True), masks])
