"""Viewpoint: where a camera stands and how it is turned, and what follows for the objects it sees. Axes: x right, y down, z away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_FLIP = np.diag([1.0, -1.0, -1.0])  # Blender's cameras have x right, y up, z towards the viewer


@dataclass(frozen=True)
class Viewpoint:
    """A camera without its lens.

    Attributes:
        position: in the world.
        axes: from the world's axes to the camera's: rows are x (right), y (down) and z (away from the viewer).
    """

    position: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "3 3"]

    @staticmethod
    def of_blender(position: Float[np.ndarray, "3"], quaternion: Float[np.ndarray, "4"]) -> Viewpoint:
        """Return the viewpoint of a camera of Blender or Kubric.

        Args:
            position: in the world.
            quaternion: (w, x, y, z) of the turn from the camera's axes, as Blender has them, to the world's.
        """
        return Viewpoint(np.asarray(position, np.float64), _FLIP @ turn(quaternion).T)

    @staticmethod
    def looking_at(position: Float[np.ndarray, "3"], point: Float[np.ndarray, "3"]) -> Viewpoint:
        """Return the upright camera at `position` that looks at `point`; the world's z is up.

        Raises:
            ValueError: if the camera would look straight up or down, or from the point itself.
        """
        position = np.asarray(position, np.float64)
        away = np.asarray(point, np.float64) - position
        right = np.cross(away, (0.0, 0.0, 1.0))
        if np.linalg.norm(right) <= 1e-6 * np.linalg.norm(away):
            raise ValueError(f"a camera at {position.tolist()} that looks at {np.asarray(point).tolist()} has no upright picture")
        away, right = away / np.linalg.norm(away), right / np.linalg.norm(right)
        return Viewpoint(position, np.stack([right, np.cross(away, right), away]))

    def seen(self, point: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        """Return a point of the world in the camera's axes: z is its distance along the optical axis."""
        return self.axes @ (np.asarray(point, np.float64) - self.position)

    def rotation(self, middle: Float[np.ndarray, "3"], turned: Float[np.ndarray, "3 3"]) -> Float[Tensor, "3 3"]:
        """Return how an object is turned towards its viewer along the line of sight, as `View.rotations` has it.

        Args:
            middle: of the object, not straight behind the camera.
            turned: from the object's axes to the world's.
        """
        x, y, z = self.seen(middle) / np.linalg.norm(self.seen(middle))
        share = 1 / (1 + z)
        sight = np.array([[1 - x * x * share, -x * y * share, -x], [-x * y * share, 1 - y * y * share, -y], [x, y, z]])
        return torch.from_numpy(sight @ self.axes @ turned).float()

    def relative(self, target: Viewpoint, unit: float) -> Float[Tensor, " 12"]:
        """Return row-major [R | t] with (point for the target) = R (point for this camera) + t.

        Args:
            target: another viewpoint.
            unit: the length in the world that is 1 in t.
        """
        shift = target.axes @ (self.position - target.position) / unit
        return torch.from_numpy(np.concatenate([target.axes @ self.axes.T, shift[:, None]], 1)).float().flatten()


def turn(quaternion: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    """Return the rotation of a quaternion (w, x, y, z) of any length.

    Raises:
        ValueError: if it has no length, or is not finite.
    """
    quaternion = np.asarray(quaternion, np.float64)
    length = np.linalg.norm(quaternion)
    if not 1e-6 < length < np.inf:
        raise ValueError(f"quaternion {quaternion.tolist()} is no rotation")
    w, x, y, z = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
