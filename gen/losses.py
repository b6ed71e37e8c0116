"""Every loss: a pure function of tensors, with its formula and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


class LossTerms(NamedTuple):
    """The number that is minimised, and the unweighted terms that it is made of."""

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weight of every loss; a loss of weight 0 is not computed.

    Attributes:
        diffusion: error of the whole picture.
        masked_diffusion: error inside the union of kept regions; of the whole picture where the conditioning was dropped.
        per_region_diffusion: mean over regions of each region's own error.
        feature_similarity: between an object's tokens with and without its neighbours.
        largest: bound of the velocity weighting, see `velocity_weight`.
    """

    diffusion: float = 0.0
    masked_diffusion: float = 1.0
    per_region_diffusion: float = 0.2
    feature_similarity: float = 0.0
    largest: float = 5.0


def combine(terms: dict[str, Tensor], weights: dict[str, float]) -> LossTerms:
    """Return the weighted sum of terms, and the terms, detached."""
    total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    return LossTerms(total, {name: value.detach() for name, value in terms.items()})


def squared_error(prediction: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Return the squared error averaged over channels, in fp32."""
    return (prediction.float() - target.float()).square().mean(1)


def diffusion_loss(error: Float[Tensor, "b h w"], weight: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """Return mean_b w_b mean_hw error.

    Args:
        error: squared error of every place.
        weight: of every sample, from its noise level.
    """
    return (weight * error.mean((1, 2))).mean()


def masked_diffusion_loss(error: Float[Tensor, "b h w"], weight: Float[Tensor, " b"], mask: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return mean_b w_b (sum_hw m error) / (sum_hw m): the error inside the mask, whatever area it covers."""
    return (weight * (error * mask).sum((1, 2)) / mask.sum((1, 2)).clamp_min(1.0)).mean()


def per_region_diffusion_loss(
    error: Float[Tensor, "b h w"], weight: Float[Tensor, " b"], masks: Float[Tensor, "b n h w"], valid: Bool[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Return the mean over regions of each region's own mean error, so that small objects count as much as large ones."""
    areas = masks.sum((2, 3))
    counted = (valid & (areas > 0)).float()
    own = torch.einsum("bhw,bnhw->bn", error, masks) / areas.clamp_min(1.0)
    return (weight * (own * counted).sum(1) / counted.sum(1).clamp_min(1.0)).mean()


def feature_similarity_loss(
    tokens: Float[Tensor, "b n q d"], others: Float[Tensor, "b n q d"], both: Bool[Tensor, "b n"], stop_gradient: bool = True
) -> Float[Tensor, ""]:
    """Return the mean of 1 - cos between a region's tokens in two copies of a scene.

    Args:
        tokens: of one copy.
        others: of the other copy, e.g. with other neighbours erased.
        both: regions present in both copies.
        stop_gradient: let only `tokens` move, against collapse.
    """
    others = others.detach() if stop_gradient else others
    distance = 1 - F.cosine_similarity(tokens.float().flatten(2), others.float().flatten(2), dim=-1)
    return (distance * both).sum() / both.sum().clamp_min(1)


def velocity_weight(alphas_cumprod: Float[Tensor, " b"], prediction_type: str, largest: float) -> Float[Tensor, " b"]:
    """Return the weight that turns the prediction's squared error into the velocity's, at most `largest`.

    With x_t = a x_0 + s e and v = a e - s x_0: |v error|^2 = |x_0 error|^2 / s^2 = |e error|^2 / a^2.

    Args:
        alphas_cumprod: a^2 of every sample, in [0, 1].
        prediction_type: "sample", "epsilon" or "v_prediction".
        largest: bound, since the weight grows without limit towards one end.

    Source: Salimans and Ho 2022, arXiv 2202.00512, section 4; bounded weights, Hang et al. 2023, arXiv 2303.09556.
    """
    share = {"sample": 1 - alphas_cumprod, "epsilon": alphas_cumprod, "v_prediction": torch.ones_like(alphas_cumprod)}[prediction_type]
    return (1 / share.clamp_min(1e-8)).clamp_max(largest)
