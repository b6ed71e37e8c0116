"""Every loss: a pure function of tensors, with its formula and source."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.regions import masks_to_grid

_SETTINGS = ("largest", "max_train_steps")  # fields of LossWeights that are no weights, besides the dictionaries


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
        draft: the same error of a draft that the decoder starts from, before it paints anything.
        feature_similarity: between an object's tokens in two copies of the scene.
        token_repulsion: between the tokens of different objects of one picture.
        attention_region: cross-attention to an object's tokens from outside its mask.
        token_variance: against tokens that are the same for every object.
        classes: of the head that names what an object is.
        rotation: of the head that tells how an object is turned.
        pose: of the head that tells where an object is.
        largest: bound of the velocity weighting, see `velocity_weight`.
        warmup_steps: loss -> global steps in which its weight rises from 0, linearly; a loss that is not named has its weight at once.
        first_steps: loss -> global step from which on it is computed, and from which its warm-up counts; 0 for a loss that is not named.
        max_train_steps: of the training, so that a loss which would never begin is refused; None if not known.
    """

    diffusion: float = 0.0
    masked_diffusion: float = 1.0
    per_region_diffusion: float = 0.2
    draft: float = 0.0
    feature_similarity: float = 0.0
    token_repulsion: float = 0.0
    attention_region: float = 0.0
    token_variance: float = 0.0
    classes: float = 0.0
    rotation: float = 0.0
    pose: float = 0.0
    largest: float = 5.0
    warmup_steps: dict[str, int] = field(default_factory=dict)
    first_steps: dict[str, int] = field(default_factory=dict)
    max_train_steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse a schedule that cannot be meant.

        Raises:
            ValueError: if it names no loss, says a negative number of steps, or leaves nothing to train on at first.
        """
        for key in ("warmup_steps", "first_steps"):
            for name, steps in getattr(self, key).items():
                if name not in self.names():
                    raise ValueError(f"model.loss_weights.{key}={{{name}: {steps}}}: is no loss; there are {', '.join(self.names())}")
                if steps < 0:
                    raise ValueError(f"model.loss_weights.{key}={{{name}: {steps}}}: is negative; 0 is at once")
        late = {name: step for name, step in self.first_steps.items() if getattr(self, name) and step >= (self.max_train_steps or step + 1)}
        if late:
            raise ValueError(
                f"model.loss_weights.first_steps={late}, but trainer.max_train_steps={self.max_train_steps}: such a loss would never begin;"
                " train longer, or let it begin earlier"
            )
        weighted = [name for name in self.names() if getattr(self, name)]
        if weighted and all(self.first_steps.get(name, 0) for name in weighted):
            raise ValueError(f"model.loss_weights.first_steps={self.first_steps}: no loss is left for step 0; leave one of {weighted} out")

    @staticmethod
    def names() -> list[str]:
        """Return the names of the losses."""
        return [item.name for item in fields(LossWeights) if item.default_factory is MISSING and item.name not in _SETTINGS]

    def wanted(self, global_step: int) -> set[str]:
        """Return the losses that are computed at a global step: a loss in warm-up is, although its weight may be 0."""
        return {name for name in self.names() if getattr(self, name) and global_step >= self.first_steps.get(name, 0)}

    def at(self, global_step: int) -> dict[str, float]:
        """Return the weight of every loss at a global step: w min(1, (step - first step) / warm-up steps).

        Args:
            global_step: optimizer updates so far; a loss in warm-up has weight 0 at step 0, but a final weight that says it is computed.
        """
        ramps = {
            name: min(1.0, max(0, global_step - self.first_steps.get(name, 0)) / steps)
            for name, steps in self.warmup_steps.items()
            if steps
        }
        return {name: getattr(self, name) * ramps.get(name, 1.0) for name in self.names()}


def combine(terms: dict[str, Tensor], weights: dict[str, float]) -> LossTerms:
    """Return the weighted sum of terms, and the terms, detached."""
    total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    return LossTerms(total, {name: value.detach() for name, value in terms.items()})


def squared_error(prediction: Float[Tensor, "b c h w"], target: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h w"]:
    """Return the squared error averaged over channels, in fp32."""
    return (prediction.float() - target.float()).square().mean(1)


def without_padding(error: Float[Tensor, "b g f"], padding: Bool[Tensor, "b h w"] | None) -> Float[Tensor, "b g f"]:
    """Return the mask of the places of an error map that count: 1, or 0 where a place has padding in it.

    Args:
        error: gives the shape.
        padding: True where there is no picture; None where there is picture everywhere.
    """
    if padding is None:
        return torch.ones_like(error)
    return 1 - F.adaptive_max_pool2d(padding.to(error.dtype), (error.shape[-2], error.shape[-1]))


def masked_diffusion_loss(error: Float[Tensor, "b h w"], weight: Float[Tensor, " b"], mask: Float[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return mean_b w_b (sum_hw m error) / (sum_hw m): the error inside the mask, whatever area it covers."""
    return (weight * (error * mask).sum((1, 2)) / mask.sum((1, 2)).clamp_min(1.0)).mean()


def per_region_diffusion_loss(
    error: Float[Tensor, "b h w"], weight: Float[Tensor, " b"], masks: Float[Tensor, "b n h w"], valid: Bool[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Return the mean over regions of each region's own mean error, so that small objects count as much as large ones."""
    areas = masks.sum((2, 3))
    counted = (valid & (areas > 0)).float()
    own = torch.einsum("bhw,bnhw->bn", error, masks) / areas.clamp_min(1e-6)
    return (weight * (own * counted).sum(1) / counted.sum(1).clamp_min(1.0)).mean()


def feature_similarity_loss(
    tokens: Float[Tensor, "b n q d"], others: Float[Tensor, "b n q d"], both: Bool[Tensor, "b n"], stop_gradient: bool = True
) -> Float[Tensor, ""]:
    """Return the mean of 1 - cos between a region's tokens in two copies of a scene.

    What the copies differ in is what the tokens learn to leave out: which neighbours were erased, how the view was augmented, or the frame.

    Args:
        tokens: of one copy.
        others: of the other copy.
        both: regions present in both copies.
        stop_gradient: let only `tokens` move, against collapse; `token_variance_loss` is the other way.

    Source: Chen and He 2021 (SimSiam), arXiv 2011.10566, eq. 1 and 3, without the predictor.
    """
    others = others.detach() if stop_gradient else others
    distance = 1 - F.cosine_similarity(tokens.float().flatten(2), others.float().flatten(2), dim=-1)
    return (distance * both).sum() / both.sum().clamp_min(1)


def token_repulsion_loss(tokens: Float[Tensor, "b n q d"], valid: Bool[Tensor, "b n"], margin: float = 0.5) -> Float[Tensor, ""]:
    """Return the mean of max(0, cos - margin) over all pairs of tokens of different regions of one image.

    Args:
        tokens: of all regions.
        valid: regions that count.
        margin: cosine up to which two regions may be alike, in [-1, 1].

    Source: the hinge of Hadsell et al. 2006 (contrastive loss, eq. 4), on cosines.
    """
    num_regions, num_queries = tokens.shape[1:3]
    unit = F.normalize(tokens.float().flatten(1, 2), dim=-1)
    region = torch.arange(num_regions, device=tokens.device).repeat_interleave(num_queries)
    counted = valid.repeat_interleave(num_queries, 1)
    pairs = counted[:, :, None] & counted[:, None] & (region[:, None] != region)
    return (F.relu(unit @ unit.mT - margin) * pairs).sum() / pairs.sum().clamp_min(1)


def attention_region_loss(
    attention: Float[Tensor, "b p l"],
    token_region: Int[Tensor, " l"],
    masks: Bool[Tensor, "b n h w"],
    valid: Bool[Tensor, "b n"],
    padding: Bool[Tensor, "b h w"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean over regions of (sum_p (1 - m_p) a_p) / (sum_p a_p): the share of a region's attention that lies outside it.

    a_p is the attention that cell p pays to the region's tokens, all of them together.

    Args:
        attention: probabilities of one layer, averaged over heads; its p cells are a square grid, row by row.
        token_region: region of each of the l tokens; -1 for text and registers.
        masks: of the picture that is painted; reduced to the grid, where a cell belongs to a region if any of its pixels does.
        valid: regions that count.
        padding: True where there is no picture; a cell with padding does not count.

    Raises:
        ValueError: if the masks do not divide into the grid.

    Source: after the cross-attention loss of Avrahami et al. 2023 (Break-A-Scene), arXiv 2305.16311; a share instead of a squared error, so
    that it does not depend on how much attention the other tokens leave.
    """
    grid = math.isqrt(attention.shape[1])
    inside = masks_to_grid(masks, grid).flatten(2)
    if padding is not None:
        attention = attention * ~masks_to_grid(padding[:, None], grid).flatten(1)[..., None]
    owner = token_region[:, None] == torch.arange(masks.shape[1], device=masks.device)
    mass = attention.float() @ owner.float()
    total = mass.sum(1)
    share = (mass * ~inside.mT).sum(1) / total.clamp_min(1e-6)
    counted = valid & inside.any(-1) & owner.any(0)
    return (share * counted).sum() / counted.sum().clamp_min(1)


def token_variance_loss(tokens: Float[Tensor, "b n q d"], valid: Bool[Tensor, "b n"], target: float = 1.0) -> Float[Tensor, ""]:
    """Return mean_j max(0, target - sqrt(Var(z_j) + 0.0001)) over every number j of a region's tokens; Var over the batch's regions.

    Args:
        tokens: of all regions; layer-normalised ones have a deviation of at most about 1.
        valid: regions that count; fewer than two have no variance, and no loss.
        target: deviation that is enough.

    Source: Bardes et al. 2022 (VICReg), arXiv 2105.04906, eq. 1 and 2.
    """
    flat, counted = tokens.float().flatten(2), valid.float()[..., None]
    count = counted.sum()
    mean = (flat * counted).sum((0, 1)) / count.clamp_min(1)
    variance = ((flat - mean).square() * counted).sum((0, 1)) / (count - 1).clamp_min(1)
    return F.relu(target - (variance + 1e-4).sqrt()).mean() * (count > 1)


def class_loss(logits: Float[Tensor, "b n k"], labels: Int[Tensor, "b n"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the regions whose label is known.

    Args:
        logits: of the k classes.
        labels: in [0, k), -1 where unknown.
    """
    known = labels >= 0
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-1, reduction="sum") / known.sum().clamp_min(1)


def pose_loss(
    predicted: Float[Tensor, "b n 4"], centre: Float[Tensor, "b n 2"], size: Float[Tensor, "b n 2"], valid: Bool[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Return the mean squared error of a predicted (centre, size), in squared image units.

    Args:
        predicted: (x, y, width, height) in image units.
        centre: the true (x, y).
        size: the true (width, height).
        valid: regions that count.
    """
    error = (predicted.float() - torch.cat([centre, size], -1)).square().mean(-1)
    return (error * valid).sum() / valid.sum().clamp_min(1)


def rotation_loss(predicted: Float[Tensor, "b n 3 3"], target: Float[Tensor, "b n 3 3"], known: Bool[Tensor, "b n"]) -> Float[Tensor, ""]:
    """Return the mean squared chordal distance |P - R|_F^2 = 8 sin^2(angle / 2) of the regions whose rotation is known.

    Args:
        predicted: rotation matrices.
        target: of the rotations that look the same, the one nearest to `predicted`, see `gen.models.rotation.nearest_equivalent`.
        known: regions that count; the others' target may be anything.

    Source: Hartley et al. 2013, Rotation averaging, section 4; the minimum over equivalents, Corona et al. 2018, arXiv 1810.05780.
    """
    target = torch.where(known[..., None, None], target, predicted.detach())
    return (predicted - target).square().sum((2, 3)).sum() / known.sum().clamp_min(1)


def yaw_bin_loss(
    logits: Float[Tensor, "b n k"], residuals: Float[Tensor, "b n k"], phase: Float[Tensor, "b n"], known: Bool[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the bin that a phase falls into, plus the smooth L1 error of that bin's residual.

    Args:
        logits: of k bins that divide [0, 1).
        residuals: where in its bin the phase is, in bins from the bin's centre: [-1/2, 1/2].
        phase: yaw as a share of the period, in [0, 1).
        known: regions that count; the others' phase may be anything.

    Source: Mousavian et al. 2017 (MultiBin), arXiv 1612.00496, section 4.1, with bins that do not overlap.
    """
    place = torch.where(known, phase, 0) * logits.shape[-1]
    number = place.long().clamp_max(logits.shape[-1] - 1)
    chosen = residuals.float().gather(-1, number[..., None])[..., 0]
    inside = F.smooth_l1_loss(chosen, place - number - 0.5, reduction="none")
    return class_loss(logits, torch.where(known, number, -1)) + (inside * known).sum() / known.sum().clamp_min(1)


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
