"""Mask dropout: what the encoder sees when training drops regions, and what is painted from those it keeps."""

from __future__ import annotations

import torch
from jaxtyping import Bool

from gen.editing.latent_image import LatentImage
from gen.evaluation.image_metrics import psnr
from gen.gallery.panel import Panel, Sampling, shown, within_picture
from gen.gallery.seen import numbered, without
from gen.models.erasing import drop_regions
from gen.regions import RegionLatents
from image_utils.grid import image_grid


def mask_dropout(
    picture: LatentImage,
    probability: float = 0.5,
    num_draws: int = 4,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
) -> Panel:
    """Drop objects as training does: their pixels are erased before the encoder sees the picture, and their tokens leave the set.

    Every draw is painted from its tokens alone, so where an object was dropped the model has to fill in the background.

    Args:
        picture: of one without objects nothing can be dropped: the sheet shows it whole, and no draw.
        probability: that an object is dropped, in [0, 1].
        num_draws: columns of the sheet beside the one in which all is kept.
        sampling: how it is painted; the draws, too, follow from its seed.

    Returns:
        The sheet. Figures are the PSNR on the pixels of kept regions, and how much their tokens change because others were erased, as a
        share of their length: 0 for an encoder that sees every region alone, where masks do not overlap.

    Raises:
        ValueError: if the probability or the number of draws is out of range.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability} of mask dropout is outside [0, 1]")
    if num_draws < 1:
        raise ValueError(f"num_draws={num_draws} of mask dropout: draw at least once")
    before, generator = picture.latents, torch.Generator().manual_seed(sampling.seed)
    valid = before.valid[0].cpu()
    dropped = [drop_regions(valid, probability, generator) for _ in range(num_draws if picture.objects else 0)]
    kept = valid & ~torch.stack([torch.zeros_like(valid), *dropped])
    latents = encode_kept(picture, kept)
    painted = picture.paint_pixels(*(latents[i] for i in range(len(kept))), context=False, **vars(sampling))
    masks = picture.regions.masks[0]
    gone = (masks & (valid & ~kept)[..., None, None]).any(1)
    stays = (masks & kept[..., None, None]).any(1)
    pixels = painted.pixel_values
    compared = pixels, picture.pixel_values.to(pixels).expand_as(pixels), stays.to(pixels.device)
    found = psnr(*(within_picture(picture, each) for each in compared)).tolist()
    rows = [
        [without(picture, erased) for erased in gone],
        [numbered(picture, picture.regions.keep(row[None])) for row in kept],
        [shown(image) for image in picture.at_full_size(painted, composite=False)],
    ]
    names = [", ".join(str(k) for k in picture.objects if row[k]) or "no object" for row in kept]
    texts = [[""] * len(kept), names, [f"{value:.1f} dB" if row.any() else "nothing" for value, row in zip(found, kept, strict=True)]]
    title = f"objects dropped with probability {probability:g}: PSNR on what is kept"
    labels = ["nothing dropped", *(f"draw {i + 1}" for i in range(len(dropped)))]
    sheet = image_grid(rows, ["encoder sees", "kept", "painted"], labels, captions=texts, title=title)
    figures = {"psnr_of_all_db": found[0]}
    if kept[1:].any():
        counted = [value for value, row in zip(found[1:], kept[1:], strict=True) if row.any()]  # a picture may have no background
        drift = (latents.tokens[1:] - before.tokens).norm(dim=-1) / before.tokens.norm(dim=-1).clamp_min(1e-12)
        figures["psnr_of_kept_db"] = sum(counted) / len(counted)
        figures["token_drift_percent"] = 100 * float(drift[kept[1:].to(drift.device)].mean())
    return Panel(sheet, figures)


@torch.no_grad()
def encode_kept(picture: LatentImage, kept: Bool[Tensor, "m n"]) -> RegionLatents:
    """Encode a picture m times, each time some regions alone, with the pixels of all others erased; poses stay as they are."""
    pipeline, count = picture.pipeline, len(kept)
    regions, kept = picture.regions[[0] * count].to(pipeline.device), kept.to(pipeline.device)
    erased = regions.keep(~kept).masks.any(1)
    pixel_values = picture.pixel_values.to(pipeline.device).expand(count, -1, -1, -1)
    tokens = pipeline.region_encoder(pixel_values, regions.keep(kept), ~erased)
    return RegionLatents(tokens, picture.latents.pose[[0] * count], regions.valid & kept)
