"""The rendered world as a dataset: scenes are drawn by number and rendered on the fly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from gen import scenes
from gen.data.item import Item
from gen.data.region_data import RegionData
from gen.segmentation import GroundTruth, WholePicture

_VALIDATION_SEED = 1_000_003  # far from any user's seed, so that held-out scenes are never trained on
_MIXED = ("simple", "five_objects", "unseen_pairs", "standard")


@dataclass(kw_only=True)
class Scenes(RegionData):
    """Rendered scenes with exact regions, captions and labels; every number gives another scene.

    Attributes:
        preset: difficulty of the scenes; `mixed` draws by turns all that is scored (simple, five objects, pairs of shape and colour that
            `simple` has not) and `standard`: for what shall judge, never for what is judged.
        num_scenes: in one epoch.
        scene_seed: of the training scenes; validation scenes come from a seed of their own.
        supersampling: sub-samples a pixel and axis.
        twin_probability: share of the samples whose target is the scene after one change, rendered anew, in [0, 1]; never when overfitting.
        twin_operations: the changes; a change of colour could not be painted, and one of yaw only where the pose tells it, for which
            `yaw_probability` must be above 0.
        clip_probability: share of the samples whose target is another frame of a short clip; never when overfitting.
        clip_frames: largest distance of that frame from the source.
        view_probability: share of the samples whose target is seen from another camera; never when overfitting.
        view_degrees: largest orbit of that camera around what it looks at, in (0, 180].
    """

    preset: Literal["mixed", "simple", "standard", "hard"] = "simple"
    num_scenes: int = 1_000_000
    scene_seed: int = 0
    supersampling: int = 2
    twin_probability: float = 0.5
    twin_operations: list[Literal["move", "remove", "rotate", "resize", "swap", "insert"]] = field(
        default_factory=lambda: ["move", "remove"]
    )
    clip_probability: float = 0.0
    clip_frames: int = 8
    view_probability: float = 0.0
    view_degrees: float = 30.0

    label_names = ("shape", "colour", "material")

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = {name: getattr(self, name) for name in ("twin_probability", "clip_probability", "view_probability")}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"dataset.{name}={share} is not a probability in [0, 1]")
        if sum(shares.values()) > 1 + 1e-9:
            listed = " + ".join(f"dataset.{name}={share}" for name, share in shares.items())
            raise ValueError(f"{listed} are shares of the same samples; together they must be at most 1")
        if sum(shares.values()) and not self.overfit_items and not isinstance(self.segmenter, GroundTruth | WholePicture):
            raise ValueError(
                f"dataset.segmenter={type(self.segmenter).__name__} cuts the two pictures of a pair independently, so region k would not "
                "be the same object in both; set dataset.twin_probability, clip_probability and view_probability to 0, or use GroundTruth"
            )
        if self.clip_frames < 1:
            raise ValueError(f"dataset.clip_frames={self.clip_frames} is too small; it must be at least 1")
        if not 0 < self.view_degrees <= 180:
            raise ValueError(f"dataset.view_degrees={self.view_degrees} is outside (0, 180]")
        if "rotate" in self.twin_operations and self.twin_probability and not self.yaw_probability:
            raise ValueError(
                "dataset.twin_operations has rotate, and no pose tells the yaw; set dataset.yaw_probability above 0 or leave it out"
            )

    def __len__(self) -> int:
        return self.num_scenes

    def items(self, indices: list[int]) -> list[Item]:
        """Render the scenes with these numbers in one batch, with their targets where the dataset is paired."""
        specs = [scenes.sample_scene(self.scene_seed, index, self._preset(index)) for index in indices]
        targets = [self._target(spec, index) for spec, index in zip(specs, indices, strict=True)]
        items = self._render(specs + [target for target in targets if target is not None])
        after = iter(items[len(specs) :])
        return [
            item if new is None else replace(item, target=next(after), camera=scenes.relative_camera(old.camera, new.camera))
            for item, old, new in zip(items, specs, targets, strict=False)
        ]

    def validation_items(self, count: int) -> list[Item]:
        """Render held-out scenes: the first `count` of the validation seed."""
        return self._render([scenes.sample_scene(_VALIDATION_SEED, index, self._preset(index)) for index in range(count)])

    def _preset(self, index: int) -> str:
        return _MIXED[index % len(_MIXED)] if self.preset == "mixed" else self.preset

    def _target(self, spec: scenes.SceneSpec, index: int) -> scenes.SceneSpec | None:
        """Return what the scene is paired with; None for itself."""
        if self.overfit_items:
            return None
        generator = torch.Generator().manual_seed(index)
        share = float(torch.rand((), generator=generator)) - self.twin_probability
        if share < 0:
            return self._twin(spec, index, generator)
        if share < self.clip_probability:
            distance = int(torch.randint(1, self.clip_frames + 1, (), generator=generator))
            return scenes.clip(spec, distance + 1, index)[-1]
        if share < self.clip_probability + self.view_probability:
            return scenes.another_view(spec, index, self.view_degrees)
        return None

    def _twin(self, spec: scenes.SceneSpec, index: int, generator: torch.Generator) -> scenes.SceneSpec | None:
        if not self.twin_operations:
            return None
        operation = self.twin_operations[int(torch.randint(len(self.twin_operations), (), generator=generator))]
        twin = scenes.make_twin(spec, operation, index)
        return twin.after if twin is not None else None

    def _render(self, specs: list[scenes.SceneSpec]) -> list[Item]:
        if not specs:
            return []
        rendering = scenes.render(specs, self.resolution, self.supersampling)
        n, same = self.num_regions, torch.eye(3, 4).flatten()
        labels = scenes.labels(specs, n)
        rotations, periods, depths = scenes.viewed_rotations(specs, n), scenes.rotation_periods(specs, n), scenes.depths(specs, n)
        return [
            Item(
                rendering.pixel_values[i], rendering.label_map[i], scenes.caption(spec), {name: value[i] for name, value in labels.items()},
                rotations=rotations[i], rotation_period=periods[i], depth=depths[i], camera=same,
            )
            for i, spec in enumerate(specs)
        ]  # fmt: skip
