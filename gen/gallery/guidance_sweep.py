"""Guidance sweep: one picture, and one move in it, painted at several scales of classifier-free guidance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gen.editing.latent_image import LatentImage
from gen.evaluation.image_metrics import psnr
from gen.gallery.edits import moved_across
from gen.gallery.panel import Panel, Sampling, shown, subject, within_picture
from gen.gallery.seen import numbered
from gen.gallery.unchanged import psnr_elsewhere
from image_utils.grid import image_grid

SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)


def guidance_sweep(picture: LatentImage, scales: Sequence[float] = SCALES, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Reconstruct a picture from its latents alone, and move an object of it, at each guidance scale; nothing is put back.

    At 0 the model follows what it paints without regions, at 1 what it paints with them, above 1 it exaggerates the difference. A model
    that was trained without conditioning dropout does not know what to paint without regions, so only 1 means something to it.

    Args:
        picture: one without objects shows its reconstructions only.
        scales: of guidance, each once.
        sampling: how it is painted; its own guidance scale is not read.

    Returns:
        The sheet, and one row of figures a scale.

    Raises:
        ValueError: if there is no scale, one is given twice, or one is no number.
    """
    scales = [float(scale) for scale in scales]
    if not scales or len(set(scales)) < len(scales) or not all(map(math.isfinite, scales)):
        raise ValueError(f"scales={scales} of the guidance sweep: give at least one finite number, each once")
    moved = moved_across(picture, subject(picture)) if picture.objects else None
    rows, texts, table = [[shown(picture.image)]], [["picture"]], []
    if moved is not None:
        rows, texts = [*rows, [numbered(picture)]], [*texts, ["regions"]]
    for scale in scales:
        settings = vars(replace(sampling, guidance_scale=scale))
        painted = picture.paint_pixels(picture.latents, context=False, **settings)
        found = within_picture(picture, painted.pixel_values)
        likeness = float(psnr(found, within_picture(picture, picture.pixel_values).to(found)))
        table.append({"guidance_scale": scale, "psnr_db": likeness})
        rows[0] += [shown(image) for image in picture.at_full_size(painted, composite=False)]
        texts[0].append(f"{likeness:.1f} dB")
        if moved is not None:
            painted = picture.paint_pixels(moved, **settings)
            table[-1]["psnr_elsewhere_db"] = float(psnr_elsewhere(picture, painted)[0])
            rows[1] += [shown(image) for image in picture.at_full_size(painted, composite=False)]
            texts[1].append(f"{table[-1]['psnr_elsewhere_db']:.1f} dB elsewhere")
    best = max(table, key=lambda row: row["psnr_db"])
    title = "by guidance scale: painted from the latents alone, PSNR; one object moved, PSNR elsewhere"
    sheet = image_grid(rows, column_labels=["", *(f"{scale:g}" for scale in scales)], captions=texts, title=title)
    return Panel(sheet, {"best_guidance_scale": best["guidance_scale"], "psnr_at_best_scale_db": best["psnr_db"]}, table=table)
