"""Held-out scenes with one object moved or removed, rendered exactly: what an edit should have made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen import scenes
from gen.regions import Regions
from gen.scenes.catalogue import COLOURS

HELD_OUT_SEED = 2_000_003  # neither trained nor validated on


@dataclass(frozen=True)
class MoveCases:
    """One object of every scene stands elsewhere.

    Attributes:
        region: number of the object in each scene.
        shift: (dx, dy) of its box's centre, in image units.
        factor: (x, y) by which perspective changes its box.
        truth: the scene with the object at its new place.
        empty: the scene without the object.
        mask: the object's visible pixels in `truth`.
        recoloured: `truth` with the object in each colour of the world.
        colour: number of its own colour among them.
    """

    region: list[int]
    shift: Float[Tensor, "b 2"]
    factor: Float[Tensor, "b 2"]
    truth: Float[Tensor, "b 3 h w"]
    empty: Float[Tensor, "b 3 h w"]
    mask: Bool[Tensor, "b h w"]
    recoloured: Float[Tensor, "b k 3 h w"]
    colour: list[int]


@dataclass(frozen=True)
class RemovalCases:
    """One object of every scene is gone.

    Attributes:
        region: number of the object in each scene.
        truth: the scene without it.
        mask: the pixels on which it was visible.
    """

    region: list[int]
    truth: Float[Tensor, "b 3 h w"]
    mask: Bool[Tensor, "b h w"]


@dataclass(frozen=True)
class Cases:
    """Held-out scenes, and what one move and one removal would make of each."""

    specs: list[scenes.SceneSpec]
    source: Float[Tensor, "b 3 h w"]
    regions: Regions
    move: MoveCases
    removal: RemovalCases


def build_cases(count: int, resolution: int, num_regions: int, preset: str = "simple", seed: int = HELD_OUT_SEED) -> Cases:
    """Render `count` held-out scenes and their counterfactuals; scenes in which no legal move is found are passed over.

    Args:
        count: of scenes.
        resolution: side of the pictures, in pixels.
        num_regions: n, background included.
        preset: difficulty of the scenes.
        seed: of the scenes; `HELD_OUT_SEED` is never used in training.
    """
    moved: list[scenes.Twin] = []
    removed: list[scenes.Twin] = []
    scene_id = 0
    while len(moved) < count:
        spec = scenes.sample_scene(seed, scene_id, preset)
        move, removal = scenes.make_twin(spec, "move", scene_id), scenes.make_twin(spec, "remove", scene_id)
        if move is not None and removal is not None:
            moved.append(move)
            removed.append(removal)
        scene_id += 1
    specs = [twin.before for twin in moved]
    source = scenes.render(specs, resolution)
    regions = Regions.from_label_map(source.label_map, num_regions)
    truth = scenes.render([twin.after for twin in removed], resolution).pixel_values
    removal_regions = [twin.object_index for twin in removed]
    removals = RemovalCases(removal_regions, truth, _own_masks(source.label_map, removal_regions))
    return Cases(specs, source.pixel_values, regions, _move_cases(moved, source.boxes, resolution), removals)


def _move_cases(twins: list[scenes.Twin], boxes: Float[Tensor, "b n 4"], resolution: int) -> MoveCases:
    region = [twin.object_index for twin in twins]
    rows = range(len(twins))
    after = scenes.render([twin.after for twin in twins], resolution)
    old, new = boxes[rows, region], after.boxes[rows, region]
    old_centre, new_centre = ((box[:, :2] + box[:, 2:]) / 2 for box in (old, new))
    empty = scenes.render([_changed(twin.after, twin.object_index, present=False) for twin in twins], resolution).pixel_values
    recoloured = [
        scenes.render([_changed(twin.after, twin.object_index, colour=name, rgb=rgb) for twin in twins], resolution).pixel_values
        for name, rgb in COLOURS.items()
    ]
    return MoveCases(
        region=region,
        shift=new_centre - old_centre,
        factor=(new[:, 2:] - new[:, :2]) / (old[:, 2:] - old[:, :2]),
        truth=after.pixel_values,
        empty=empty,
        mask=_own_masks(after.label_map, region),
        recoloured=torch.stack(recoloured, 1),
        colour=[list(COLOURS).index(twin.after.objects[twin.object_index - 1].colour) for twin in twins],
    )


def _own_masks(label_map: Tensor, region: list[int]) -> Bool[Tensor, "b h w"]:
    return label_map == torch.tensor(region)[:, None, None]


def _changed(spec: scenes.SceneSpec, number: int, **changes) -> scenes.SceneSpec:
    objects = tuple(replace(item, **changes) if k == number else item for k, item in enumerate(spec.objects, 1))
    return replace(spec, objects=objects)
