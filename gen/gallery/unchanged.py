"""What an edit left alone, and where it put the object: measured on the painted pictures, without a rendered truth."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageChops
from torch import Tensor

from gen.editing.latent_image import LatentImage
from gen.editing.painting import EditedPixels
from gen.editing.preserve import composite
from gen.evaluation.region_metrics import centroids, object_pixels
from gen.gallery.panel import within_picture
from image_utils.convert import to_tensor
from image_utils.draw import overlay_heat

FULL_HEAT = 0.25  # difference, of the range from black to white, that is shown hottest
HEAT_SCALE = f"from none (dark) to {255 * FULL_HEAT:.0f} grey levels of 255 (light)"  # as sheets say it


def psnr_elsewhere(picture: LatentImage, painted: EditedPixels) -> Float[Tensor, " b"]:
    """Return the PSNR in dB of the pixels that an edit cannot change, as the model painted them; at most 100, also where there are none.

    After compositing these pixels are the picture's own, bit for bit; this says what the model made of them itself. What fills the square
    beyond a picture that is not square does not count.

    Example:
        >>> from gen.gallery.unchanged import psnr_elsewhere
        >>> painted = picture.paint_pixels(edits.move(latents, 1, 0.1, 0.1))
        >>> float(psnr_elsewhere(picture, painted)) > 40
        True
    """
    error = within_picture(picture, (painted.pixel_values - picture.pixel_values.to(painted.pixel_values)).square().mean(1))
    outside = ~within_picture(picture, painted.changed)
    mean = (error * outside).sum((1, 2)) / outside.sum((1, 2)).clamp_min(1)
    return (10 * torch.log10(4 / mean)).clamp(max=100.0)


def centroid_errors(
    picture: LatentImage, region: int, painted: EditedPixels, removed: EditedPixels, shifts: Float[Tensor, "b 2"]
) -> Float[Tensor, " b"]:
    """Return how far the painted object's centroid lies from where it was asked to be, as a share of the picture's longer side.

    The object's pixels are those that look more like the object than like what the same pipeline paints in its absence; so the measure
    needs no rendered truth, and is as good as that removal. NaN where no pixel looks like the object.

    Args:
        picture: the picture before.
        region: the object.
        painted: it moved; b pictures.
        removed: it removed; one picture.
        shifts: by how much (x, y) it was moved.

    Raises:
        ValueError: if the picture's regions do not hold the object, because an edit put it there.
    """
    source = picture.pixel_values.to(painted.pixel_values)
    behind = composite(source, removed.pixel_values, removed.changed)
    images = composite(source.expand_as(painted.pixel_values), painted.pixel_values, painted.changed)
    if region >= picture.regions.masks.shape[1] or not picture.regions.valid[0, region]:
        raise ValueError(f"region {region} has no pixels in the picture, so it cannot be looked for; choose one of {picture.regions}")
    mask = picture.regions.masks[:, region].to(source.device)
    count = len(images)
    found = object_pixels(images, source.expand(count, -1, -1, -1), behind.expand(count, -1, -1, -1), mask.expand(count, -1, -1))
    asked = centroids(mask) + shifts.to(source.device)
    return (centroids(found & painted.changed) - asked).norm(dim=-1)


def difference_map(before: Image.Image, after: Image.Image) -> Image.Image:
    """Show where two pictures differ, dark where they are the same; the hottest colour is a quarter of the range from black to white.

    Example:
        >>> from gen.gallery.unchanged import difference_map
        >>> difference_map(picture.image, picture.paint(edits.remove(latents, 2))).save("difference.png")

    Raises:
        ValueError: if they differ in size.
    """
    if before.size != after.size:
        raise ValueError(f"a picture of {before.width}x{before.height} pixels is compared with one of {after.width}x{after.height}")
    return overlay_heat(before, differences(before, after).clamp(max=FULL_HEAT), 0.0, FULL_HEAT)


def differences(before: Image.Image, after: Image.Image) -> Float[Tensor, "h w"]:
    """Return the largest difference over the channels at every pixel, in [0, 1]."""
    return (to_tensor(after) - to_tensor(before)).abs().amax(0) / 2


def largest_difference_outside(picture: LatentImage, edited: Image.Image, changed: Bool[Tensor, "h w"]) -> float:
    """Return the largest difference, in 8-bit grey levels, among the pixels that an edit cannot change: 0 where compositing holds."""
    levels = np.asarray(ImageChops.difference(picture.image, edited))[~changed.numpy()]
    return float(levels.max(initial=0))
