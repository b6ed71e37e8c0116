"""Feature PCA: pictures as the model holds them, the three main directions of their features as red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from gen.editing.latent_image import LatentImage
from gen.gallery.panel import Panel, outlined, within_picture
from gen.models.region_crop_encoder import RegionCropEncoder, crop_regions
from gen.models.region_encoder import RegionEncoder
from gen.regions import cell_centres, picture_coordinates
from image_utils.convert import to_pil
from image_utils.grid import image_grid
from image_utils.pca import FeatureColours, fit_colours

SIDE = 256  # pixels, of the square in which a picture is painted


@dataclass(frozen=True)
class Grids:
    """Square grids of features, each in a place of the picture, the later ones above.

    Attributes:
        cells: k x k features each, row by row.
        places: of every pixel in each grid, which is [-1/2, 1/2]^2.
        masks: of every pixel, whether it belongs to the grid's region.
    """

    cells: Float[Tensor, "m k k d"]
    places: Float[Tensor, "m p 2"]
    masks: Bool[Tensor, "m p"]

    def painted(self, colours: FeatureColours, cut: bool) -> Float[Tensor, "3 s s"]:
        """Return the square with each grid's cells in it, cut by the masks or whole, in [-1, 1]; black where none is."""
        square = torch.full((self.masks.shape[1], 3), -1.0)
        side = self.cells.shape[1]
        for cells, places, mask in zip(self.cells, self.places, self.masks, strict=True):
            x, y = ((places + 0.5) * side).long().clamp(0, side - 1).unbind(-1)
            shown = mask if cut else (places.abs() <= 0.5).all(-1)
            square[shown] = colours(cells.flatten(0, 1)).unflatten(0, (side, side))[y, x][shown]
        return square.mT.unflatten(1, (SIDE, SIDE))


def feature_pca(pictures: Sequence[LatentImage]) -> Panel:
    """Paint tokens as colours, the same colours in all pictures, so that what is alike to the model looks alike.

    Where the encoder lays a region's tokens as a grid into its box, they are painted there, cut by the mask and whole; else the mask has
    the colour of the region's mean token. Beside them, in colours of its own, the last map of the encoder's backbone, if it has one.

    Args:
        pictures: one or more, encoded by one pipeline.

    Returns:
        The sheet; how much of the variance the colours show.

    Raises:
        ValueError: if there is no picture, or their tokens have different shapes.
    """
    shapes = {tuple(picture.latents.tokens.shape[2:]) for picture in pictures}
    if len(shapes) != 1:
        raise ValueError(f"{len(pictures)} pictures with tokens of shapes {sorted(shapes)}; give one or more, encoded by one pipeline")
    tokens, backbone = [_tokens(picture) for picture in pictures], [_backbone(picture) for picture in pictures]
    columns = {"regions": [outlined(picture, *picture.objects, side=SIDE) for picture in pictures]}
    figures = {}
    for name, grids in (("tokens", tokens), ("backbone", [each for each in backbone if each is not None])):
        if not grids:
            continue
        features = torch.cat([each.cells.flatten(0, 2) for each in grids])
        colours = fit_colours(features)
        figures[f"variance_of_{name}_shown_percent"] = shown = _variance_shown(features, colours)
        columns[f"{name} ({shown:.0f} % of the variance)"] = _painted(pictures, grids, colours)
        if name == "tokens" and grids[0].cells.shape[1] > 1:
            columns["tokens in their boxes"] = _painted(pictures, grids, colours, cut=False)
    sheet = image_grid(list(zip(*columns.values(), strict=True)), column_labels=list(columns))
    return Panel(sheet, figures)


def _tokens(picture: LatentImage) -> Grids:
    """Return every region's tokens, on their grid if they have one."""
    order = _order(picture)
    tokens = picture.latents.tokens[0, order].cpu()
    encoder = picture.pipeline.region_encoder
    if isinstance(encoder, RegionCropEncoder):
        return Grids(tokens.unflatten(1, (encoder.side, encoder.side)), *_places(picture, order))
    return Grids(tokens.mean(1)[:, None, None], *_places(picture, order))


@torch.no_grad()
def _backbone(picture: LatentImage) -> Grids | None:
    """Return the last map of the encoder's backbone: of every region's crop, or of the picture."""
    pipeline, encoder = picture.pipeline, picture.pipeline.region_encoder
    pixel_values, regions = picture.pixel_values.to(pipeline.device), picture.regions.to(pipeline.device)
    if isinstance(encoder, RegionCropEncoder):
        order = _order(picture)
        crops = crop_regions(pixel_values, regions.masks, regions.boxes(), encoder.crop_size, regions.valid)
        numbers = regions.valid[0].nonzero()[:, 0].tolist()
        maps = encoder.backbone(crops)[-1][[numbers.index(region) for region in order]]
        return Grids(maps.movedim(1, -1).cpu(), *_places(picture, order))
    if not isinstance(encoder, RegionEncoder):
        return None
    known = torch.ones_like(pixel_values[:, :1])
    coordinates = picture_coordinates(pipeline.resolution, pipeline.resolution, pipeline.device)[None]
    image = torch.cat([pixel_values, known, coordinates], 1)[:, : encoder.backbone.in_channels]
    places = cell_centres(SIDE, SIDE)[None] - 0.5
    return Grids(encoder.backbone(image)[-1].movedim(1, -1).cpu(), places, torch.ones_like(places[..., 0], dtype=torch.bool))


def _order(picture: LatentImage) -> list[int]:
    """Return the regions from the background, if there is any, to the one whose lower edge is lowest, which stands nearest."""
    background = [0] if picture.latents.valid[0, 0] else []
    return background + sorted(picture.objects, key=lambda region: float(picture.regions.boxes()[0, region, 3]))


def _places(picture: LatentImage, regions: list[int]) -> tuple[Float[Tensor, "m p 2"], Bool[Tensor, "m p"]]:
    """Return where each pixel lies in each region's box, and whether it belongs to it."""
    places = picture.latents.pose.to("cpu").own_coordinates(cell_centres(SIDE, SIDE))[0, regions]
    masks = F.interpolate(picture.regions.masks[:, regions].float(), (SIDE, SIDE), mode="nearest-exact")
    return places, masks[0].flatten(1).bool()


def _painted(pictures: Sequence[LatentImage], grids: list[Grids], colours: FeatureColours, cut: bool = True) -> list[Image.Image]:
    return [to_pil(within_picture(each, grid.painted(colours, cut))) for each, grid in zip(pictures, grids, strict=True)]


def _variance_shown(features: Float[Tensor, "n d"], colours: FeatureColours) -> float:
    centred = features.double() - colours.mean
    return 100 * float((centred @ colours.directions.T).square().sum() / centred.square().sum().clamp_min(1e-12))
