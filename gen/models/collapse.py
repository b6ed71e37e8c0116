"""Collapse: numbers that tell whether the tokens of different objects have become one and the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_MOST_REGIONS = 512  # that are looked at: enough for the figures, and the singular values stay cheap


@torch.no_grad()
def token_statistics(tokens: Float[Tensor, "b n q d"], valid: Bool[Tensor, "b n"]) -> dict[str, Float[Tensor, ""]]:
    """Measure how different the regions of a batch are; a region's tokens count as one vector.

    Args:
        tokens: of all regions.
        valid: regions that count, at best objects alone: the background differs from them also when they have collapsed.

    Returns:
        `effective_rank`: exp of the entropy of the normalised singular values, 1 (all regions are multiples of one vector) to the smaller
        of their number and their length; `mean_cosine`: over pairs of regions of different pictures, 1 where all are alike; `mean_std`:
        over the numbers of the vector, of their standard deviation over regions. NaN where there is nothing to measure.

    Source: effective rank: Roy and Vetterli 2007, definition 1; as a sign of collapse: Garrido et al. 2023, arXiv 2210.02885.
    """
    flat, picture = tokens.float().flatten(2)[valid][:_MOST_REGIONS], valid.nonzero()[:_MOST_REGIONS, 0]
    if flat.shape[0] < 2 or not flat.isfinite().all():
        return dict.fromkeys(("effective_rank", "mean_cosine", "mean_std"), torch.tensor(torch.nan, device=tokens.device))
    with torch.autocast(tokens.device.type, enabled=False):
        values = torch.linalg.svdvals(flat)
        share = values / values.sum().clamp_min(1e-12)
        unit = F.normalize(flat, dim=-1)
        apart = picture[:, None] != picture
        return {
            "effective_rank": torch.special.entr(share).sum().exp(),
            "mean_cosine": (unit @ unit.mT)[apart].mean(),
            "mean_std": flat.std(0).mean(),
        }
