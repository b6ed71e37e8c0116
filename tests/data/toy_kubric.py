"""Toy clips as Kubric renders them: squares of one colour an instance, where Kubric's own projection puts it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE, FOCAL_LENGTH, SENSOR_WIDTH = 48, 35.0, 32.0
COLOURS = np.array([[0, 0, 0], [250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)
CATEGORIES = ("Shoe", "Hat", "Toys")  # numbers 14, 7 and 16


@dataclass(frozen=True)
class ToyClip:
    """A clip of frames that show three instances, the later ones in front."""

    frames: np.ndarray  # [s, h, w, 3]
    segmentations: np.ndarray  # [s, h, w]
    camera: dict[str, np.ndarray]
    instances: list[dict]


def toy_clip(seed: int, num_frames: int = 4) -> ToyClip:
    """Draw a clip: a camera that moves and looks at the origin, instances that move and turn."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 0.4, num_frames)
    cameras = np.stack([8 * np.cos(angles), 8 * np.sin(angles), np.full(num_frames, 3.0)], 1)
    quaternions = np.stack([look_at(position) for position in cameras])
    instances, segmentations = [], np.zeros((num_frames, SIDE, SIDE), np.uint8)
    for key in (1, 2, 3):
        positions = rng.uniform(-1.8, 1.8, 3) * (1, 1, 0.3) + np.linspace(0, 0.5, num_frames)[:, None] * rng.normal(size=3)
        turns = rng.normal(size=(num_frames, 4))
        instances.append(
            {"positions": positions, "quaternions": turns / np.linalg.norm(turns, axis=1, keepdims=True), "category": CATEGORIES[key - 1]}
        )
        for frame in range(num_frames):
            x, y = np.round(SIDE * kubric_projection(cameras[frame], quaternions[frame], positions[frame])).astype(int)
            segmentations[frame, max(0, y - 3) : y + 3, max(0, x - 3) : x + 3] = key
    return ToyClip(COLOURS[segmentations], segmentations, {"positions": cameras, "quaternions": quaternions}, instances)


def kubric_projection(camera: np.ndarray, quaternion: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return (x, y) in [0, 1] of a point, as Kubric's PerspectiveCamera.project_point computes it: K @ inverse(matrix_world) @ point."""
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = rotated(quaternion, np.eye(3)).T, camera
    focal = FOCAL_LENGTH / SENSOR_WIDTH
    intrinsics = np.array([[focal, 0, -0.5], [0, -focal, -0.5], [0, 0, -1]])
    projected = intrinsics @ (np.linalg.inv(world) @ np.append(point, 1))[:3]
    assert projected[2] > 0, "the point lies in front of the camera"
    return (projected / projected[2])[:2]


def look_at(position: np.ndarray) -> np.ndarray:
    """Return the quaternion of an upright camera (x right, y up, looking along -z) that looks at the origin: azimuth, then elevation."""
    azimuth = np.arctan2(position[0], -position[1])  # 0: the camera stands at -y
    elevation = np.arctan2(position[2], np.hypot(position[0], position[1]))
    return product(axis_angle((0, 0, 1), azimuth), axis_angle((1, 0, 0), np.pi / 2 - elevation))


def axis_angle(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    """Return the quaternion (w, x, y, z) of a turn, counter-clockwise seen from the tip of the axis."""
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * np.array(axis, float))])


def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Hamilton's product: the turn `second` followed by `first`."""
    (a, u), (b, v) = (first[0], first[1:]), (second[0], second[1:])
    return np.array([a * b - u @ v, *(a * v + b * u + np.cross(u, v))])


def rotated(quaternion: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Rotate points [n, 3] by a quaternion of length 1, as q p q*."""
    conjugate = quaternion * (1, -1, -1, -1)
    return np.stack([product(product(quaternion, np.array([0, *point])), conjugate)[1:] for point in points])
