"""Position sweep: one object in thirteen places of a cross, everything else fixed."""

from __future__ import annotations

import torch
from PIL import Image

from gen.editing.latent_image import LatentImage
from gen.editing.operations import move, remove
from gen.gallery.panel import Panel, Sampling, framed, shown, subject
from gen.gallery.unchanged import FULL_HEAT, centroid_errors, differences, largest_difference_outside, psnr_elsewhere
from image_utils.draw import overlay_heat
from image_utils.grid import image_grid

ARM = 7  # places across, and down
UNSEEN = 1e-5  # a shift that nobody sees, so that the model paints the object where it is, too


def position_sweep(picture: LatentImage, region: int | None = None, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Move one object to six other places of its row and six of its column; its own place, where it is painted anew, is the thirteenth.

    The places lie evenly between the picture's edges, so the cross on the sheet stands as the object does in the picture. In the sheet's
    free corners: the regions, and what differs from the picture anywhere in the sweep, before untouched pixels are put back.

    Args:
        picture: with at least one object.
        region: which; None for the one with the most room.
        sampling: how it is painted.

    Returns:
        The sheet; one row of figures a place; an animation along the row and the column.

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
    images, raw = picture.at_full_size(painted), picture.at_full_size(painted, composite=False)
    elsewhere = psnr_elsewhere(picture, painted).tolist()
    off = (100 * centroid_errors(picture, region, painted, removed, torch.tensor(shifts))).tolist()
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
        "centroid_error_percent": sum(off) / len(off),
        "largest_centroid_error_percent": max(off),
        "change_elsewhere_composited_grey_levels": max(outside),
    }
    sheet = _cross(picture, images, raw, cells, [f"{a:.1f} dB, {b:.1f} %" for a, b in zip(elsewhere, off, strict=True)])
    return Panel(sheet, figures, _along([shown(image, 256) for image in images], column, row), table)


def _places(picture: LatentImage, region: int, axis: int) -> list[float]:
    """Return shifts along x (0) or y (1), evenly spread on both sides of the object, as many on either as there is room."""
    extent = framed(picture)[axis]
    centre, size = float(picture.latents.pose.centre[0, region, axis]), float(picture.latents.pose.size[0, region, axis])
    before, after = max(0.0, centre - size / 2), max(0.0, extent - centre - size / 2)
    if before + after < 1e-3:  # it fills the picture from edge to edge, so it leaves it by a half on either side
        before, after = centre, extent - centre
    left = min(ARM - 1, round((ARM - 1) * before / (before + after)))
    right = ARM - 1 - left
    return [-before * (left - k) / left for k in range(left)] + [UNSEEN] + [after * (k + 1) / right for k in range(right)]


def _cross(
    picture: LatentImage,
    images: list[Image.Image],
    raw: list[Image.Image],
    cells: list[tuple[int, int]],
    captions: list[str],
) -> Image.Image:
    blank = Image.new("RGB", shown(picture.image).size, "white")
    rows, texts = [[blank] * ARM for _ in range(ARM)], [[""] * ARM for _ in range(ARM)]
    for (row, column), image, caption in zip(cells, images, captions, strict=True):
        rows[row][column], texts[row][column] = shown(image), caption
    free = [(i, j) for i in (0, ARM - 1) for j in (0, ARM - 1) if (i, j) not in cells]
    largest = torch.stack([differences(picture.image, image) for image in raw]).amax(0)
    heat = overlay_heat(picture.image, largest.clamp(max=FULL_HEAT), 0.0, FULL_HEAT)
    legend = [(shown(picture.numbered()), "regions"), (shown(heat), "what differs in any of them, as painted")]
    for (row, column), (image, caption) in zip(free, legend, strict=False):
        rows[row][column], texts[row][column] = image, caption
    return image_grid(rows, captions=texts, title="one object in 13 places: PSNR elsewhere as painted, centroid error in % of the width")


def _along(images: list[Image.Image], column: int, row: int) -> list[Image.Image]:
    """Order the cross as a way: along the row and back to its own place, along the column and back."""
    across, down = images[:ARM], images[ARM:]
    down.insert(row, across[column])
    way = [*across[column:], *across[::-1], *across[:column], *down[row:], *down[::-1], *down[: row + 1]]
    return [image for k, image in enumerate(way) if k == 0 or image is not way[k - 1]]
