"""Single tokens: what each region's tokens say without the others, and each token without the rest of its region."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gen.editing.latent_image import LatentImage
from gen.editing.operations import keep, remove
from gen.evaluation.image_metrics import psnr
from gen.gallery.panel import SHOWN_SIDE, Panel, Sampling, shown, subject, within_picture
from gen.gallery.seen import as_pictures, numbered, over_checkerboard, without
from gen.models.sprite_layout import SpriteLayout
from gen.models.unet import draft_alone
from gen.regions import RegionLatents
from image_utils.convert import to_pil
from image_utils.grid import image_grid


def single_tokens(picture: LatentImage, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Paint a picture from one region's tokens alone, region after region, with no surroundings shown and nothing put back.

    An object alone has no background either: what stands there the model made up. A pipeline that drafts sprites shows these too, and of
    one object the sprite of every single token, with the others zero, and of all tokens but that one, in the tokens' own grid.

    Returns:
        The sheet, the background first if there is any, and one row of figures a region.
    """
    before, objects = picture.latents, picture.objects
    numbers = [0, *objects] if before.valid[0, 0] else objects
    alone = [keep(before, k, background=False) if k else reduce(remove, objects, before) for k in numbers]
    painted = picture.paint_pixels(before, *alone, context=False, **vars(sampling))
    masks, own = picture.regions.masks[0], painted.pixel_values[1:]
    compared = own, picture.pixel_values.to(own).expand_as(own), masks[numbers].to(own.device)
    found = psnr(*(within_picture(picture, each) for each in compared)).tolist()
    rows = [
        [numbered(picture), *(without(picture, ~masks[k]) for k in numbers)],
        [shown(image) for image in picture.at_full_size(painted, composite=False)],
    ]
    texts = [
        ["picture", *(f"region {k}" if k else "background" for k in numbers)],
        ["all together", *(f"alone: {value:.1f} dB" for value in found)],
    ]
    layout = picture.pipeline.conditioner.layout
    if isinstance(layout, SpriteLayout):
        rows += [[draft(picture), *sprite_pictures(layout, before, numbers)]]
        texts += [["all sprites laid out", *["its sprite"] * len(numbers)]]
    sheet = image_grid(rows, captions=texts, title="painted from each region's own tokens alone: PSNR on the region's pixels")
    if isinstance(layout, SpriteLayout) and objects:
        sheet = image_grid([[sheet], [_one_by_one(layout, before, subject(picture))]])
    table = [{"region": float(k), "psnr_alone_db": value} for k, value in zip(numbers, found, strict=True)]
    figures = {} if 0 not in numbers else {"psnr_of_background_alone_db": found[0]}
    if objects:
        figures["psnr_of_objects_alone_db"] = sum(found[-len(objects) :]) / len(objects)
    return Panel(sheet, figures, table=table)


@torch.no_grad()
def draft(picture: LatentImage) -> Image.Image:
    """Return all sprites laid out where the picture's poses say, on the background's: what the decoder starts from."""
    pipeline = picture.pipeline
    pixels = pipeline.latent_space.unfold(draft_alone(pipeline.condition(picture.latents)))
    return shown(as_pictures(picture, pixels)[0])


@torch.no_grad()
def sprite_pictures(layout: SpriteLayout, latents: RegionLatents, numbers: list[int], side: int = SHOWN_SIDE) -> list[Image.Image]:
    """Return regions' sprites in the proportions of their boxes, over a checkerboard by their opacity; the background is opaque.

    Args:
        layout: of the pipeline that made the latents.
        latents: of one picture, or of as many as there are numbers: the region of each.
        numbers: the regions.
        side: of a picture's longer side, in pixels.
    """
    sprites = layout.sprites(latents).expand(len(numbers), -1, -1, -1, -1)
    sizes = latents.pose.size.expand(len(numbers), -1, -1)
    return [_sprite_picture(sprites[i, k], sizes[i, k], side, opaque=k == 0) for i, k in enumerate(numbers)]


def _sprite_picture(sprite: Float[Tensor, "4 s s"], size: Float[Tensor, " 2"], side: int, opaque: bool) -> Image.Image:
    sprite = sprite.float().cpu()
    width, height = (side * size / size.max().clamp_min(1e-3)).round().clamp_min(1).int().tolist()
    colours = to_pil(sprite[:3]).resize((width, height), Image.Resampling.NEAREST)
    return over_checkerboard(colours, torch.ones_like(sprite[3]) if opaque else sprite[3].sigmoid())


def _one_by_one(layout: SpriteLayout, latents: RegionLatents, region: int) -> Image.Image:
    """Show a region's sprite, what it is with each token alone and what it is without each one."""
    count = latents.tokens.shape[2]
    each, chosen = latents[[0] * count], torch.eye(count, device=latents.tokens.device)[:, None, :, None]
    grids = [
        sprite_pictures(layout, replace(each, tokens=each.tokens * share), [region] * count, SHOWN_SIDE // 2)
        for share in (chosen, 1 - chosen)
    ]
    pictures = [image_grid([grid[k : k + layout.side] for k in range(0, count, layout.side)]) for grid in grids]
    whole = sprite_pictures(layout, latents, [region], max(pictures[0].size))
    return image_grid([whole + pictures], captions=[[f"region {region}: all {count} tokens", "each token alone", "each token left out"]])
