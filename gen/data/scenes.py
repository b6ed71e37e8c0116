"""The rendered world as a dataset: scenes are drawn by number and rendered on the fly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from gen import scenes
from gen.data.region_data import Item, RegionData

_VALIDATION_SEED = 1_000_003  # far from any user's seed, so that held-out scenes are never trained on


@dataclass(kw_only=True)
class Scenes(RegionData):
    """Rendered scenes with exact regions, captions and labels; every number gives another scene.

    Attributes:
        preset: difficulty of the scenes.
        num_scenes: in one epoch.
        scene_seed: of the training scenes; validation scenes come from a seed of their own.
        supersampling: sub-samples a pixel and axis.
        twin_probability: share of the samples whose target is the scene after one change, rendered anew, in [0, 1]; never when overfitting.
        twin_operations: the changes; without a pose to tell it, a change of yaw or colour could not be painted.
    """

    preset: Literal["simple", "standard", "hard"] = "simple"
    num_scenes: int = 1_000_000
    scene_seed: int = 0
    supersampling: int = 2
    twin_probability: float = 0.5
    twin_operations: list[Literal["move", "remove", "resize", "swap", "insert"]] = field(default_factory=lambda: ["move", "remove"])

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.twin_probability <= 1:
            raise ValueError(f"dataset.twin_probability={self.twin_probability} is not a probability in [0, 1]")

    def __len__(self) -> int:
        return self.num_scenes

    def items(self, indices: list[int]) -> list[Item]:
        """Render the scenes with these numbers in one batch, with their twins where the dataset is paired."""
        specs = [scenes.sample_scene(self.scene_seed, index, self.preset) for index in indices]
        twins = [self._twin(spec, index) for spec, index in zip(specs, indices, strict=True)]
        items = self._render(specs + [twin for twin in twins if twin is not None])
        first, after = items[: len(specs)], iter(items[len(specs) :])
        return [item if twin is None else _paired(item, next(after)) for item, twin in zip(first, twins, strict=True)]

    def validation_items(self, count: int) -> list[Item]:
        """Render held-out scenes: the first `count` of the validation seed."""
        return self._render([scenes.sample_scene(_VALIDATION_SEED, index, self.preset) for index in range(count)])

    def _twin(self, spec: scenes.SceneSpec, index: int) -> scenes.SceneSpec | None:
        if not self.twin_operations or self.overfit_items:
            return None
        generator = torch.Generator().manual_seed(index)
        if float(torch.rand((), generator=generator)) >= self.twin_probability:
            return None
        operation = self.twin_operations[int(torch.randint(len(self.twin_operations), (), generator=generator))]
        twin = scenes.make_twin(spec, operation, index)
        return twin.after if twin is not None else None

    def _render(self, specs: list[scenes.SceneSpec]) -> list[Item]:
        if not specs:
            return []
        rendering = scenes.render(specs, self.resolution, self.supersampling)
        labels = scenes.labels(specs, self.num_regions)
        return [
            Item(
                rendering.pixel_values[i], rendering.label_map[i], scenes.caption(spec), {name: value[i] for name, value in labels.items()}
            )
            for i, spec in enumerate(specs)
        ]


def _paired(before: Item, after: Item) -> Item:
    return Item(before.pixel_values, before.label_map, before.caption, before.labels, target=after)
