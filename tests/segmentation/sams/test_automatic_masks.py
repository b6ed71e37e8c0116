"""Automatic masks are those of the package's own generator, in its order, on pictures of all shapes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gen import scenes
from gen.evaluation.mask_benchmark import agreement, package_weights
from gen.segmentation.sams.automatic_masks import ProposedMasks, automatic_masks
from gen.segmentation.sams.sam import Sam
from gen.segmentation.sams.segment_anything_package import PackageNetwork, build_package_sam, reference_masks
from image_utils import convert

CPU = torch.device("cpu")
SETTINGS = {
    "the defaults of the package": (0.88, 0.95, 1.0, 0.7),
    "what a small network reaches": (0.6, 0.7, 1.0, 0.7),
    "all masks": (0.0, 0.0, 1.0, 0.7),
    "few doubles go": (0.5, 0.5, 0.5, 0.95),
}


@pytest.fixture(scope="module")
def network():
    """Return the shipped weights in the package's network."""
    shipped = Sam(weights="tiny", device="cpu", dtype="fp32").network().network
    return build_package_sam(package_weights(shipped), shipped.config.mask_decoder_config.num_attention_heads)


@pytest.fixture(scope="module")
def picture():
    return scenes.render([scenes.sample_scene(11, 0, "simple")], 128).pixel_values[0]


def promptable(network, dtype=torch.float32):
    return PackageNetwork(copy.deepcopy(network), CPU, dtype, False)


def reference(network, picture, points_per_side, settings) -> ProposedMasks:
    names = ("pred_iou_thresh", "stability_score_thresh", "stability_score_offset", "box_nms_thresh")
    pixels = np.asarray(convert.to_pil(picture))
    found = reference_masks(network, pixels, points_per_side=points_per_side, **dict(zip(names, settings, strict=True)))
    masks = [torch.from_numpy(each["segmentation"].copy()) for each in found]
    return ProposedMasks(
        torch.stack(masks) if masks else torch.zeros(0, *picture.shape[1:], dtype=torch.bool),
        torch.tensor([each["predicted_iou"] for each in found]),
        torch.tensor([each["stability_score"] for each in found]),
        torch.tensor([each["point_coords"][0] for each in found]).float().reshape(-1, 2),
        torch.tensor([each["bbox"] for each in found]).long().reshape(-1, 4),
    )


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("shape", [(128, 128), (100, 60), (50, 128)], ids=str)
def test_equals_the_reference(network, picture, shape, settings):
    picture = picture[:, : shape[0], : shape[1]]
    theirs = reference(network, picture, 8, settings)
    ours = automatic_masks(promptable(network), picture, 8, *settings)
    assert len(ours.masks) == len(theirs.masks)
    found = agreement(theirs.masks[theirs.masks.any((1, 2))], ours.masks[ours.masks.any((1, 2))])
    assert min(found.worst, found.worst_back) >= 0.98
    torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.stability, theirs.stability, atol=1e-2, rtol=1e-2, equal_nan=True)
    torch.testing.assert_close(ours.points, theirs.points, atol=1e-3, rtol=1e-4)
    left, top, right, bottom = ours.boxes.T
    sizes = torch.stack([left, top, right - left, bottom - top], 1)
    assert ((sizes - theirs.boxes).abs() <= 1).all()


@pytest.mark.parametrize("size", [(8, 6), (16, 12), (20, 9)], ids=str)
def test_equals_the_reference_on_pictures_smaller_than_the_networks_masks(network, picture, size):
    """Where stability at low resolution says nothing of that of a few pixels."""
    small = torch.nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)[0].clamp(-1, 1)
    small = convert.to_tensor(convert.to_pil(small))
    settings = (0.0, 0.9, 1.0, 1.0)
    theirs, ours = reference(network, small, 6, settings), automatic_masks(promptable(network), small, 6, *settings)
    assert len(ours.masks) == len(theirs.masks) > 0
    assert torch.equal(ours.masks, theirs.masks)


def test_bf16_finds_the_same_objects(network, picture):
    settings = (0.6, 0.7, 1.0, 0.7)
    exact, rounded = (automatic_masks(promptable(network, dtype), picture, 12, *settings) for dtype in (torch.float32, torch.bfloat16))
    assert len(exact.masks) >= 2
    found = agreement(exact.masks, rounded.masks)
    assert found.mean >= 0.95


def test_a_network_that_finds_nothing(network, picture):
    found = automatic_masks(promptable(network), picture, 4, 1.0, 1.0)
    assert found.masks.shape == (0, 128, 128) and found.masks.dtype == torch.bool and found.boxes.shape == (0, 4)


def test_memory_bounds_change_nothing(network, picture, monkeypatch):
    from gen.segmentation.sams import automatic_masks as module
    from gen.segmentation.sams import promptable as bounds

    settings = (0.6, 0.7, 1.0, 0.7)
    at_once = automatic_masks(promptable(network), picture, 8, *settings)
    monkeypatch.setitem(bounds._PIXELS_AT_ONCE, "cpu", 1)
    monkeypatch.setattr(module, "_PROMPTS_AT_ONCE", 5)
    bounded = automatic_masks(promptable(network), picture, 8, *settings)
    assert torch.equal(at_once.masks, bounded.masks) and torch.equal(at_once.points, bounded.points)
