"""Collapse: the numbers on vectors whose rank is known, and a toy encoder that collapses as theory says unless it is told not to."""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn

from gen import losses
from gen.models.collapse import token_statistics
from gen.models.image_backbone import ResidualBlock
from gen.regions import Regions, masks_to_grid

ALL = torch.ones(6, 2, dtype=torch.bool)


def test_vectors_of_known_rank():
    basis = torch.eye(12)[:8].unflatten(1, (3, 4))
    tokens = basis.expand(2, 8, 3, 4)
    found = token_statistics(tokens, torch.ones(2, 8, dtype=torch.bool))
    assert float(found["effective_rank"]) == pytest.approx(8, rel=1e-5)
    assert float(found["mean_cosine"]) == pytest.approx(1 / 8)


def test_one_vector_for_everything_is_rank_1():
    found = token_statistics(torch.ones(6, 2, 2, 8), ALL)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"effective_rank": 1, "mean_cosine": 1, "mean_std": 0}, abs=1e-3
    )


def test_only_valid_regions_count_and_pictures_are_compared_with_other_pictures():
    tokens = torch.randn(6, 2, 2, 8, generator=torch.Generator().manual_seed(0))
    tokens[:, 1] = torch.nan
    found = token_statistics(tokens, ALL & torch.tensor([True, False]))
    assert all(bool(value.isfinite()) for value in found.values())
    assert float(found["mean_std"]) == pytest.approx(1, abs=0.3) and abs(float(found["mean_cosine"])) < 0.2
    assert bool(token_statistics(tokens[:1, :1].expand(1, 2, 2, 8), ALL[:1])["mean_cosine"].isnan())  # there is no other picture


class TinyEncoder(nn.Module):
    """Features of a small convolutional network, averaged over each region's cells: tokens without a norm that could hide a collapse."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.block, self.out = nn.Conv2d(48, width, 1), ResidualBlock(width), nn.Linear(width, width)

    def forward(self, pixel_values: torch.Tensor, regions: Regions) -> torch.Tensor:
        features = self.block(self.stem(nn.functional.pixel_unshuffle(pixel_values, 4)))
        cells = masks_to_grid(regions.masks, features.shape[-1]).float().flatten(2)
        pooled = torch.einsum("bnp,bdp->bnd", cells, features.flatten(2)) / cells.sum(-1, keepdim=True)
        return self.out(pooled)[:, :, None]


def trained_rank(steps: int, variance_weight: float) -> float:
    """Train on pairs of noisy views of coloured rectangles with the similarity loss; return the effective rank on new pictures."""
    torch.manual_seed(0)
    encoder = TinyEncoder()
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, :8, :8], labels[:, 8:, 4:] = 1, 2

    def picture(count: int) -> tuple[torch.Tensor, Regions]:
        colours = torch.rand(count, 3, 3) * 2 - 1
        regions = Regions.from_label_map(labels.expand(count, -1, -1), 3)
        return torch.einsum("bnhw,bnc->bchw", regions.masks.float(), colours), regions

    for _ in range(steps):
        pixels, regions = picture(32)
        first, second = (encoder(pixels + 0.3 * torch.randn_like(pixels), regions) for _ in range(2))
        loss = losses.feature_similarity_loss(first, second, regions.valid, stop_gradient=False)
        loss = loss + variance_weight * losses.token_variance_loss(first, regions.valid)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(token_statistics(encoder(*picture(64)), torch.ones(64, 3, dtype=torch.bool))["effective_rank"])


def test_similarity_alone_collapses_and_the_variance_term_prevents_it():
    """The pictures differ in three numbers a region, so a rank of about 3 to 5 is all that there is to keep."""
    untrained, alone, with_variance = trained_rank(0, 0.0), trained_rank(150, 0.0), trained_rank(150, 1.0)
    assert alone < 2.5, "both copies move, so the cheapest way to agree is to say the same of everything"
    assert with_variance > 4 and untrained > 4
