"""Edits: a picture, its regions, what its latents alone give, one object moved, one removed."""

from __future__ import annotations

from gen.editing.latent_image import LatentImage
from gen.editing.operations import move, remove
from gen.gallery.panel import Panel, Sampling, framed, shown, subject
from gen.gallery.seen import numbered
from gen.gallery.unchanged import psnr_elsewhere
from gen.regions import RegionLatents
from image_utils.grid import image_grid


def edits(picture: LatentImage, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Reconstruct a picture from its latents alone, move an object to the other half, and remove it; nothing is put back afterwards.

    A picture without objects shows its reconstruction.
    """
    before, names = picture.latents, {}
    painted = {"reconstruction": picture.paint_pixels(before, context=False, **vars(sampling))}
    figures = {}
    if picture.objects:
        region = subject(picture)
        painted["move"] = picture.paint_pixels(moved_across(picture, region), **vars(sampling))
        painted["removal"] = picture.paint_pixels(remove(before, region), **vars(sampling))
        names = {"move": f"{region} moved", "removal": f"{region} removed"}
        figures = {f"psnr_elsewhere_{name}_db": float(psnr_elsewhere(picture, painted[name])[0]) for name in ("move", "removal")}
    pictures = {"source": shown(picture.image), "regions": numbered(picture)}
    for name, value in painted.items():
        pictures[names.get(name, name)] = shown(picture.at_full_size(value, composite=False)[0])
    return Panel(image_grid([list(pictures.values())], column_labels=list(pictures)), figures)


def moved_across(picture: LatentImage, region: int) -> RegionLatents:
    """Move an object to the other half of the picture."""
    x, (right, _) = float(picture.latents.pose.centre[0, region, 0]), framed(picture)
    target = (x / right + 0.5) % 1.0 * 0.7 + 0.15  # of the width: within the picture, and far from where it is
    return move(picture.latents, region, target * right - x, 0.0)
