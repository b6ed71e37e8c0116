"""Removal grid: every object of a picture taken away, all of them, all but one; and what else that changed."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen.editing.latent_image import LatentImage
from gen.editing.operations import keep, remove
from gen.editing.painting import EditedPixels
from gen.evaluation.region_metrics import residual_share
from gen.gallery.panel import Panel, Sampling, shown
from gen.gallery.seen import as_pictures, numbered
from gen.gallery.unchanged import HEAT_SCALE, difference_map, psnr_elsewhere
from gen.models.source_context import SourceContext
from image_utils.grid import image_grid


def removal_grid(picture: LatentImage, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Remove each object alone, then all of them, then all but each one; under every picture, what differs from the one before.

    Nothing is put back afterwards: pictures, maps and figures show what the model painted.

    Returns:
        The sheet, and one row of figures a removed object. A picture without objects gives a sheet of itself and its regions.
    """
    before, objects = picture.latents, picture.objects
    if not objects:
        return Panel(image_grid([[shown(picture.image), numbered(picture)]], captions=[["picture", "it has no object to remove"]]))
    edited = [*(remove(before, k) for k in objects), reduce(remove, objects, before), *(keep(before, k) for k in objects)]
    gone = torch.stack([before.valid[0] & ~after.valid[0] for after in edited])
    painted = picture.paint_pixels(*edited, **vars(sampling))
    elsewhere, residual = psnr_elsewhere(picture, painted).tolist(), (100 * residual_shares(picture, painted, gone)).tolist()
    (source,), raw = as_pictures(picture, picture.pixel_values), as_pictures(picture, painted.pixel_values)
    pictures = [shown(image) for image in (picture.image, *picture.at_full_size(painted, composite=False))]
    maps = [numbered(picture), *(shown(difference_map(source, image)) for image in raw)]
    names = ["picture", *(f"without {k}" for k in objects), "no objects", *(f"only {k}" for k in objects)]
    below = ["regions", *(f"{a:.1f} dB, {b:.0f} % left" for a, b in zip(elsewhere, residual, strict=True))]
    half = len(objects) + 1
    rows = [part for k in (0, half) for part in (pictures[k : k + half], maps[k : k + half])]
    texts = [part for k in (0, half) for part in (names[k : k + half], below[k : k + half])]
    alone = list(zip(objects, elsewhere, residual, strict=False))
    figures = {
        "psnr_elsewhere_db": sum(elsewhere[: len(objects)]) / len(objects),
        "lowest_psnr_elsewhere_db": min(elsewhere[: len(objects)]),
        "residual_percent": sum(residual[: len(objects)]) / len(objects),
        "residual_of_all_percent": residual[len(objects)],
    }
    table = [{"region": float(k), "psnr_elsewhere_db": a, "residual_percent": b} for k, a, b in alone]
    title = f"objects removed, as painted; below, what differs, {HEAT_SCALE}, PSNR elsewhere, and how much of the objects is left"
    return Panel(image_grid(rows, captions=texts, title=title), figures, table=table)


def residual_shares(picture: LatentImage, painted: EditedPixels, gone: Bool[Tensor, "b n"]) -> Float[Tensor, " b"]:
    """Return the share of the removed objects' pixels that still look more like them than like the floor around.

    What is really behind an object is not known without a rendered truth. In its place stands the floor that the edit cannot change,
    continued smoothly, which no model painted; where there is texture or another object behind, it is only near. Shadows that stay are
    not counted. In a picture that is objects all over, all that the edit cannot change is floor.

    Args:
        picture: before.
        painted: after each of b removals.
        gone: which regions each of them took away.
    """
    masks = picture.regions.masks[0].to(painted.changed.device)
    source = picture.pixel_values.to(painted.pixel_values).expand_as(painted.pixel_values)
    floor = ~masks[1:].any(0)
    open_floor = (floor if floor.any() else ~floor).float().expand(painted.changed.shape)
    around = SourceContext(source, ~painted.changed).continued(open_floor)
    removed = (masks & gone.to(masks.device)[..., None, None]).any(1)
    return residual_share(painted.pixel_values, source, around, removed)
