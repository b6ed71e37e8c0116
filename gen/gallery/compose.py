"""Compose: objects of other pictures put into one, everything else fixed."""

from __future__ import annotations

from collections.abc import Sequence

from gen.editing.latent_image import LatentImage
from gen.editing.operations import insert
from gen.gallery.panel import Panel, Sampling, outlined, shown
from gen.gallery.unchanged import HEAT_SCALE, difference_map, largest_difference_outside, psnr_elsewhere
from gen.regions import RegionLatents
from image_utils.grid import image_grid

SIDE = 192  # pixels, of the longer side of a picture on the sheet

Placed = tuple[LatentImage, int, tuple[float, float] | None]


def compose(
    picture: LatentImage,
    others: Sequence[Placed],
    latents: RegionLatents | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
) -> Panel:
    """Put objects of other pictures into a picture, each into a free slot.

    Args:
        picture: what they are put into.
        others: of each object its picture, its number there, and the (x, y) of its new centre, None for where it was; one or more.
        latents: what has become of the picture before, such as with an object taken out; None for the picture as it is.
        sampling: how it is painted.

    Returns:
        The pictures that the objects come from, the picture, what it becomes, and what differs before untouched pixels are put back.

    Raises:
        ValueError: if there is nothing to put in, or `insert` refuses an object.
    """
    if not others:
        raise ValueError("others holds no object to put into the picture; give at least one")
    after = picture.latents if latents is None else latents
    for other, region, centre in others:
        after = insert(after, other.latents, region, centre)
    painted = picture.paint_pixels(after, **vars(sampling))
    image, raw = (picture.at_full_size(painted, composite)[0] for composite in (True, False))
    figures = {
        "psnr_elsewhere_db": float(psnr_elsewhere(picture, painted)[0]),
        "change_elsewhere_composited_grey_levels": largest_difference_outside(picture, image, picture.changed(after)),
    }
    donors = [outlined(other, region, side=SIDE) for other, region, _ in others]
    labels = [*(f"region {region} of this" for _, region, _ in others), "into this", "composed", "difference, as painted"]
    pictures = [*donors, *(shown(each, SIDE) for each in (picture.image, image, difference_map(picture.image, raw)))]
    said = f"PSNR elsewhere {figures['psnr_elsewhere_db']:.1f} dB"
    return Panel(
        image_grid([pictures], column_labels=labels, captions=[[*[""] * (len(labels) - 1), said]], title=f"difference {HEAT_SCALE}"),
        figures,
    )
