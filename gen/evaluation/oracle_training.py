"""Training of the oracle: boxes of true renders, shaken, and boxes in which nothing stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gen.evaluation.oracle import Answers, Oracle, cut
from gen.losses import LossTerms, class_loss, combine
from gen.models.rotation import view_yaw, yaw_phase
from image_utils import convert, draw, grid

if TYPE_CHECKING:
    from PIL.Image import Image

    from gen.data.batch import RegionBatch

_CLASSES = ("shape", "colour", "material")
_WEIGHTS = {"mask": 4.0, "overlap": 1.0, "present": 1.0, "shape": 1.0, "colour": 1.0, "material": 1.0, "yaw": 2.0}
_ABSENT_IOU = 0.2  # a box that overlaps no object's box by more is empty; shaken boxes overlap their object's by twice as much


class OracleTraining(nn.Module):
    """Train an oracle on the source view of every batch.

    Args:
        oracle: the network.
        crops_per_object: shaken boxes of each object, a step.
        absent_per_picture: boxes a picture, a step, that are drawn anywhere; those without an object teach what absence looks like.
        largest_shift: of a shaken box, in its own width and height.
        largest_scale: of a shaken box; the smallest is its inverse.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self,
        oracle: Oracle,
        crops_per_object: int = 1,
        absent_per_picture: int = 1,
        largest_shift: float = 0.2,
        largest_scale: float = 1.25,
    ) -> None:
        super().__init__()
        for name, value, least in (("crops_per_object", crops_per_object, 1), ("absent_per_picture", absent_per_picture, 0)):
            if value < least:
                raise ValueError(f"model.{name}={value} is too small; it must be at least {least}")
        if not 0 <= largest_shift <= 0.3:
            raise ValueError(f"model.largest_shift={largest_shift} is outside [0, 0.3]: the object would leave its crop")
        if not 1 <= largest_scale <= 1.5:
            raise ValueError(f"model.largest_scale={largest_scale} is outside [1, 1.5]: the object would leave its crop")
        self.oracle = oracle
        self.crops_per_object, self.absent_per_picture = crops_per_object, absent_per_picture
        self.largest_shift, self.largest_scale = largest_shift, largest_scale

    uses_all_parameters = True

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Return all parameters as one group."""
        return [{"params": list(self.parameters()), "lr": learning_rate}]

    def forward(self, batch: RegionBatch, global_step: int = 0) -> LossTerms:
        """Return the losses of what is said of the objects of a batch, and of places where none is.

        Raises:
            ValueError: if the data do not know their objects' labels.
        """
        view = batch.source
        missing = [name for name in _CLASSES if name not in batch.labels]
        if missing:
            raise ValueError(f"this dataset does not label {', '.join(missing)} of its objects, so no oracle can learn them; use scenes")
        objects = view.regions.valid.clone()
        objects[:, 0] = False
        row, number = (index.repeat(self.crops_per_object) for index in objects.nonzero(as_tuple=True))
        all_boxes = view.regions.boxes()
        boxes = self._shaken(all_boxes[row, number])
        empty_row, empty_boxes = self._absent(all_boxes, objects, view.regions.masks)
        said = self.oracle(cut(view.pixel_values[torch.cat([row, empty_row])], torch.cat([boxes, empty_boxes])))
        mask = cut(view.regions.masks[row, number].float()[:, None], boxes)[:, 0]
        terms = _mask_losses(said, mask)
        named = Answers(*(values[: len(row)] for values in said))
        labels = {name: batch.labels[name][row, number] for name in _CLASSES}
        terms |= {name: class_loss(getattr(named, name)[None], label[None]) for name, label in labels.items()}
        period = batch.rotation_period[row, number]
        phase = yaw_phase(view_yaw(view.rotations[row, number]), period)
        terms["yaw"] = _yaw_loss(named.yaw, labels["shape"], phase, (period > 0) & phase.isfinite())
        return combine(terms, _WEIGHTS)

    def _shaken(self, boxes: Float[Tensor, "m 4"]) -> Float[Tensor, "m 4"]:
        """Shift and scale boxes at random."""
        centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        centre = centre + size * self.largest_shift * (2 * torch.rand_like(centre) - 1)
        size = size * self.largest_scale ** (2 * torch.rand_like(size) - 1)
        return torch.cat([centre - size / 2, centre + size / 2], -1)

    def _absent(
        self, boxes: Float[Tensor, "b n 4"], objects: Bool[Tensor, "b n"], masks: Bool[Tensor, "b n h w"]
    ) -> tuple[Tensor, Float[Tensor, "m 4"]]:
        """Draw boxes as large as the batch's objects, anywhere; return the pictures and boxes of those that hold no object."""
        count, (height, width) = len(boxes) * self.absent_per_picture, masks.shape[-2:]
        row = torch.arange(len(boxes), device=boxes.device).repeat_interleave(self.absent_per_picture)
        sizes = (boxes[..., 2:] - boxes[..., :2])[objects]
        size = sizes[torch.randint(max(len(sizes), 1), (count,), device=boxes.device)] if len(sizes) else boxes.new_full((count, 2), 0.25)
        centre = size / 2 + torch.rand_like(size) * (1 - size)
        drawn = torch.cat([centre - size / 2, centre + size / 2], -1)
        overlap = torch.where(objects[row], _overlap(drawn[:, None], boxes[row]), 0).amax(1)
        x, y = (centre * centre.new_tensor([width, height])).long().unbind(-1)
        free = (overlap < _ABSENT_IOU) & ~(masks[row, :, y, x] & objects[row]).any(1)
        return row[free], drawn[free]

    @torch.no_grad()
    def preview(self, batch: RegionBatch, previews: object = None) -> dict[str, Image]:
        """Return one sheet: source, true regions, and the regions that the oracle sees in their boxes; there is no pipeline to preview."""
        view = batch.source
        objects = view.regions.valid.clone()
        objects[:, 0] = False
        row, number = objects.nonzero(as_tuple=True)
        read = self.oracle.read(view.pixel_values[row], view.regions.boxes()[row, number]).mask >= 0.5
        seen = torch.zeros(view.pixel_values[:, 0].shape, dtype=torch.long, device=read.device)
        for i in range(len(row)):
            seen[row[i]][read[i]] = number[i]
        pictures = [convert.to_pil(picture.cpu()) for picture in view.pixel_values]
        true, seen = view.regions.label_map().cpu(), seen.cpu()
        rows = [[p, draw.overlay_regions(p, true[i]), draw.overlay_regions(p, seen[i])] for i, p in enumerate(pictures)]
        return {"masks": grid.image_grid(rows, column_labels=["source", "true", "oracle"], scale=2)}

    def save_pipeline(self, folder: Path) -> None:
        """Write the oracle in half precision, as it is shipped."""
        kept = self.oracle.state_dict()
        halved = Oracle(**self.oracle.config)
        halved.load_state_dict(kept)
        halved.half().save_pretrained(folder)


def _mask_losses(said: Answers, mask: Float[Tensor, "m s s"]) -> dict[str, Tensor]:
    """Return cross-entropy and overlap of the masks, and of presence; the first m crops hold an object, the others none."""
    count = len(mask)
    target = torch.cat([mask, mask.new_zeros((len(said.mask) - count, *mask.shape[1:]))])
    probability = said.mask[:count].sigmoid()
    both = (probability * mask).sum((1, 2))
    overlap = 1 - 2 * both / (probability.sum((1, 2)) + mask.sum((1, 2))).clamp_min(1e-6)
    there = (torch.arange(len(target), device=mask.device) < count).float()
    return {
        "mask": F.binary_cross_entropy_with_logits(said.mask, target),
        "overlap": overlap.sum() / max(count, 1),
        "present": F.binary_cross_entropy_with_logits(said.present, there),
    }


def _yaw_loss(said: Float[Tensor, "m 8 2"], shape: Tensor, phase: Float[Tensor, " m"], known: Bool[Tensor, " m"]) -> Float[Tensor, ""]:
    """Return the mean of 1 - cos of the angle between the true shape's vector and the phase, over the objects whose yaw is visible."""
    known = known & (shape >= 0)
    vector = F.normalize(said[torch.arange(len(said), device=said.device), shape.clamp_min(0)], dim=-1)
    angle = 2 * torch.pi * torch.where(known, phase, 0)
    agreement = vector[:, 0] * angle.sin() + vector[:, 1] * angle.cos()
    return ((1 - agreement) * known).sum() / known.sum().clamp_min(1)


def _overlap(first: Float[Tensor, "*a 4"], second: Float[Tensor, "*b 4"]) -> Float[Tensor, "*c"]:
    """Return the intersection over union of boxes."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    both = (high - low).clamp_min(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (first, second)]
    return both / (areas[0] + areas[1] - both).clamp_min(1e-9)
