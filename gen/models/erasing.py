"""What training hides: which regions are dropped, and which pixels of the source context are erased."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ContextErasing:
    """Erase the parts of the context that an edit might change, as boxes, so that the decoder learns to paint them from latents.

    Attributes:
        everything: probability that the whole context is erased: the decoder paints from latents alone.
        region: probability, for every region, that its box is erased.
        max_boxes: most random boxes erased besides.
        margin: (least, most) by which a region's box grows on every side, as a share of its size.
        changed: erase the pixels that the edit changes. False shows the decoder the whole source picture, as models that concatenate
            it do (InstructPix2Pix, Brooks et al. 2023, arXiv 2211.09800); the boxes are then erased with the probabilities above only.
        changed_margin: most by which these pixels grow to every side, as a share of the picture's side: the exact outline of a shadow
            would tell where it falls.
    """

    everything: float = 0.5
    region: float = 0.5
    max_boxes: int = 2
    margin: tuple[float, float] = (0.1, 0.5)
    changed: bool = True
    changed_margin: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.changed_margin <= 1:
            raise ValueError(f"model.context_erasing.changed_margin={self.changed_margin} is not a share in [0, 1]")
        if self.changed_margin and not self.changed:
            raise ValueError(
                f"model.context_erasing.changed_margin={self.changed_margin}, but what changes is not erased; set it to 0, or changed=true"
            )

    def known(
        self, boxes: Float[Tensor, "n 4"], erased: Bool[Tensor, " n"], changed: Bool[Tensor, "h w"], generator: torch.Generator
    ) -> Bool[Tensor, "h w"]:
        """Draw which pixels of one sample's context stay.

        Args:
            boxes: (left, top, right, bottom) in image units; the first is the background's.
            erased: regions whose box must be erased.
            changed: pixels that the edit changes; erased unless `self.changed` is False.
            generator: of this sample.
        """
        height, width = changed.shape
        draws = torch.rand(2 + 2 * len(boxes) + 4 * self.max_boxes, generator=generator).tolist()
        everything, count = draws[0], int(draws[1] * (self.max_boxes + 1))
        if everything < self.everything:
            return torch.zeros_like(changed)
        if self.changed_margin:
            changed = _grown(changed, round(float(torch.rand((), generator=generator)) * self.changed_margin * width))
        known = ~changed if self.changed else torch.ones_like(changed)
        region_draws, box_draws = draws[2 : 2 + 2 * len(boxes)], draws[2 + 2 * len(boxes) :]
        for i, (left, top, right, bottom) in enumerate(boxes.tolist()):
            if i == 0 or right <= left:
                continue
            if bool(erased[i]) or region_draws[2 * i] < self.region:
                share = self.margin[0] + region_draws[2 * i + 1] * (self.margin[1] - self.margin[0])
                grow_x, grow_y = share * (right - left) + 1 / width, share * (bottom - top) + 1 / height
                _clear(known, left - grow_x, top - grow_y, right + grow_x, bottom + grow_y)
        for i in range(count):
            x, y, w, h = box_draws[4 * i : 4 * i + 4]
            _clear(known, x - 0.1 - 0.2 * w, y - 0.1 - 0.2 * h, x + 0.1 + 0.2 * w, y + 0.1 + 0.2 * h)
        return known


def _grown(mask: Bool[Tensor, "h w"], pixels: int) -> Bool[Tensor, "h w"]:
    return F.max_pool2d(mask[None, None].float(), 2 * pixels + 1, stride=1, padding=pixels)[0, 0].bool()


def _clear(known: Bool[Tensor, "h w"], left: float, top: float, right: float, bottom: float) -> None:
    height, width = known.shape
    columns = slice(max(0, int(left * width)), max(0, int(right * width + 0.999)))
    known[max(0, int(top * height)) : max(0, int(bottom * height + 0.999)), columns] = False


def drop_regions(valid: Bool[Tensor, " n"], probability: float, generator: torch.Generator) -> Bool[Tensor, " n"]:
    """Draw which objects of one sample are dropped; the background never is."""
    dropped = valid & (torch.rand(len(valid), generator=generator) < probability)
    dropped[0] = False
    return dropped
