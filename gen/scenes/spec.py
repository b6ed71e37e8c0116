"""The scene spec: everything that determines a picture, as plain numbers with an exact JSON round trip."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from gen.scenes.catalogue import COLOURS, MATERIALS, SHAPES, TEXTURES


@dataclass(frozen=True)
class ObjectSpec:
    """One object that stands on the floor.

    Attributes:
        shape: a name of `catalogue.SHAPES`.
        colour: a name of `catalogue.COLOURS`.
        material: a name of `catalogue.MATERIALS`.
        texture: a name of `catalogue.TEXTURES`.
        rgb: the exact main colour, sRGB in [0, 1].
        second_rgb: the other colour of the texture, sRGB in [0, 1].
        texture_scale: periods of the texture per unit of `size`.
        x: position on the floor, world units, to the right.
        y: position on the floor, world units, away from the camera.
        size: world units of one unit of the shape's template, which is about 1.7 wide.
        yaw: turn about the vertical axis, radians, counter-clockwise seen from above.
        present: False for an object that was removed; it keeps its number and casts nothing.
    """

    shape: str
    colour: str
    material: str
    texture: str
    rgb: tuple[float, float, float]
    second_rgb: tuple[float, float, float]
    texture_scale: float
    x: float
    y: float
    size: float
    yaw: float
    present: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered.

        Raises:
            ValueError: if a name is not in the catalogue or the size is not positive.
        """
        for field, names in (("shape", SHAPES), ("colour", COLOURS), ("material", MATERIALS), ("texture", TEXTURES)):
            if getattr(self, field) not in names:
                raise ValueError(f"unknown {field} {getattr(self, field)!r} of an object; choose one of {', '.join(names)}")
        if not self.size > 0:
            raise ValueError(f"size={self.size} of an object; it must be positive")


@dataclass(frozen=True)
class CameraSpec:
    """A pinhole camera that looks down at the floor.

    Attributes:
        azimuth: direction in which the camera looks along the floor, radians; 0 looks along +y.
        elevation: angle of the optical axis below the horizon, radians.
        distance: from the point looked at, world units.
        look_x: the point on the floor in the middle of the picture.
        look_y: the same, away from the camera.
        half_angle: half of the field of view, radians, the same in both directions.
    """

    azimuth: float
    elevation: float
    distance: float
    look_x: float
    look_y: float
    half_angle: float


@dataclass(frozen=True)
class LightSpec:
    """A distant lamp and the sky.

    Attributes:
        azimuth: direction from which the lamp shines, radians.
        elevation: angle of the lamp above the floor, radians.
        strength: linear irradiance of the lamp on a facing surface.
        ambient: linear irradiance of the sky.
        softness: width of the penumbra per unit of height, dimensionless.
    """

    azimuth: float
    elevation: float
    strength: float
    ambient: float
    softness: float


@dataclass(frozen=True)
class FloorSpec:
    """The floor, which is the background of every picture.

    Attributes:
        colour: a name of `catalogue.FLOOR_COLOURS`.
        texture: a name of `catalogue.FLOOR_TEXTURES`.
        rgb: main colour, sRGB in [0, 1].
        second_rgb: the other colour of the texture, sRGB in [0, 1].
        period: of the texture, world units.
        angle: of the texture, radians.
        phase_x: shift of the texture, in periods.
        phase_y: the same, second direction.
    """

    colour: str
    texture: str
    rgb: tuple[float, float, float]
    second_rgb: tuple[float, float, float]
    period: float
    angle: float
    phase_x: float
    phase_y: float


@dataclass(frozen=True)
class SceneSpec:
    """A whole scene; object k of the ground truth is `objects[k - 1]`."""

    preset: str
    seed: int
    scene_id: int
    objects: tuple[ObjectSpec, ...]
    camera: CameraSpec
    light: LightSpec
    floor: FloorSpec

    def to_json(self) -> str:
        """Write the scene as one line of JSON; `from_json` gives back an equal spec."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> SceneSpec:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if the text is no JSON, or fields are missing, unknown or of another type.
        """
        try:
            fields = json.loads(text)
            objects = tuple(ObjectSpec(**_tuples(entry)) for entry in fields.pop("objects"))
            camera, light = CameraSpec(**fields.pop("camera")), LightSpec(**fields.pop("light"))
            floor = FloorSpec(**_tuples(fields.pop("floor")))
            return SceneSpec(objects=objects, camera=camera, light=light, floor=floor, **fields)
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a scene of this version ({error}): {text[:80]!r}; write scenes with SceneSpec.to_json") from error


def _tuples(entry: dict) -> dict:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
