"""Position sweep: one object in thirteen places of a cross, everything else fixed."""

from __future__ import annotations

import math

import torch
from PIL import Image

from gen.editing.latent_image import LatentImage
from gen.editing.operations import move, remove
from gen.editing.painting import EditedPixels
from gen.gallery.panel import Panel, Sampling, framed, shown, subject
from gen.gallery.seen import as_pictures, numbered
from gen.gallery.unchanged import FULL_HEAT, HEAT_SCALE, centroid_errors, differences, largest_difference_outside, psnr_elsewhere
from image_utils.draw import overlay_heat
from image_utils.grid import image_grid

ARM = 7  # places across, and down
UNSEEN = 1e-5  # a shift that nobody sees, so that the model paints the object where it is, too


def position_sweep(picture: LatentImage, region: int | None = None, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Move one object to six other places of its row and six of its column; its own place, where it is painted anew, is the thirteenth.

    The places lie evenly between the picture's edges, so the cross on the sheet stands as the object does in the picture. In the sheet's
    free corners: the regions, and what differs from the picture anywhere in the sweep, before untouched pixels are put back.

    Example:
        >>> from gen.gallery.position_sweep import position_sweep
        >>> panel = position_sweep(picture, region=1)
        >>> len(panel.table), panel.figures["change_elsewhere_composited_grey_levels"]
        (13, 0.0)
        >>> panel.image.save("sweep.png")

    Args:
        picture: with at least one object.
        region: which; None for the one with the most room.
        sampling: how it is painted.

    Returns:
        The sheet; one row of figures a place; an animation along the row and the column. Where nothing painted looks like the object, its
        centroid error is NaN in the table, and the figures leave that place out.

    Raises:
        ValueError: if the region is not there.
    """
    region = subject(picture) if region is None else region
    across, down = _places(picture, region, 0), _places(picture, region, 1)
    column, row = across.index(UNSEEN), down.index(UNSEEN)
    shifts = [(dx, 0.0) for dx in across] + [(0.0, dy) for dy in down if dy != UNSEEN]
    cells = [(row, k) for k in range(ARM)] + [(k, column) for k in range(ARM) if k != row]
    moved = [move(picture.latents, region, dx, dy) for dx, dy in shifts]
    painted = picture.paint_pixels(*moved, **vars(sampling))
    removed = picture.paint_pixels(remove(picture.latents, region), **vars(sampling))
    images = picture.at_full_size(painted)
    elsewhere = psnr_elsewhere(picture, painted).tolist()
    off = (100 * centroid_errors(picture, region, painted, removed, torch.tensor(shifts))).tolist()
    known = [error for error in off if not math.isnan(error)]
    outside = [largest_difference_outside(picture, image, picture.changed(after)) for image, after in zip(images, moved, strict=True)]
    table = [
        {
            "dx": 0.0 if dx == UNSEEN else dx,
            "dy": dy,
            "psnr_elsewhere_db": a,
            "centroid_error_percent": b,
            "change_elsewhere_composited_grey_levels": c,
        }
        for (dx, dy), a, b, c in zip(shifts, elsewhere, off, outside, strict=True)
    ]
    figures = {
        "psnr_elsewhere_db": sum(elsewhere) / len(elsewhere),
        "lowest_psnr_elsewhere_db": min(elsewhere),
        "places_with_the_object": float(len(known)),
        "change_elsewhere_composited_grey_levels": max(outside),
    }
    if known:
        figures |= {"centroid_error_percent": sum(known) / len(known), "largest_centroid_error_percent": max(known)}
    captions = [f"{a:.1f} dB, " + ("not found" if math.isnan(b) else f"{b:.1f} %") for a, b in zip(elsewhere, off, strict=True)]
    sheet = _cross([shown(image) for image in images], cells, captions, _legend(picture, painted), f"object {region} in 13 places")
    return Panel(sheet, figures, _along([shown(image, 256) for image in images], column, row), table)


def _places(picture: LatentImage, region: int, axis: int) -> list[float]:
    """Return shifts along x (0) or y (1), evenly spread on both sides of the object, as many on either as there is room."""
    extent = framed(picture)[axis]
    centre, size = float(picture.latents.pose.centre[0, region, axis]), float(picture.latents.pose.size[0, region, axis])
    before, after = max(0.0, centre - size / 2), max(0.0, extent - centre - size / 2)
    if before + after < 1e-3:  # it fills the picture from edge to edge, so it leaves it by a half on either side
        before, after = 0.999 * centre, 0.999 * (extent - centre)  # its centre stays in the picture, however numbers are rounded
    left = min(ARM - 1, round((ARM - 1) * before / (before + after)))
    right = ARM - 1 - left
    return [-before * (left - k) / left for k in range(left)] + [UNSEEN] + [after * (k + 1) / right for k in range(right)]


def _legend(picture: LatentImage, painted: EditedPixels) -> list[tuple[Image.Image, str]]:
    """Return the regions, and what differs from the picture in any of its paintings, with captions."""
    (source,), raw = as_pictures(picture, picture.pixel_values), as_pictures(picture, painted.pixel_values)
    largest = torch.stack([differences(source, image) for image in raw]).amax(0)
    heat = overlay_heat(source, largest.clamp(max=FULL_HEAT), 0.0, FULL_HEAT)
    return [(numbered(picture), "regions"), (shown(heat), "what differs in any of them, as painted")]


def _cross(
    images: list[Image.Image], cells: list[tuple[int, int]], captions: list[str], legend: list[tuple[Image.Image, str]], what: str
) -> Image.Image:
    """Lay pictures out as a cross, and the legend into the free cells that are nearest to corners."""
    blank = Image.new("RGB", images[0].size, "white")
    rows, texts = [[blank] * ARM for _ in range(ARM)], [[""] * ARM for _ in range(ARM)]
    free = [(i, j) for i in range(ARM) for j in range(ARM) if (i, j) not in cells]
    free.sort(key=lambda cell: sum(min(place, ARM - 1 - place) for place in cell))
    placed = [*zip(images, captions, strict=True), *legend]
    for (row, column), (image, caption) in zip([*cells, *free[: len(legend)]], placed, strict=True):
        rows[row][column], texts[row][column] = image, caption
    title = f"{what}: PSNR elsewhere as painted, centroid error in % of the longer side; difference {HEAT_SCALE}"
    return image_grid(rows, captions=texts, title=title)


def _along(images: list[Image.Image], column: int, row: int) -> list[Image.Image]:
    """Order the cross as a way: along the row and back to its own place, along the column and back."""
    across, down = images[:ARM], images[ARM:]
    down.insert(row, across[column])
    way = [*across[column:], *across[::-1], *across[:column], *down[row:], *down[::-1], *down[: row + 1]]
    return [image for k, image in enumerate(way) if k == 0 or image is not way[k - 1]]
