"""RegionVisibility: which cells of the decoder may look at which regions, and at which other cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from gen.models.component import Component
from gen.regions import RegionPose, TensorFields, cell_centres

_HALF_DIAGONAL = 0.5**0.5  # of a cell: a box grown by this much covers the centre of a cell, however small it is


@dataclass(frozen=True)
class VisibleCells(TensorFields):
    """Where regions are, to be read off at any resolution.

    Attributes:
        pose: the target's.
        valid: regions that are there.
        everywhere: samples in which every cell sees everything: those whose regions are the learned null.
        margin: share of its size by which a region's box grows on every side.
        cross_attention: whether cells see only the regions that cover them.
        self_attention: whether cells see only cells of the same region, and of the background.
    """

    pose: RegionPose
    valid: Bool[Tensor, "b n"]
    everywhere: Bool[Tensor, " b"]
    margin: float
    cross_attention: bool
    self_attention: bool

    def inside(self, side: int) -> Bool[Tensor, "b n p"]:
        """Return which cells of a `side` x `side` grid lie in each region's grown box; all of them for the background."""
        points = self.pose.own_coordinates(cell_centres(side, side, self.valid.device)).abs()
        size = self.pose.size[:, :, None].clamp_min(1e-3)
        covered = (points <= 0.5 + self.margin + _HALF_DIAGONAL / side / size).all(-1)
        return torch.cat([torch.ones_like(covered[:, :1]), covered[:, 1:]], 1) & self.valid[..., None]

    def of_regions(self, side: int) -> Bool[Tensor, "b p n"]:
        """Return the regions that each cell's cross-attention may look at; whether they are present is the attention mask's matter."""
        if not self.cross_attention:
            return torch.ones(*self.valid.shape, side**2, dtype=torch.bool, device=self.valid.device).mT
        return (self.inside(side) | self.everywhere[:, None, None]).mT

    def of_cells(self, side: int) -> Bool[Tensor, "b p p"]:
        """Return the cells that each cell's self-attention may look at: those that share an object with it, and the bare background."""
        objects = self.inside(side)[:, 1:].float()
        shared = torch.einsum("bnp,bns->bps", objects, objects) > 0
        background = ~objects.any(1)
        return shared | background[:, None] | self.everywhere[:, None, None]


class RegionVisibility(Component):
    """Restrict the decoder's attention to where regions are painted.

    A cell outside every object sees the background only. Registers, text and background are seen everywhere. Masks are computed at
    every resolution from the target's pose; self-attention's has cells^2 entries a sample, so it is for grids up to about 32 x 32.

    Args:
        cross_attention: cells see only the regions whose box covers them.
        self_attention: cells see only cells that share a region with them, and cells of the background.
        margin: share of its size by which a region's box grows on every side, besides half a cell.

    Raises:
        ValueError: if the margin is negative, or nothing is restricted.
    """

    def __init__(self, cross_attention: bool = True, self_attention: bool = False, margin: float = 0.1) -> None:
        super().__init__()
        if margin < 0:
            raise ValueError(f"model.conditioner.visibility.margin={margin} is negative; 0 is the box itself")
        if not cross_attention and not self_attention:
            raise ValueError("model.conditioner.visibility restricts neither cross_attention nor self_attention; leave it out (null)")
        self.cross_attention, self.self_attention, self.margin = cross_attention, self_attention, margin

    def forward(self, pose: RegionPose, valid: Bool[Tensor, "b n"], dropped: Bool[Tensor, " b"]) -> VisibleCells:
        """Return what is visible; samples whose regions are `dropped` are not told where they are."""
        return VisibleCells(pose, valid, dropped, self.margin, self.cross_attention, self.self_attention)


def grid_side(cells: int) -> int:
    """Return the side of a square grid.

    Raises:
        ValueError: if the cells make no square.
    """
    side = round(cells**0.5)
    if side**2 != cells:
        raise ValueError(f"{cells} cells make no square grid; region visibility needs square pictures")
    return side
