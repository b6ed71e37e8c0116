"""How far predicted rotations are from the truth, and how far a guess would be: degrees, over objects whose turn is visible."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.models.rotation import compose, geodesic_degrees, nearest_equivalent, view_yaw, yaw_difference_degrees

_CONSTANTS = 72  # answers among which the best constant is looked for


def visible(rotations: Float[Tensor, "b n 3 3"], period: Int[Tensor, "b n"], valid: Bool[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Mark the objects that count: seen, of known rotation, and not alike at every turn."""
    return valid & (period > 0) & rotations.isfinite().all(-1).all(-1)


def yaw_errors(predicted: Float[Tensor, " m"], rotations: Float[Tensor, "m 3 3"], period: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return the errors of the viewer's azimuth in the object's frame, in [0, period / 2] degrees.

    Args:
        predicted: azimuths in radians.
        rotations: the true ones, object to viewer.
        period: degrees after which an object looks the same.
    """
    return yaw_difference_degrees(predicted, view_yaw(rotations), period)


def rotation_errors(predicted: Float[Tensor, "m 3 3"], rotations: Float[Tensor, "m 3 3"], period: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Return the angles between predicted rotations and the nearest of those that look like the true one, in [0, 180] degrees."""
    return geodesic_degrees(nearest_equivalent(rotations, predicted, period), predicted)


def relative_errors(
    predicted: Float[Tensor, "m 3 3"], source: Float[Tensor, "m 3 3"], target: Float[Tensor, "m 3 3"], period: Int[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """Return the errors in degrees of predicted rotations from the source's view to the target's, R_target R_source^-1."""
    return rotation_errors(compose(predicted, source), target, period)


def chance(rotations: Float[Tensor, "m 3 3"], period: Int[Tensor, " m"], seed: int = 0) -> dict[str, float]:
    """Return the median yaw errors in degrees of two answers that look at nothing, on the same objects.

    Args:
        rotations: the true ones.
        period: degrees after which an object looks the same.
        seed: of the random answers.

    Returns:
        `median_of_random`: any yaw for each object; a quarter of the period where all yaws are equally frequent.
        `median_of_constant`: the same share of its period for every object, the best one of them.
    """
    random = torch.rand(len(period), generator=torch.Generator().manual_seed(seed)) * 2 * torch.pi
    shares = torch.arange(_CONSTANTS)[:, None] / _CONSTANTS
    constants = [yaw_errors(share * period.deg2rad(), rotations, period).median() for share in shares]
    return {
        "median_of_random": float(yaw_errors(random, rotations, period).median()),
        "median_of_constant": float(torch.stack(constants).amin()),
    }


def summary(errors: Float[Tensor, " m"]) -> dict[str, float]:
    """Return number, median and mean of errors in degrees, and the shares of at most 15 and 30 degrees; NaN if there are none."""
    within = {f"within_{limit}": float((errors <= limit).float().mean()) for limit in (15, 30)}
    return {
        "objects": float(len(errors)),
        "median": float(errors.quantile(0.5)) if len(errors) else torch.nan,
        "mean": float(errors.mean()),
        **within,
    }
