"""How well found regions agree with the true ones: adjusted Rand index and mean best overlap; segmenters scored by both."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen.segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class BestOverlap:
    """Mean best overlap in both conventions, in [0, 1].

    Attributes:
        over_pictures: each picture's mean over its true objects, then the mean over pictures: every picture counts the same.
        over_objects: the mean over all true objects of all pictures: every object counts the same.
    """

    over_pictures: float
    over_objects: float


@dataclass(frozen=True)
class SegmentationScore:
    """What a segmenter reached: means over pictures, the overlap in both conventions.

    Attributes:
        ari: adjusted Rand index of all pixels, in [-0.5, 1].
        fg_ari: the same of the pixels of true objects alone.
        mbo_pictures: mean best overlap, averaged over each picture's objects and then over pictures, in [0, 1].
        mbo_objects: mean best overlap, averaged over all objects of all pictures, in [0, 1].
    """

    ari: float
    fg_ari: float
    mbo_pictures: float
    mbo_objects: float


def adjusted_rand_index(predicted: Int[Tensor, "b h w"], truth: Int[Tensor, "b h w"], foreground_only: bool = False) -> Float[Tensor, " b"]:
    """Return how often two label maps agree on whether two pixels belong together, corrected for chance: 1 is perfect, 0 is chance.

    The names of labels do not matter. Where chance cannot be told from perfection, because both maps have one single cluster, or each
    pixel is a cluster of its own in both, the maps are the same partition and the index is 1.

    Args:
        predicted: any labels of 0 or more.
        truth: any labels of 0 or more.
        foreground_only: leave out the pixels whose true label is 0 (FG-ARI), whatever was predicted for them.

    Returns:
        One index a picture, in [-0.5, 1].

    Raises:
        ValueError: if a label is negative, or `foreground_only` is asked of a picture without foreground.

    Source: Hubert and Arabie, Comparing Partitions, 1985, equation 5.
    """
    values = []
    for number, (found, true) in enumerate(zip(predicted, truth, strict=True)):
        if foreground_only:
            _refuse_without_objects(true, number, "FG-ARI")
            found, true = found[true > 0], true[true > 0]
        table, _ = _contingency(found, true)
        together = _pairs(table).sum()
        found_pairs, true_pairs, all_pairs = _pairs(table.sum(1)).sum(), _pairs(table.sum(0)).sum(), _pairs(table.sum())
        expected = found_pairs * true_pairs / all_pairs.clamp_min(1)
        index = (together - expected) / ((found_pairs + true_pairs) / 2 - expected)
        no_choice = (found_pairs == true_pairs) & ((found_pairs == 0) | (found_pairs == all_pairs))
        values.append(torch.where(no_choice, 1.0, index))
    return torch.stack(values).float()


def mean_best_overlap(predicted: Int[Tensor, "b h w"], truth: Int[Tensor, "b h w"]) -> BestOverlap:
    """Return the mean, over true objects, of the largest intersection over union that any predicted region has with the object.

    Args:
        predicted: any labels of 0 or more; 0 is a region like the others, as slots have no background.
        truth: 0 is the background, which is no object; other labels are objects.

    Raises:
        ValueError: if a label is negative, or a picture has no object.

    Source: Pont-Tuset et al. 2017, arXiv 1503.00848 (Jaccard index of the best candidate of each object); for slots: Seitzer et al. 2023,
    arXiv 2209.14860.
    """
    best = []
    for number, (found, true) in enumerate(zip(predicted, truth, strict=True)):
        _refuse_without_objects(true, number, "mean best overlap")
        table, labels = _contingency(found, true)
        union = table.sum(1, keepdim=True) + table.sum(0, keepdim=True) - table
        best.append((table / union).amax(0)[labels > 0])
    return BestOverlap(float(torch.stack([overlap.mean() for overlap in best]).mean()), float(torch.cat(best).mean()))


def score_segmenter(segmenter: Segmenter, pixel_values: Float[Tensor, "b 3 h w"], truth: Int[Tensor, "b h w"]) -> SegmentationScore:
    """Segment pictures and compare with the truth, which only a ground-truth segmenter looks at.

    Args:
        segmenter: is given one picture at a time.
        pixel_values: in [-1, 1].
        truth: 0 is the background, other labels are objects; at least one in every picture.

    Raises:
        ValueError: if a picture has no object.
    """
    predicted = torch.stack([segmenter(picture, labels) for picture, labels in zip(pixel_values, truth, strict=True)])
    overlap = mean_best_overlap(predicted, truth)
    return SegmentationScore(
        ari=float(adjusted_rand_index(predicted, truth).mean()),
        fg_ari=float(adjusted_rand_index(predicted, truth, foreground_only=True).mean()),
        mbo_pictures=overlap.over_pictures,
        mbo_objects=overlap.over_objects,
    )


def score_table(scores: dict[str, SegmentationScore]) -> str:
    """Return segmenters and their scores as a Markdown table."""
    lines = ["| segmenter | ARI | FG-ARI | mBO over pictures | mBO over objects |", "|---|---|---|---|---|"]
    for name, score in scores.items():
        lines.append(f"| {name} | {score.ari:.3f} | {score.fg_ari:.3f} | {score.mbo_pictures:.3f} | {score.mbo_objects:.3f} |")
    return "\n".join(lines)


def _contingency(found: Int[Tensor, "*p"], true: Int[Tensor, "*p"]) -> tuple[Float[Tensor, "k l"], Int[Tensor, " l"]]:
    """Count the pixels of every pair of a found and a true label that occur; return the counts and the true labels.

    Raises:
        ValueError: if a label is negative.
    """
    lowest = min(int(found.min()), int(true.min()))
    if lowest < 0:
        raise ValueError(f"label {lowest} in a label map: labels are 0 (the background) and more; give pixels to be ignored one of these")
    found_labels, rows = found.unique(return_inverse=True)
    true_labels, columns = true.unique(return_inverse=True)
    shape = len(found_labels), len(true_labels)
    counts = (rows * shape[1] + columns).flatten().bincount(minlength=shape[0] * shape[1])
    return counts.view(shape).double(), true_labels


def _pairs(count: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    return count * (count - 1) / 2


def _refuse_without_objects(true: Int[Tensor, "h w"], number: int, metric: str) -> None:
    if not (true > 0).any():
        raise ValueError(f"{metric} of picture {number} of the batch: its true label map has no object (all 0); leave this picture out")
