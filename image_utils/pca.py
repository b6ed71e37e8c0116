"""Features as colours: their three main directions become red, green and blue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# The strongest 1 % at either end are clipped, so that a few outliers do not leave all else grey.
CLIPPED = 0.01
# A direction whose spread is this much smaller than the first one's holds rounding errors.
NEGLIGIBLE = 1e-5
BLACK = -1.0


@dataclass(frozen=True)
class FeatureColours:
    """A fixed map from features to colours, so that several pictures can be compared.

    Attributes:
        mean: middle of the features, d numbers.
        directions: unit vectors by falling variance, the largest component of each positive; zero where features do not vary.
        low: coordinate along each direction that becomes dark.
        high: coordinate that becomes bright.
    """

    mean: Float[Tensor, "d"]
    directions: Float[Tensor, "3 d"]
    low: Float[Tensor, "3"]
    high: Float[Tensor, "3"]

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n 3"]:
        """Return red, green and blue in [-1, 1]; along a direction without variance the middle, 0."""
        coordinates = (features.detach().double() - self.mean) @ self.directions.T
        spread = self.high - self.low
        shares = (coordinates - self.low) / spread.where(spread > 0, 1)
        return torch.where(spread > 0, shares.clamp(0, 1) * 2 - 1, 0).float()


def fit_colours(features: Float[Tensor, "n d"]) -> FeatureColours:
    """Find the three main directions of features by principal component analysis, in double precision; the same input gives the same.

    Args:
        features: of all the pictures that shall share the colours.

    Raises:
        ValueError: if there is no feature, or a value is not finite.
    """
    if not features.numel():
        raise ValueError(f"features of shape {tuple(features.shape)} hold nothing to colour; look at the mask")
    if not torch.isfinite(features).all():
        raise ValueError("features holds values that are not finite; look at what computed them")
    values = features.detach().double()
    mean = values.mean(0)
    centred = values - mean
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(values))
    spreads, directions = variances.flip(0)[:3].clamp(min=0).sqrt(), vectors.flip(1)[:, :3].T
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign() * (spreads > NEGLIGIBLE * spreads[0])[:, None]
    directions = torch.cat([directions, directions.new_zeros(3 - len(directions), directions.shape[1])])
    coordinates = (centred @ directions.T).sort(0).values
    last = len(values) - 1
    return FeatureColours(mean, directions, coordinates[round(CLIPPED * last)], coordinates[round((1 - CLIPPED) * last)])


def paint_features(
    features: Float[Tensor, "b d h w"], mask: Bool[Tensor, "b h w"] | None = None, colours: FeatureColours | None = None
) -> Float[Tensor, "b 3 h w"]:
    """Paint maps of features, all in the same colours.

    Args:
        features: of a batch of pictures.
        mask: where to look: other pixels do not shape the colours and become black.
        colours: made by `fit_colours` from other features; None makes them from these.

    Returns:
        Pictures in [-1, 1], for `to_pil`.

    Raises:
        ValueError: as `fit_colours` does.
    """
    b, _, h, w = features.shape
    seen = mask if mask is not None else torch.ones(b, h, w, dtype=torch.bool, device=features.device)
    chosen = features.permute(0, 2, 3, 1)[seen]
    painted = torch.full((b, h, w, 3), BLACK, device=features.device)
    painted[seen] = (colours or fit_colours(chosen))(chosen)
    return painted.permute(0, 3, 1, 2)
