"""Leakage: how far an object's token moves when its neighbour changes, and which change of an object moves what in its token."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen import scenes
from gen.editing.preserve import changed_area
from gen.evaluation.probes import CLASSES, Probes
from gen.evaluation.tokens import TEST_SEED, encode_scenes
from gen.models.pipeline import RegionPipeline
from gen.regions import Regions

NEIGHBOUR_CHANGES = ("recolour", "move", "remove")
OWN_CHANGES = ("move", "rotate", "resize", "recolour")

_OTHER_SUPERSAMPLING = 3
_PICTURES_AT_ONCE = 16


@runtime_checkable
class Reader(Protocol):
    """Names what a picture shows in a box, as `gen.evaluation.oracle.Oracle` does."""

    def read(self, images: Float[Tensor, "m 3 h w"], boxes: Float[Tensor, "m 4"]) -> Any:
        """Return an object with `shape`, `colour` and `material`, each [m k]: probabilities in the order of the labels."""


@dataclass(frozen=True)
class TokenPairs:
    """Tokens of the same objects before and after something changed in the world.

    Attributes:
        before: one row an object.
        after: the same objects.
        same_pixels: whether every pixel of the object's visible mask is the same, bit for bit; a neighbour's shadow may fall on it.
    """

    before: Float[Tensor, "m f"]
    after: Float[Tensor, "m f"]
    same_pixels: Bool[Tensor, " m"]

    def __getitem__(self, rows: Bool[Tensor, " m"]) -> TokenPairs:
        """Select objects."""
        return TokenPairs(self.before[rows], self.after[rows], self.same_pixels[rows])

    def displacement(self) -> Float[Tensor, " m"]:
        """Return the Euclidean distance that each object's token moved."""
        return (self.after - self.before).norm(dim=-1)


def mean_distance(tokens: Float[Tensor, "m f"]) -> float:
    """Return the mean Euclidean distance between the tokens of two different objects.

    Raises:
        ValueError: if there are fewer than two objects, or all tokens are the same: nothing can be measured against that.
    """
    if len(tokens) < 2:
        raise ValueError(f"{len(tokens)} objects have no distance between them; take more scenes")
    distance = float(torch.pdist(tokens).mean())
    if not distance > 0:
        raise ValueError(f"the tokens of all {len(tokens)} objects are the same: the encoder has collapsed, and leakage has no scale")
    return distance


def neighbour_pairs(pipeline: RegionPipeline, operation: str, num_scenes: int, split: str = "simple", seed: int = TEST_SEED) -> TokenPairs:
    """Change one object of every scene and return the tokens of the others, those whose visible mask is the same in both renders.

    Args:
        pipeline: whose encoder reads.
        operation: of `gen.scenes.make_twin`.
        num_scenes: in which a legal change is found; others are passed over.
        split: preset of the scenes.
        seed: of the scenes.
    """
    return _pairs(pipeline, operation, num_scenes, split, seed, own=False)


def own_pairs(pipeline: RegionPipeline, operation: str, num_scenes: int, split: str = "simple", seed: int = TEST_SEED) -> TokenPairs:
    """Change one object of every scene and return its own tokens; see `neighbour_pairs`."""
    return _pairs(pipeline, operation, num_scenes, split, seed, own=True)


def resampled_pairs(pipeline: RegionPipeline, num_scenes: int, split: str = "simple", seed: int = TEST_SEED) -> TokenPairs:
    """Return all objects' tokens of scenes rendered with 2 x 2 and with 3 x 3 sub-rays a pixel, read from the same masks: a noise floor."""
    specs = [scenes.sample_scene(seed, number, split) for number in range(num_scenes)]
    before, regions, first = encode_scenes(pipeline, specs)
    after, _, second = encode_scenes(pipeline, specs, _OTHER_SUPERSAMPLING, regions)
    objects = regions.valid.clone()
    objects[:, 0] = False
    return TokenPairs(
        before.flatten(2)[objects], after.flatten(2)[objects], _same_pixels(first.pixel_values, second.pixel_values, regions.masks)[objects]
    )


def context_leakage(pairs: dict[str, TokenPairs], floor: TokenPairs, between: float) -> dict[str, float]:
    """Return mean displacements as shares of the mean distance between different objects' tokens; 0 is no leakage.

    Args:
        pairs: of `neighbour_pairs`, by kind of change.
        floor: of `resampled_pairs`.
        between: of `mean_distance`.

    Returns:
        `context_leakage_KIND`, and `context_leakage` over the objects of all kinds; `context_leakage_same_pixels` over those of them
        whose own pixels are the same, bit for bit; `context_leakage_noise_floor`.

    Raises:
        ValueError: if a kind has no object, or none whose pixels are the same.
    """
    moved = {kind: found.displacement() for kind, found in pairs.items()}
    untouched = torch.cat([found[found.same_pixels].displacement() for found in pairs.values()])
    for kind, values in {**moved, "same_pixels": untouched, "noise_floor": floor.displacement()}.items():
        if not len(values):
            raise ValueError(f"context leakage, {kind}: no object is left to measure; take more scenes")
    return {
        "context_leakage": float(torch.cat(list(moved.values())).mean()) / between,
        **{f"context_leakage_{kind}": float(values.mean()) / between for kind, values in moved.items()},
        "context_leakage_same_pixels": float(untouched.mean()) / between,
        "context_leakage_noise_floor": float(floor.displacement().mean()) / between,
    }


def intervention_row(pairs: TokenPairs, probes: Probes, between: float) -> dict[str, float]:
    """Return what one change of the world changed in the tokens: a row of the interventional leakage matrix.

    Args:
        pairs: tokens before and after the change.
        probes: linear, fitted to other scenes.
        between: of `mean_distance`.

    Returns:
        `token`: mean displacement as a share of `between`; for every class its share of objects that the probe names otherwise after the
        change; for every quantity the mean absolute change of the probe's answer, in standard deviations of the quantity.

    Raises:
        ValueError: if there is no pair.
    """
    if not len(pairs.before):
        raise ValueError("a row of the leakage matrix: no object is left to measure; take more scenes")
    row = {"token": float(pairs.displacement().mean()) / between}
    for name, classifier in probes.classifiers.items():
        row[name] = float((classifier(pairs.before).argmax(-1) != classifier(pairs.after).argmax(-1)).float().mean())
    change = (probes.ridge(pairs.after) - probes.ridge(pairs.before)).abs().mean(0) / probes.spread
    return row | dict(zip(probes.quantities, change.tolist(), strict=True))


def swap_test(
    pipeline: RegionPipeline,
    oracle: Reader,
    num_scenes: int,
    split: str = "simple",
    seed: int = TEST_SEED,
    num_inference_steps: int = 4,
) -> dict[str, float]:
    """Let two objects of every scene trade tokens while their poses stay, paint, and ask the oracle what stands where.

    The picture is painted as an edit is: what the trade cannot change is given as context, where the pipeline takes any.

    Args:
        pipeline: what is judged.
        oracle: names what stands in a box.
        num_scenes: in each, two objects trade.
        split: preset of the scenes.
        seed: of the scenes, the choice of objects and the noise.
        num_inference_steps: of denoising.

    Returns:
        For shape, colour and material, over the places whose two objects differ in it: `swap_NAME_follows`, the share that shows the
        traded token's; `swap_NAME_stays`, the share that still shows its own; `swap_NAME_oracle`, the oracle's accuracy there before the
        trade.

    Raises:
        ValueError: if no two objects that traded differ in a label.
    """
    specs = [scenes.sample_scene(seed, number, split) for number in range(num_scenes)]
    read: dict[str, list[Tensor]] = {name: [] for name in CLASSES}
    for block in (specs[start : start + _PICTURES_AT_ONCE] for start in range(0, num_scenes, _PICTURES_AT_ONCE)):
        for name, values in _traded(pipeline, oracle, block, seed, num_inference_steps).items():
            read[name].append(values)
    figures: dict[str, float] = {}
    for name, parts in read.items():
        own, other, source, painted = torch.cat(parts).unbind(1)
        differ = own != other
        if not bool(differ.any()):
            raise ValueError(f"swap test, {name}: no two objects of {num_scenes} scenes that traded differ in it; take more scenes")
        for kind, hits in (("follows", painted == other), ("stays", painted == own), ("oracle", source == own)):
            figures[f"swap_{name}_{kind}"] = float(hits[differ].float().mean())
    return figures


def _traded(pipeline: RegionPipeline, oracle: Reader, specs: list[scenes.SceneSpec], seed: int, steps: int) -> dict[str, Tensor]:
    """Return, for every label, rows of (own, the other's, read before, read after), two places a scene."""
    n = 1 + max(len(spec.objects) for spec in specs)
    rendering = scenes.render(specs, pipeline.resolution)
    regions, truth = Regions.from_label_map(rendering.label_map, n), scenes.labels(specs, n)
    before = pipeline.encode(rendering.pixel_values, regions).to("cpu")
    chosen = torch.tensor([_two_objects(row.tolist(), spec) for row, spec in zip(regions.valid, specs, strict=True)])
    rows = torch.arange(len(specs))[:, None]
    tokens = before.tokens.clone()
    tokens[rows, chosen] = before.tokens[rows, chosen.flip(1)]
    after = replace(before, tokens=tokens)
    context = pipeline.surroundings(rendering.pixel_values, changed_area(regions, before, after))
    generator = torch.Generator().manual_seed(seed + specs[0].scene_id)
    painted = pipeline.decode(after, context=context, num_inference_steps=steps, generator=generator).cpu()
    boxes = rendering.boxes[rows, chosen].flatten(0, 1)
    first, second = (oracle.read(images.repeat_interleave(2, 0), boxes) for images in (rendering.pixel_values, painted))
    return {
        name: torch.stack(
            [
                values[rows, chosen].flatten(),
                values[rows, chosen.flip(1)].flatten(),
                getattr(first, name).argmax(-1).cpu(),
                getattr(second, name).argmax(-1).cpu(),
            ],
            1,
        )
        for name, values in truth.items()
    }


def _two_objects(valid: list[bool], spec: scenes.SceneSpec) -> list[int]:
    seen = [number for number in range(1, len(valid)) if valid[number]]
    if len(seen) < 2:
        raise ValueError(f"swap test: scene {spec.scene_id} shows {len(seen)} objects; choose a split with at least two in every scene")
    return random.Random(f"trade {spec.seed} {spec.scene_id}").sample(seen, 2)


def _pairs(pipeline: RegionPipeline, operation: str, num_scenes: int, split: str, seed: int, own: bool) -> TokenPairs:
    twins = list(_twins(operation, num_scenes, split, seed))
    # One list, so that both sides have the same number of regions.
    tokens, regions, rendering = encode_scenes(pipeline, [twin.before for twin in twins] + [twin.after for twin in twins])
    masks, flat = regions.masks, tokens.flatten(2)
    changed = torch.zeros_like(regions.valid[:num_scenes])
    changed[torch.arange(num_scenes), torch.tensor([twin.object_index for twin in twins])] = True
    changed[:, 0] = not own  # the background is no object
    there = regions.valid[:num_scenes] & regions.valid[num_scenes:]
    alike = (masks[:num_scenes] == masks[num_scenes:]).flatten(2).all(-1)
    kept = there & (changed if own else alike & ~changed)
    pictures = rendering.pixel_values
    same = _same_pixels(pictures[:num_scenes], pictures[num_scenes:], masks[:num_scenes]) & alike
    return TokenPairs(flat[:num_scenes][kept], flat[num_scenes:][kept], same[kept])


def _twins(operation: str, count: int, split: str, seed: int) -> Iterator[scenes.Twin]:
    number = found = 0
    while found < count:
        twin = scenes.make_twin(scenes.sample_scene(seed, number, split), operation, number)
        number += 1
        if twin is not None:
            found += 1
            yield twin


def _same_pixels(first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], masks: Bool[Tensor, "b n h w"]) -> Bool[Tensor, "b n"]:
    """Tell for every region whether the pixels in its mask are the same in both pictures."""
    differs = (first != second).any(1)
    return ~(masks & differs[:, None]).flatten(2).any(-1)
