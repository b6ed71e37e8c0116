"""Scores: what is measured of every edited scene, each figure declared once with its unit and range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen.evaluation import region_metrics
from gen.evaluation.cases import OPERATIONS, Cases, clean_pixels, object_area
from gen.evaluation.image_metrics import mean_colour, psnr, ssim
from gen.evaluation.intervals import Statistic
from gen.evaluation.methods import Edited
from gen.evaluation.oracle import Oracle, Reading, yaw_error_degrees
from gen.regions import Regions
from gen.scenes import COLOURS, MATERIALS, SHAPES

_EDITS = tuple(name for name in OPERATIONS if name not in ("reconstruct", "no_op"))
_PLACED = tuple(name for name in _EDITS if name != "remove")  # the edited objects stand somewhere afterwards
_SINGLE = tuple(name for name in _PLACED if name not in ("swap", "move_two"))  # with two, one could be taken for the other
_NAMED = tuple(name for name in _PLACED if name != "interpolate_look")  # a mixed colour has no name
_MIXED = ("interpolate_look", "interpolate_frame")
_REMAINS = 0.25  # share of a removed object's pixels above which it is still there
_PSNR, _SHARE = (0.0, 100.0), (0.0, 1.0)
_TOLERANCE, _LEAST_RISE = 0.02, 0.5  # of the range of an attribute that is interpolated


@dataclass(frozen=True)
class Figure:
    """One quantity of an edited scene.

    Attributes:
        name: in the JSON.
        text: in tables.
        unit: "dB", "%" (kept as a share of 1), "degrees", or "" for none.
        better: whether more or less of it is wanted.
        bounds: least and largest value; PSNR of pictures in [-1, 1] is above 0 and stops at 100.
        operations: for which it is measured.
        statistic: over scenes, in tables.
        with_oracle: whether the oracle reads it; what it reads on true renders is the most that can be asked.
    """

    name: str
    text: str
    unit: str
    better: Literal["higher", "lower"]
    bounds: tuple[float, float]
    operations: tuple[str, ...]
    statistic: Statistic = "mean"
    with_oracle: bool = False


FIGURES = (
    Figure("psnr", "picture, PSNR", "dB", "higher", _PSNR, OPERATIONS),
    Figure("psnr_raw", "picture without compositing, PSNR", "dB", "higher", _PSNR, _EDITS),
    Figure("ssim", "picture, SSIM", "", "higher", (-1.0, 1.0), OPERATIONS),
    Figure("ssim_raw", "picture without compositing, SSIM", "", "higher", (-1.0, 1.0), _EDITS),
    Figure("gain", "picture, PSNR above the unedited one", "dB", "higher", (-100.0, 100.0), _EDITS),
    Figure("gain_over_mean_colour", "picture, PSNR above its mean colour", "dB", "higher", (-100.0, 100.0), ("reconstruct",)),
    Figure("object_psnr", "old and new box of the object, PSNR", "dB", "higher", _PSNR, _EDITS),
    Figure("changed_psnr", "pixels that the true edit changes (object, hole, shadow), PSNR", "dB", "higher", _PSNR, _EDITS),
    Figure("untouched_raw_psnr", "pixels that the true edit leaves, without compositing, PSNR", "dB", "higher", _PSNR, _EDITS),
    Figure("centroid_error", "distance from where it was asked, of the width", "%", "lower", _SHARE, _SINGLE, "median"),
    Figure("oracle_centroid_error", "the same by the oracle's mask", "%", "lower", _SHARE, _PLACED, "median", True),
    Figure("shape_right", "oracle names the shape", "%", "higher", _SHARE, _NAMED, "mean", True),
    Figure("colour_right", "oracle names the colour", "%", "higher", _SHARE, _NAMED, "mean", True),
    Figure("material_right", "oracle names the material", "%", "higher", _SHARE, _NAMED, "mean", True),
    Figure("identity", "identity: mean of the three", "%", "higher", _SHARE, _NAMED, "mean", True),
    Figure("rotation_error", "error of a visible yaw by the oracle", "degrees", "lower", (0.0, 180.0), _NAMED, "median", True),
    Figure("residual_share", "pixels of the removed object that still show it", "%", "lower", _SHARE, ("remove",)),
    Figure("residual_object", "removals with more than a quarter of the object left", "%", "lower", _SHARE, ("remove",)),
    Figure("oracle_present", "removals after which the oracle still sees an object there", "%", "lower", _SHARE, ("remove",), "mean", True),
    Figure("drift_raw_psnr", "picture without compositing against the source, PSNR", "dB", "higher", _PSNR, ("no_op",)),
    Figure("identical", "composited pictures that are the source bit for bit", "%", "higher", _SHARE, ("no_op",)),
    Figure("monotone", "interpolations that never fall back and arrive", "%", "higher", _SHARE, _MIXED, "mean", True),
)
FIGURE = {figure.name: figure for figure in FIGURES}


def score(edited: Edited, cases: Cases, oracle: Oracle | None = None) -> dict[str, Float[Tensor, " b"]]:
    """Return the figures of `FIGURES` that the cases' operation has, one value a scene; `monotone` is told by the function of that name.

    NaN marks a scene that does not have a figure: `untouched_raw_psnr` where the edit leaves no pixel, `rotation_error` where no edited
    object has a visible yaw. An object of which nothing is found is a whole width from its place.

    Args:
        edited: the method's pictures.
        cases: what was asked, and the truth.
        oracle: reads identity and rotation; None leaves its figures out.

    Raises:
        ValueError: if a picture has a pixel that is not finite.
    """
    for name in ("raw", "composited"):
        broken = int((~getattr(edited, name).isfinite()).flatten(1).any(1).sum())
        if broken:
            share = f"{broken} of {len(cases.plans)} {name} pictures"
            raise ValueError(f"{cases.operation}: {share} have pixels that are not finite; mend the method")
    truth, composited, raw = cases.truth, edited.composited, edited.raw
    figures = {"psnr": psnr(composited, truth), "ssim": ssim(composited, truth)}
    if cases.operation == "no_op":
        same = (composited == cases.source).flatten(1).all(1)
        return figures | {"drift_raw_psnr": psnr(raw, cases.source), "identical": same.float()}
    if cases.operation == "reconstruct":
        return figures | {"gain_over_mean_colour": figures["psnr"] - psnr(mean_colour(truth), truth)}
    clean = clean_pixels(cases)
    figures |= {"psnr_raw": psnr(raw, truth), "ssim_raw": ssim(raw, truth), "gain": figures["psnr"] - psnr(cases.source, truth)}
    figures |= {"object_psnr": psnr(composited, truth, object_area(cases)), "changed_psnr": psnr(composited, truth, ~clean)}
    figures["untouched_raw_psnr"] = psnr(raw, truth, clean)
    if cases.operation == "remove":
        return figures | _removal_figures(composited, cases, oracle)
    if cases.operation in _SINGLE:
        asked = edited_masks(cases.truth_regions, cases)[:, 0]
        found = region_metrics.object_pixels(composited, truth, cases.empty, asked)
        figures["centroid_error"] = region_metrics.centroid_error(found, asked).clamp(max=1)
    if oracle is not None:
        figures |= _read_figures(composited, cases, oracle)
    return figures


def _removal_figures(images: Float[Tensor, "b 3 h w"], cases: Cases, oracle: Oracle | None) -> dict[str, Float[Tensor, " b"]]:
    gone = edited_masks(cases.regions, cases).any(1)
    share = region_metrics.residual_share(images, cases.source, cases.truth, gone)
    figures = {"residual_share": share, "residual_object": (share > _REMAINS).float()}
    if oracle is not None:
        present = _read(oracle, images, cases.old_boxes).present > 0.5
        figures["oracle_present"] = present.float().unflatten(0, cases.old_boxes.shape[:2]).mean(1)
    return figures


def _read_figures(images: Float[Tensor, "b 3 h w"], cases: Cases, oracle: Oracle) -> dict[str, Float[Tensor, " b"]]:
    """Return what the oracle reads at the true new boxes; means over the edited objects of a scene."""
    reading = _read(oracle, images, cases.new_boxes)
    count = cases.new_boxes.shape[1]
    asked = edited_masks(cases.truth_regions, cases).flatten(0, 1)
    figures = {"oracle_centroid_error": region_metrics.centroid_error(reading.mask > 0.5, asked).clamp(max=1)}
    if cases.operation in _NAMED:
        items = [spec.objects[number - 1] for spec, numbers in zip(cases.after, cases.edited, strict=True) for number in numbers]
        for name, names in (("shape", SHAPES), ("colour", tuple(COLOURS)), ("material", MATERIALS)):
            own = torch.tensor([names.index(getattr(item, name)) for item in items])
            figures[f"{name}_right"] = (getattr(reading, name).argmax(-1) == own).float()
        figures["identity"] = torch.stack([figures[f"{name}_right"] for name in ("shape", "colour", "material")]).mean(0)
        specs = [spec for spec in cases.after for _ in range(count)]
        figures["rotation_error"] = yaw_error_degrees(reading, specs, [number for numbers in cases.edited for number in numbers])
    return {name: values.unflatten(0, (-1, count)).nanmean(1) for name, values in figures.items()}


def _read(oracle: Oracle, images: Float[Tensor, "b 3 h w"], boxes: Float[Tensor, "b e 4"]) -> Reading:
    """Read e boxes of every picture, a row each."""
    return oracle.read(images.repeat_interleave(boxes.shape[1], 0), boxes.flatten(0, 1))


def edited_masks(regions: Regions, cases: Cases) -> Bool[Tensor, "b e h w"]:
    """Return the masks of the edited objects among the regions of the source or of the truth."""
    numbers = torch.tensor(cases.edited)
    return regions.masks[torch.arange(len(numbers))[:, None], numbers]


def attribute(edited: Edited, cases: Cases, first: Cases, last: Cases, oracle: Oracle) -> Float[Tensor, " b"]:
    """Return what should rise from 0 to 1 while an interpolation's weight does.

    For looks the oracle's probability of the second colour less that of the first, brought from [-1, 1] to [0, 1]. For frames how far the
    object's centroid is on the straight path from its first true place to its last; NaN where nothing of the object is found.

    Args:
        edited: the method's pictures at one weight.
        cases: of that weight.
        first: the cases of weight 0.
        last: the cases of weight 1.
        oracle: names the colours.
    """
    if cases.operation == "interpolate_look":
        colour = _read(oracle, edited.composited, cases.new_boxes).colour
        shares = []
        for side in (first, last):
            own = [spec.objects[numbers[0] - 1].colour for spec, numbers in zip(side.after, side.edited, strict=True)]
            shares.append(colour[torch.arange(len(own)), torch.tensor([list(COLOURS).index(name) for name in own])])
        return (shares[1] - shares[0] + 1) / 2
    here = edited_masks(cases.truth_regions, cases)[:, 0]
    found = region_metrics.object_pixels(edited.composited, cases.truth, cases.empty, here)
    start, end = (region_metrics.centroids(edited_masks(side.truth_regions, side)[:, 0]) for side in (first, last))
    path = end - start
    return ((region_metrics.centroids(found) - start) * path).sum(-1) / path.square().sum(-1)


def monotone(attributes: Float[Tensor, "k b"]) -> Float[Tensor, " b"]:
    """Return 1 for the scenes whose attribute never falls and rises in all, 0 for the others.

    It may fall by at most 0.02 from one weight to the next, and has to end at least 0.5 above its beginning: a picture that never changes
    does not fall either. A jump from one end to the other is monotone as well; what lies between is told by the figure beside this one,
    the object's PSNR at the middle weight against the exact render of the mixture.

    Args:
        attributes: of k rising weights, in [0, 1] on true renders; NaN, where there was nothing to measure, is not monotone.
    """
    steps = attributes.diff(dim=0)
    return ((steps >= -_TOLERANCE).all(0) & (attributes[-1] - attributes[0] >= _LEAST_RISE)).float()
