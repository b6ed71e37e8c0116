"""LatentImage: a picture held as region latents, which edits change and the pipeline paints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from gen.editing.framing import frame_image, frame_regions, paste_changed, unframe_mask, unframe_masks
from gen.editing.operations import regions_present
from gen.editing.painting import EditedPixels, check_extent, paint_edited
from gen.editing.preserve import changed_area
from gen.editing.refine import Refinement, refine
from gen.models.text_encoder import caption_of_present
from gen.regions import RegionLatents, Regions, concatenate
from image_utils.convert import to_tensor
from image_utils.draw import overlay_regions
from image_utils.geometry import fitted_size
from image_utils.io import load_image, load_label_map

if TYPE_CHECKING:
    from gen.models.pipeline import RegionPipeline

SHOWN_SIDES = (256, 1024)  # pixels, least and most, of the longer side of a picture with numbers
AT_ONCE = 8  # pictures are painted together; more would need more memory


@dataclass(frozen=True)
class CutImage:
    """A picture with its regions, both of one size.

    Attributes:
        image: RGB.
        regions: a label map (0 is the background), or the masks of one picture.
    """

    image: Image.Image
    regions: Regions | Int[Tensor, "h w"]

    def __post_init__(self) -> None:
        height, width = self.regions.shape if isinstance(self.regions, Tensor) else self.regions.masks.shape[-2:]
        if (width, height) != self.image.size:
            own = f"{self.image.width}x{self.image.height}"
            raise ValueError(f"the regions are {width}x{height} pixels, but the picture is {own}; give regions of the picture's size")


@dataclass(frozen=True, eq=False)
class LatentImage:
    """A picture of any size as region latents.

    `latents` are edited by the functions of `gen.editing.operations`, which return new ones; `paint` shows what they have become. The
    noise follows from the seed alone, so paintings with one seed differ only in what was edited. A notebook shows the numbered picture.

    Example:
        >>> picture
        LatentImage(64x64 pixels, objects 1 2 3 4, in a square of 64 pixels)
        >>> picture.paint(edits.remove(picture.latents, 2)).save("without_2.png")

    Attributes:
        pipeline: the model.
        image: RGB, at its own size.
        regions: in the pipeline's square.
        latents: of the picture as it is.
        caption: what the picture shows, for a pipeline that reads text; "[2]" in it stands for region 2.
        control: conditioning picture in the square, in [-1, 1], for a pipeline with a ControlNet; told while nothing is edited.
    """

    pipeline: RegionPipeline
    image: Image.Image
    regions: Regions
    latents: RegionLatents
    caption: str = ""
    control: Float[Tensor, "1 3 r r"] | None = None

    def __repr__(self) -> str:
        objects = " ".join(map(str, self.objects)) or "none"
        side = self.pipeline.resolution
        return f"LatentImage({self.image.width}x{self.image.height} pixels, objects {objects}, in a square of {side} pixels)"

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        shown = BytesIO()
        self.numbered().save(shown, "PNG")
        return shown.getvalue()

    @staticmethod
    def encode(
        pipeline: RegionPipeline,
        image: Image.Image,
        regions: Regions | Int[Tensor, "h w"],
        caption: str = "",
        control: Float[Tensor, "1 3 r r"] | None = None,
    ) -> LatentImage:
        """Encode a picture whose regions are known.

        Example:
            >>> from PIL import Image
            >>> label_map = torch.zeros(30, 40, dtype=torch.int64)
            >>> label_map[5:15, 10:30] = 1
            >>> LatentImage.encode(pipeline, Image.new("RGB", (40, 30), "red"), label_map).objects
            [1]

        Args:
            pipeline: the model.
            image: RGB, of any size.
            regions: of the picture, at its size: a label map (0 is the background) or the masks of one picture.
            caption: what it shows.
            control: its conditioning picture, in the pipeline's square.

        Raises:
            ValueError: if regions and picture differ in size, or there are more regions than the pipeline holds.
        """
        CutImage(image, regions)
        framed = frame_regions(regions, pipeline.resolution, pipeline.num_regions)
        return LatentImage(pipeline, image, framed, pipeline.encode(frame_image(image, pipeline.resolution), framed), caption, control)

    @staticmethod
    def open(
        pipeline: RegionPipeline, path: str | Path, segmenter: Callable[[Tensor], Tensor] | None = None, caption: str = ""
    ) -> LatentImage:
        """Open a picture file, cut it into regions and encode them.

        Example:
            >>> picture = LatentImage.open(pipeline, "docs/examples/table.png")
            >>> picture.objects
            [1, 2, 3, 4]

        Args:
            pipeline: the model.
            path: of the picture, in any common format.
            segmenter: a picture in [-1, 1] to its label map, such as those of `gen.segmentation`. None takes the label map
                `NAME.mask.png` beside the picture if there is one, and else cuts by colour.
            caption: what it shows.

        Raises:
            ValueError: if a file is missing or damaged, or the regions do not fit.
        """
        image, beside = load_image(path), Path(path).with_suffix(".mask.png")
        if segmenter is None and beside.exists():
            return LatentImage.encode(pipeline, image, load_label_map(beside), caption)
        if segmenter is None:
            from gen.segmentation import Classical

            segmenter = Classical(max_regions=pipeline.num_regions - 1)
        return LatentImage.encode(pipeline, image, segmenter(to_tensor(image)), caption)

    @property
    def objects(self) -> list[int]:
        """The numbers of the regions that can be edited; 0, the background, is not among them."""
        return regions_present(self.latents)

    @property
    def pixel_values(self) -> Float[Tensor, "1 3 r r"]:
        """The picture in the pipeline's square, in [-1, 1]."""
        return frame_image(self.image, self.pipeline.resolution)

    def numbered(self) -> Image.Image:
        """Return the picture with every region tinted, outlined and numbered, enlarged if it is small, shrunk if it is large."""
        (least, most), longer = SHOWN_SIDES, max(self.image.size)
        image = self.image if longer <= most else self.image.resize(fitted_size(*self.image.size, most), Image.Resampling.LANCZOS)
        return overlay_regions(image, unframe_masks(self.regions.masks[0], image.size), scale=max(1, least // longer))

    def refined(self, num_steps: int = 100, seed: int = 0) -> LatentImage:
        """Return the picture with tokens that were optimised to show it in more detail, see `gen.editing.refine`.

        Args:
            num_steps: of the optimisation.
            seed: of its noise.

        Returns:
            The same picture; its latents are edited and painted like any others.

        Raises:
            ValueError: if there is no step.
        """
        refinement = Refinement(num_steps=num_steps, seed=seed)
        return replace(self, latents=refine(self.pipeline, self.pixel_values, self.latents, refinement))

    def changed(self, latents: RegionLatents) -> Bool[Tensor, "h w"]:
        """Return which of the picture's pixels an edit to these latents may change.

        Example:
            >>> bool(picture.changed(picture.latents).any())
            False
        """
        area = changed_area(self.regions.to(latents.valid.device), self.latents, latents)
        return unframe_mask(area[0], self.image.size)

    def paint(
        self,
        latents: RegionLatents,
        *,
        composite: bool = True,
        context: bool = True,
        prompt: str | None = None,
        seed: int = 0,
        num_inference_steps: int = 4,
        guidance_scale: float = 1.0,
    ) -> Image.Image:
        """Paint edited latents; every pixel that the edit cannot change is the picture's own, bit for bit.

        Example:
            >>> moved = edits.move(picture.latents, region=1, dx=0.1, dy=0.1)
            >>> picture.paint(moved, seed=3).save("moved.png")
            >>> picture.paint(picture.latents).tobytes() == picture.image.tobytes()
            True

        Args:
            latents: what has become of the picture's own.
            composite: put the untouched pixels back; False shows all that the model painted.
            context: let the model see the pixels that the edit cannot change; with False and `composite=False` the latents alone decide.
            prompt: a sentence as a second condition; None for the caption.
            seed: of the noise.
            num_inference_steps: of the sampler.
            guidance_scale: 1 is no guidance.

        Returns:
            A picture as large as the original.

        Raises:
            ValueError: if an object would have its centre outside the picture.
        """
        painted = self.paint_pixels(
            latents, context=context, prompt=prompt, seed=seed, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale
        )
        return self.at_full_size(painted, composite)[0]

    def paint_all(
        self,
        latents: Sequence[RegionLatents],
        *,
        composite: bool = True,
        context: bool = True,
        prompt: str | None = None,
        seed: int = 0,
        num_inference_steps: int = 4,
        guidance_scale: float = 1.0,
    ) -> list[Image.Image]:
        """Paint several edits of the picture at once, all from the same noise; arguments as for `paint`.

        Example:
            >>> without = picture.paint_all([edits.remove(picture.latents, region) for region in picture.objects])
            >>> len(without)
            4

        Returns:
            A picture for each, as large as the original.

        Raises:
            ValueError: if there are no latents, or an object would have its centre outside the picture.
        """
        painted = self.paint_pixels(
            *latents, context=context, prompt=prompt, seed=seed, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale
        )
        return self.at_full_size(painted, composite)

    def paint_pixels(
        self,
        *latents: RegionLatents,
        context: bool = True,
        prompt: str | None = None,
        seed: int = 0,
        num_inference_steps: int = 4,
        guidance_scale: float = 1.0,
    ) -> EditedPixels:
        """Paint several edits in the pipeline's square, as the model sees them: nothing is put back, nothing enlarged.

        Arguments as for `paint`.

        Raises:
            ValueError: as `paint_all` does.
        """
        after = latents[0] if len(latents) == 1 else concatenate(list(latents))
        width, height = fitted_size(*self.image.size, self.pipeline.resolution)
        check_extent(after, (width, height), self.pipeline.resolution)
        count = len(after.valid)
        prompts = [prompt] * count if prompt is not None else [caption_of_present(self.caption, row) for row in after.valid.tolist()]
        control = self.control if all(item is self.latents for item in latents) else None
        source, painted = self.pixel_values, []
        for first in range(0, count, AT_ONCE):
            some = after[first : first + AT_ONCE]
            rows = [0] * len(some.valid)
            painted.append(
                paint_edited(
                    self.pipeline,
                    source[rows],
                    self.regions[rows],
                    self.latents[rows],
                    some,
                    context=context,
                    control=None if control is None else control[rows],
                    prompt=prompts[first : first + AT_ONCE],
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance_scale,
                    generator=[torch.Generator().manual_seed(seed) for _ in rows],
                )
            )
        return EditedPixels(torch.cat([part.pixel_values for part in painted]), after, torch.cat([part.changed for part in painted]))

    def at_full_size(self, painted: EditedPixels, composite: bool = True) -> list[Image.Image]:
        """Bring what `paint_pixels` painted in the square to the original's size.

        Args:
            painted: one or more paintings of this picture.
            composite: put the untouched pixels back; False shows all that the model painted.

        Returns:
            A picture for each painting.
        """
        areas = [area.cpu() if composite else None for area in painted.changed]
        return [paste_changed(self.image, pixels.cpu(), area) for pixels, area in zip(painted.pixel_values, areas, strict=True)]
