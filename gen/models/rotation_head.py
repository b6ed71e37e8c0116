"""RotationHead: tell from a region's tokens how the object is turned towards the viewer, in one of four ways."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn as nn
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen import losses
from gen.data.batch import RegionBatch
from gen.models.heads import Head
from gen.models.rotation import compose, geodesic_degrees, matrix_from_six, nearest_equivalent, six_from_matrix, turn, view_yaw, yaw_phase
from gen.regions import TensorFields

_SCALE = 3**0.5  # the six numbers of a rotation have a mean square of 1/3
_STEPS = 20  # of the sampling
_STREAM = 0x526F74  # keeps the head's randomness apart from all else that follows from a sample's seed


@dataclass(frozen=True)
class RotationPrediction(TensorFields):
    """What a head says, k candidates a region, the best first.

    Attributes:
        rotations: object's axes to viewer's; of `relative`, the target's rotation times the inverse of the source's; None for `bins`.
        yaw: the viewer's azimuth in the object's frame, radians; None for `relative`.
    """

    rotations: Float[Tensor, "b n k 3 3"] | None
    yaw: Float[Tensor, "b n k"] | None


class RotationHead(Head):
    """Tell how an object is turned towards the viewer; what looks the same counts as the same.

    Args:
        kind: `six_d`, regression of a rotation's continuous code (Zhou et al. 2019, arXiv 1812.07035); `six_d_diffusion`, a diffusion
            model of that code, which can answer with several rotations; `bins`, the bin of the visible yaw within the period after which
            the object looks the same, and the place in the bin (Mousavian et al. 2017, arXiv 1612.00496); `relative`, regression of the
            rotation between source and target view.
        width: d, of the tokens.
        num_queries: q, tokens a region.
        num_bins: of `bins`.
        hidden: width of the network.
        detached: measure what the tokens hold instead of teaching it.
    """

    loss = "rotation"

    def __init__(
        self,
        kind: Literal["six_d", "six_d_diffusion", "bins", "relative"] = "bins",
        width: int = 128,
        num_queries: int = 2,
        num_bins: int = 24,
        hidden: int = 256,
        detached: bool = False,
    ) -> None:
        super().__init__(width, num_queries, detached)
        sizes = {"six_d": (0, 6), "six_d_diffusion": (8, 6), "bins": (0, 2 * num_bins), "relative": (self.features, 6)}
        if kind not in sizes:
            raise ValueError(f"model.heads.heads.*.kind={kind!r}: is unknown; choose one of {', '.join(sizes)}")
        if num_bins < 2:
            raise ValueError(f"model.heads.heads.*.num_bins={num_bins}: leaves nothing to choose; use at least 2")
        self.kind = kind
        self.needs_target = kind == "relative"
        more, answers = sizes[kind]
        self.network = nn.Sequential(
            nn.Linear(self.features + more, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, answers)
        )

    def losses(
        self,
        source_tokens: Float[Tensor, "b n q d"],
        target_tokens: Float[Tensor, "b n q d"] | None,
        batch: RegionBatch,
        valid: Bool[Tensor, "b n"],
    ) -> dict[str, Tensor]:
        """Return the error as `rotation`, over regions whose rotation is known and visible (period above 0)."""
        rotation, period, features = batch.source.rotations, batch.rotation_period, self.read(source_tokens)
        known = valid & (period > 0) & rotation.isfinite().all(-1).all(-1)
        if self.kind == "bins":
            logits, residuals = self.network(features).chunk(2, -1)
            return {"rotation": losses.yaw_bin_loss(logits, residuals, yaw_phase(view_yaw(rotation), period), known)}
        if self.kind == "six_d_diffusion":
            return {"rotation": self._diffusion_loss(features, rotation, period, known, batch.seeds)}
        if self.kind == "six_d":
            predicted, goal = matrix_from_six(self.network(features)), rotation
        else:
            goal = batch.target.rotations
            known = known & batch.target.regions.valid & goal.isfinite().all(-1).all(-1)
            base = torch.where(known[..., None, None], rotation, torch.eye(3, device=rotation.device))
            predicted = compose(self._relative(source_tokens, target_tokens), base)  # of the target view, if the head is right
        goal = nearest_equivalent(goal, predicted.detach(), period)
        return {"rotation": losses.rotation_loss(predicted, goal, known)}

    @torch.no_grad()
    def predict(
        self,
        tokens: Float[Tensor, "b n q d"],
        target_tokens: Float[Tensor, "b n q d"] | None = None,
        rotation_period: Int[Tensor, "b n"] | None = None,
        num_candidates: int = 1,
        generator: torch.Generator | None = None,
    ) -> RotationPrediction:
        """Tell how the regions are turned.

        Args:
            tokens: of the source view.
            target_tokens: of the target view; only `relative` reads them.
            rotation_period: degrees, of every region; only `bins`, which answers in periods, and `six_d_diffusion`, which puts the most
                central candidate first, read it. None is 360.
            num_candidates: k of `six_d_diffusion`; the others have one answer.
            generator: of the candidates' noise, on the CPU; the same state gives the same candidates.
        """
        period = torch.full(tokens.shape[:2], 360, device=tokens.device) if rotation_period is None else rotation_period
        features = self.read(tokens)
        if self.kind == "relative":
            return RotationPrediction(self._relative(tokens, target_tokens)[:, :, None], None)
        if self.kind == "bins":
            logits, residuals = self.network(features).float().chunk(2, -1)
            best = logits.argmax(-1, keepdim=True)
            phase = (best + 0.5 + residuals.gather(-1, best)) / logits.shape[-1]
            return RotationPrediction(None, phase * torch.where(period > 0, period, 360)[..., None].deg2rad())
        if self.kind == "six_d":
            rotations = matrix_from_six(self.network(features))[:, :, None]
        else:
            rotations = _central_first(self._sample(features, num_candidates, generator), period)
        return RotationPrediction(rotations, view_yaw(rotations))

    def _relative(self, source: Float[Tensor, "b n q d"], target: Float[Tensor, "b n q d"] | None) -> Float[Tensor, "b n 3 3"]:
        if target is None:
            raise ValueError("model.heads.heads.*.kind=relative: compares two views; give the tokens of the target view as well")
        change = self.network(torch.cat([self.read(source), self.read(target)], -1))
        return matrix_from_six(change + six_from_matrix(torch.eye(3, device=change.device)))  # at first, nothing has turned

    def _velocity(self, noisy: Tensor, angle: Tensor, features: Tensor) -> Tensor:
        """Predict v = cos(angle) e - sin(angle) x from cos(angle) x + sin(angle) e."""
        return self.network(torch.cat([features, noisy, angle.cos(), angle.sin()], -1).to(features.dtype)).float()

    def _diffusion_loss(self, features: Tensor, rotation: Tensor, period: Tensor, known: Tensor, seeds: Tensor) -> Tensor:
        """Return the squared error of the velocity of one of the rotations that look the same, drawn evenly.

        Source: Salimans and Ho 2022, arXiv 2202.00512, section 4 and appendix D.
        """
        rows = []
        for seed in seeds.tolist():
            generator = torch.Generator().manual_seed(seed ^ _STREAM)
            rows.append(
                torch.cat([torch.randn(known.shape[1], 6, generator=generator), torch.rand(known.shape[1], 2, generator=generator)], -1)
            )
        draws = torch.stack(rows).to(features.device)
        noise, angle, choice = draws[..., :6], draws[..., 6:7] * math.pi / 2, draws[..., 7]
        step = torch.where(period > 0, period, 360)
        turns = (choice * torch.div(360, step, rounding_mode="floor")).floor() * step.deg2rad()
        clean = torch.where(known[..., None], six_from_matrix(compose(rotation, turn(turns))) * _SCALE, 0)
        velocity = self._velocity(angle.cos() * clean + angle.sin() * noise, angle, features)
        error = (velocity - (angle.cos() * noise - angle.sin() * clean)).square().mean(-1)
        return (error * known).sum() / known.sum().clamp_min(1)

    def _sample(self, features: Tensor, count: int, generator: torch.Generator | None) -> Float[Tensor, "b n k 3 3"]:
        """Draw `count` rotations a region by DDIM steps of equal angle."""
        features = features[:, :, None].expand(-1, -1, count, -1)
        noisy = torch.randn(*features.shape[:3], 6, generator=generator).to(features.device)
        angles = torch.linspace(math.pi / 2, 0, _STEPS + 1, device=features.device)
        for angle, following in itertools.pairwise(angles):
            velocity = self._velocity(noisy, angle.expand(*noisy.shape[:3], 1), features)
            clean, noise = angle.cos() * noisy - angle.sin() * velocity, angle.sin() * noisy + angle.cos() * velocity
            noisy = following.cos() * clean + following.sin() * noise
        return matrix_from_six(noisy)


def _central_first(rotations: Float[Tensor, "b n k 3 3"], period: Int[Tensor, "b n"]) -> Float[Tensor, "b n k 3 3"]:
    """Sort candidates by their mean angle to all others, what looks the same counting as the same."""
    count = rotations.shape[2]
    first = rotations[:, :, :, None].expand(-1, -1, -1, count, -1, -1)
    second = rotations[:, :, None].expand_as(first)
    periods = period[:, :, None, None].expand(first.shape[:4])
    order = geodesic_degrees(nearest_equivalent(first, second, periods), second).mean(-1).argsort(dim=-1, stable=True)
    return rotations.gather(2, order[..., None, None].expand_as(rotations))
