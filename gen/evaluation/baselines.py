"""Baselines: copy and paste with classical inpainting, superpixel elements, one global latent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen.editing.preserve import composite
from gen.evaluation.cases import Cases
from gen.evaluation.methods import Edited, asked_area, batches, carry, joined, painted_alone, painted_edit
from gen.models.pipeline import RegionPipeline
from gen.regions import RegionLatents, RegionPose, Regions
from gen.segmentation import Superpixels, WholePicture

_HOLE_MARGIN = 2  # pixels around the old mask that are filled as well: its edge is mixed with the floor


@dataclass(frozen=True)
class CopyPaste:
    """Cut the object's pixels out, fill the hole, paste the pixels resampled into the new box; nothing is learnt.

    Shadows stay where they are. A turn in depth is beyond it: the object is pasted as it looks into the box that it should have. A look is
    interpolated by fading the source into the donor, pixel by pixel. What is pasted lies in front of everything.

    Attributes:
        name: in tables.

    Source: the hole is filled by the biharmonic equation: Damelin and Hoang, On Surface Completion and Image Inpainting by Biharmonic
    Functions, 2018, as scikit-image has it.
    """

    name: str = "copy-paste"

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Edit every case but reconstructions; there is no noise. Both pictures are the same: it touches hole and object only."""
        if cases.operation == "reconstruct":
            return None
        if cases.operation == "no_op":
            return Edited(cases.source, cases.source)
        if cases.operation == "interpolate_look":
            assert cases.donor is not None
            faded = torch.lerp(cases.source, cases.donor, cases.weight)
            return Edited(faded, composite(cases.source, faded, asked_area(cases)))
        pictures = torch.stack([self._pasted(cases, number) for number in range(len(cases.plans))])
        return Edited(pictures, pictures)

    def _pasted(self, cases: Cases, number: int) -> Float[Tensor, "3 h w"]:
        source, masks, edited = cases.source[number], cases.regions.masks[number], list(cases.edited[number])
        others = masks[1:].any(0) & ~masks[edited].any(0)
        picture = _filled(source, _grown(masks[edited].any(0), _HOLE_MARGIN) & ~others)
        for pixels, mask, old, new in _cut_out(cases, number):
            layers = carry(torch.cat([pixels * mask, mask[None].float()]), old, new, mirror=cases.operation == "flip")
            picture = layers[:3] + (1 - layers[3:]) * picture
        return picture


@dataclass(frozen=True)
class SuperpixelElements:
    """Edit an object through all superpixels that have more than half their pixels inside it, with a pipeline trained on superpixels.

    Their boxes are carried as the object's box is, from the old to the true new one; a removal drops them. The pipeline paints what they
    leave behind, wherever an edit of the object may change the picture: to its shadow the elements of the floor are no obstacles. A turn in
    depth is beyond it and done as the box changes; interpolations are not possible, since the elements of two pictures do not correspond.

    Attributes:
        name: in tables.
        pipeline: holds at most `num_regions` - 1 elements.
        num_inference_steps: of denoising.
        batch_size: pictures at once.

    Source: Mu et al., Editable Image Elements for Controllable Synthesis, 2024, arXiv 2404.16029, section 3.
    """

    name: str
    pipeline: RegionPipeline
    num_inference_steps: int = 4
    batch_size: int = 16

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Edit every case but interpolations."""
        if cases.operation.startswith("interpolate"):
            return None
        generator = torch.Generator().manual_seed(seed)
        asked, parts = asked_area(cases), []
        for rows in batches(cases, self.batch_size):
            source = cases.source[rows]
            elements = self._elements(source)
            before = self.pipeline.encode(source, elements).to("cpu")
            if cases.operation == "reconstruct":
                parts.append(painted_alone(self.pipeline, before, self.num_inference_steps, generator))
                continue
            before, after = self._changed(cases, rows, before, elements)
            parts.append(painted_edit(self.pipeline, source, elements, before, after, self.num_inference_steps, generator, asked[rows]))
        return joined(parts)

    def _elements(self, pictures: Float[Tensor, "b 3 h w"]) -> Regions:
        """Cut pictures into about as many elements as the pipeline holds, never more."""
        segment = Superpixels(self.pipeline.num_regions - 1, random_partition=False)
        return Regions.from_label_map(torch.stack([segment(picture) for picture in pictures]), self.pipeline.num_regions)

    def _changed(self, cases: Cases, rows: slice, before: RegionLatents, elements: Regions) -> tuple[RegionLatents, RegionLatents]:
        """Return the elements before and after the edits, in the same slots; inserted ones have slots behind the source's."""
        if cases.operation != "insert":
            return before, _carried_elements(cases, rows, before, elements, cases.regions[rows], cases.old_boxes[rows])
        assert cases.donor is not None and cases.donor_regions is not None
        objects, theirs = cases.donor_regions[rows], self._elements(cases.donor[rows])
        numbers = torch.tensor(cases.edited[rows])
        own_boxes = objects.boxes()[torch.arange(len(numbers))[:, None], numbers]
        donor = self.pipeline.encode(cases.donor[rows], theirs).to("cpu")
        inserted = _carried_elements(cases, rows, donor, theirs, objects, own_boxes)
        nothing = replace(inserted, valid=torch.zeros_like(inserted.valid))
        return _side_by_side(before, nothing), _side_by_side(before, inserted)


@dataclass(frozen=True)
class GlobalLatent:
    """Paint the source from one latent of the whole picture, whatever is asked: no object of it can be told apart, so none can be edited.

    Attributes:
        name: in tables.
        pipeline: trained with the whole picture as its only region.
        num_inference_steps: of denoising.
        batch_size: pictures at once.

    Source: the one global latent of SODA, Hudson et al. 2023, arXiv 2311.17901.
    """

    name: str
    pipeline: RegionPipeline
    num_inference_steps: int = 4
    batch_size: int = 16

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Paint every case, and put back the pixels outside the area that the asked edit may change."""
        generator = torch.Generator().manual_seed(seed)
        changed, parts = asked_area(cases), []
        for rows in batches(cases, self.batch_size):
            source = cases.source[rows]
            labels = torch.stack([WholePicture()(picture) for picture in source])
            latents = self.pipeline.encode(source, Regions.from_label_map(labels, self.pipeline.num_regions))
            alone = cases.operation == "reconstruct"
            context = None if alone else self.pipeline.surroundings(source, changed[rows])
            raw = self.pipeline.decode(latents, context=context, num_inference_steps=self.num_inference_steps, generator=generator).cpu()
            parts.append(Edited(raw, raw if alone else composite(source, raw, changed[rows])))
        return joined(parts)


def _cut_out(cases: Cases, number: int) -> Iterator[tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"], Tensor, Tensor]]:
    """Return the pixels, the mask, the old box and the new box of each edited object of a case."""
    for place, region in enumerate(cases.edited[number]):
        old, new = cases.old_boxes[number, place], cases.new_boxes[number, place]
        if cases.operation == "insert":
            assert cases.donor is not None and cases.donor_regions is not None
            yield cases.donor[number], cases.donor_regions.masks[number, region], cases.donor_regions.boxes()[number, region], new
        elif cases.operation != "remove":
            yield cases.source[number], cases.regions.masks[number, region], old, new


def _filled(picture: Float[Tensor, "3 h w"], hole: Bool[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Fill a hole smoothly from its surroundings."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(picture.permute(1, 2, 0).numpy(), hole.numpy(), channel_axis=-1)
    return torch.where(hole, torch.from_numpy(filled).permute(2, 0, 1).to(picture), picture)


def _grown(mask: Bool[Tensor, "h w"], pixels: int) -> Bool[Tensor, "h w"]:
    return F.max_pool2d(mask[None].float(), 2 * pixels + 1, stride=1, padding=pixels)[0] > 0


def _carried_elements(
    cases: Cases, rows: slice, latents: RegionLatents, elements: Regions, objects: Regions, old: Float[Tensor, "b e 4"]
) -> RegionLatents:
    """Carry the elements of every edited object from its old box to its new one; of a donor only these are there afterwards.

    Args:
        cases: what is edited.
        rows: which of the cases; everything else that is given has these rows only.
        latents: of the elements.
        elements: their masks.
        objects: the true regions of the same picture.
        old: boxes of the edited objects in that picture.
    """
    centre, size, flip = latents.pose.centre.clone(), latents.pose.size.clone(), latents.pose.flip.clone()
    valid = torch.zeros_like(latents.valid) if cases.operation == "insert" else latents.valid.clone()
    for row, numbers in enumerate(cases.edited[rows]):
        for place, number in enumerate(numbers):
            inside = (elements.masks[row] & objects.masks[row, number]).sum((1, 2))
            chosen = 2 * inside > elements.masks[row].sum((1, 2))
            if cases.operation == "remove":
                valid[row] &= ~chosen
                continue
            valid[row] |= chosen
            before, after = old[row, place], cases.new_boxes[rows][row, place]
            factor = (after[2:] - after[:2]) / (before[2:] - before[:2])
            offset = (centre[row, chosen] - (before[:2] + before[2:]) / 2) * factor
            if cases.operation == "flip":
                offset, flip[row, chosen] = offset * offset.new_tensor([-1, 1]), 1 - flip[row, chosen]
            centre[row, chosen] = (after[:2] + after[2:]) / 2 + offset
            size[row, chosen] *= factor
    return replace(latents, pose=replace(latents.pose, centre=centre, size=size, flip=flip), valid=valid)


def _side_by_side(first: RegionLatents, second: RegionLatents) -> RegionLatents:
    """Put the regions of two sets of latents into one set, without depth and yaw."""
    poses = (first.pose, second.pose)
    pose = RegionPose(*(torch.cat([getattr(pose, name) for pose in poses], 1) for name in ("centre", "size", "flip", "angle")))
    return RegionLatents(torch.cat([first.tokens, second.tokens], 1), pose, torch.cat([first.valid, second.valid], 1))
