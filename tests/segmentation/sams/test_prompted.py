"""Prompts in pixels of the picture: each is a region, its own object's, wherever the picture lies in the network's square."""

from __future__ import annotations

import pytest
import torch

from gen import scenes
from gen.evaluation.segmentation_metrics import mean_best_overlap
from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.sams.prompted import Prompt, PromptedSam, prompted_masks
from gen.segmentation.sams.sam import Sam
from gen.segmentation.suppression import mask_iou

SAM = Sam(weights="tiny", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def rendered():
    return scenes.render([scenes.sample_scene(13, number, "simple") for number in range(8)], 128)


def boxes_and_masks(label_map):
    """Return each large object's box and mask."""
    found = []
    for label in label_map.unique().tolist():
        mask = label_map == label
        if label and mask.sum() > 200:
            rows, columns = torch.where(mask)
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            found.append((tuple(float(edge) for edge in edges), mask))
    return found


def test_boxes_and_points_cut_out_their_own_objects(rendered):
    overlaps = {"box": [], "point": [], "both": []}
    for picture, label_map in zip(rendered.pixel_values, rendered.label_map, strict=True):
        found = boxes_and_masks(label_map)
        truth = torch.stack([mask for _, mask in found])
        middles = [torch.nonzero(mask).float().mean(0).round().flip(0).tolist() for mask in truth]
        prompts = {
            "box": [Prompt(box=box) for box, _ in found],
            "point": [Prompt(points=(tuple(middle),)) for middle in middles],
            "both": [Prompt(points=(tuple(middle),), box=box) for middle, (box, _) in zip(middles, found, strict=True)],
        }
        for kind, asked in prompts.items():
            masks, scores = prompted_masks(SAM.network(), picture, asked)
            assert masks.shape == truth.shape and scores.shape == (len(truth),)
            overlaps[kind] += mask_iou(masks, truth).diagonal().tolist()
    means = {kind: sum(values) / len(values) for kind, values in overlaps.items()}
    assert means["box"] > 0.7 and means["point"] > 0.6 and means["both"] > 0.5, means


def test_a_picture_that_is_not_square(rendered):
    """The same object, the picture cropped: the mask is the cropped mask, at the crop's own size."""
    picture, label_map = rendered.pixel_values[0], rendered.label_map[0]
    box, mask = boxes_and_masks(label_map)[0]
    left, top, right, bottom = box
    rows = slice(max(0, int(top) - 10), min(128, int(bottom) + 10))
    moved = Prompt(box=(left, top - rows.start, right, bottom - rows.start))
    found, _ = prompted_masks(SAM.network(), picture[:, rows], [moved])
    assert found.shape == (1, rows.stop - rows.start, 128)
    assert mask_iou(found, mask[None, rows]).item() > 0.6


def test_each_prompt_is_a_region_in_its_order(rendered):
    """Also of unlike kinds, which are asked apart."""
    box, mask = boxes_and_masks(rendered.label_map[0])[0]
    middle = tuple(torch.nonzero(mask).float().mean(0).round().flip(0).tolist())
    away = (1.0, 1.0)
    prompts = (
        Prompt(points=(middle, away), point_labels=(1, 0)),
        Prompt(box=box),
        Prompt(points=(middle,)),
        Prompt(box=box, points=(middle,)),
    )
    regions = PromptedSam(sam=SAM, prompts=prompts)(rendered.pixel_values[0])
    assert regions.shape == (5, 128, 128) and torch.equal(regions[0], ~regions[1:].any(0))
    for number, prompt in enumerate(prompts):
        alone, _ = prompted_masks(SAM.network(), rendered.pixel_values[0], [prompt])
        assert mask_iou(alone, regions[1 + number][None]).item() > 0.99


def test_rules_make_a_label_map(rendered):
    boxes = [box for box, _ in boxes_and_masks(rendered.label_map[1])]
    prompts = tuple(Prompt(box=box) for box in [*boxes, *boxes])
    labels = PromptedSam(sam=SAM, prompts=prompts, rules=MaskRules())(rendered.pixel_values[1])
    assert labels.dtype == torch.long and labels.max() == len(boxes), "doubles go"
    assert mean_best_overlap(labels[None], rendered.label_map[1:2]).over_pictures > 0.5


def test_memory_bounds_change_nothing(rendered, monkeypatch):
    from gen.segmentation.sams import promptable

    prompts = [Prompt(box=box) for box, _ in boxes_and_masks(rendered.label_map[0])] * 2
    together, _ = prompted_masks(SAM.network(), rendered.pixel_values[0], prompts)
    monkeypatch.setitem(promptable._PIXELS_AT_ONCE, "cpu", 1)
    alone, _ = prompted_masks(SAM.network(), rendered.pixel_values[0], prompts)
    assert torch.equal(together, alone)


def test_no_prompt_is_no_region(rendered):
    masks, scores = prompted_masks(SAM.network(), rendered.pixel_values[0], [])
    assert masks.shape == (0, 128, 128) and scores.shape == (0,)


@pytest.mark.parametrize(
    "prompt, message",
    [
        ({}, "asks for nothing"),
        ({"points": ((1.0, 2.0),), "point_labels": (1, 0)}, "of 1 points"),
        ({"points": ((1.0, 2.0),), "point_labels": (2,)}, "a label is 1"),
        ({"box": (5.0, 5.0, 5.0, 9.0)}, "holds nothing"),
    ],
)
def test_prompts_that_mean_nothing_are_refused(prompt, message):
    with pytest.raises(ValueError, match=message):
        Prompt(**prompt)


def test_prompts_outside_the_picture_are_refused():
    picture = torch.zeros(3, 40, 60)
    for prompt in (Prompt(points=((61.0, 5.0),)), Prompt(box=(0.0, 0.0, 10.0, 41.0))):
        with pytest.raises(ValueError, match="outside the picture of 60 x 40 pixels"):
            prompted_masks(SAM.network(), picture, [prompt])


def test_a_mirrored_picture_with_mirrored_prompts(rendered):
    for picture, label_map in zip(rendered.pixel_values[:3], rendered.label_map[:3], strict=True):
        (left, top, right, bottom), mask = boxes_and_masks(label_map)[0]
        found, _ = prompted_masks(SAM.network(), picture.flip(-1), [Prompt(box=(128 - right, top, 128 - left, bottom))])
        assert mask_iou(found.flip(-1), mask[None]).item() > 0.6
