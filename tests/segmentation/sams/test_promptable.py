"""How pictures get into a network's square and masks out of it: as the official preprocessing does, and back exactly where they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gen.segmentation.sams.promptable import Frame, boxes_of
from image_utils import convert

SIZES = {"wide": (300, 500), "high": (500, 300), "square": (256, 256), "small": (40, 64), "exact": (128, 128), "thin": (600, 5)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_pad_equals_transformers_processor(size, photographs):
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    image = photographs["astronaut"].resize(size[::-1])
    processor = SamImageProcessorPil(size={"longest_edge": 128}, pad_size={"height": 128, "width": 128})
    theirs = processor(image, return_tensors="pt")
    frame = Frame(*size, 128, "pad")
    assert frame.inside == tuple(theirs["reshaped_input_sizes"][0].tolist())
    ours = frame.place(convert.to_tensor(image)[None])
    # Pillow and torch round the same sums to 8 bits, but for rare halves: one level is 1 / 58 here.
    assert (ours - theirs["pixel_values"]).abs().max() < 1.01 / 57
    assert (ours - theirs["pixel_values"]).abs().mean() < 1e-3


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_squash_is_a_plain_resize(size, photographs):
    image = photographs["coffee"].resize(size[::-1])
    pixels = np.asarray(image.resize((128, 128), Image.Resampling.BILINEAR), dtype=np.float32)
    theirs = (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    ours = Frame(*size, 128, "squash").place(convert.to_tensor(image)[None])
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).max() < 1.01 / 57


@pytest.mark.parametrize("fit", ["pad", "squash"])
@pytest.mark.parametrize("size", [size for name, size in SIZES.items() if name != "thin"], ids=str)  # whose width is one pixel there
def test_what_is_drawn_at_a_point_comes_back_at_that_point(size, fit):
    frame = Frame(*size, 128, fit)
    height, width = size
    for x, y in ((0.25, 0.25), (0.75, 0.5), (0.5, 0.8)):
        column, row = frame.to_square(torch.tensor([x * width, y * height])).tolist()
        rows, columns = torch.meshgrid(torch.arange(32) * 4 + 2, torch.arange(32) * 4 + 2, indexing="ij")
        logits = 20.0 - ((rows - row) ** 2 + (columns - column) ** 2)[None] ** 0.5
        found = frame.to_picture(logits)
        assert found.shape == (1, *size)
        best = found[0].flatten().argmax().item()
        assert abs(best % width + 0.5 - x * width) <= 1 + 4 * width / 128
        assert abs(best // width + 0.5 - y * height) <= 1 + 4 * height / 128


def test_to_picture_equals_the_package():
    from tests.segmentation.sams import tiny_sams

    network = tiny_sams.package_sam()
    logits = torch.randn(3, 16, 16)
    for size in SIZES.values():
        frame = Frame(*size, tiny_sams.SIDE, "pad")
        theirs = network.postprocess_masks(logits[None], frame.inside, size)[0]
        torch.testing.assert_close(frame.to_picture(logits), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 12), (700, 900)], ids=str)
def test_masks_come_in_portions_that_fit_into_memory(size, monkeypatch):
    """Of a small picture the network's square is the larger."""
    from gen.segmentation.sams import promptable

    logits, frame = torch.randn(9, 16, 16, generator=torch.Generator().manual_seed(0)), Frame(*size, 256, "pad")
    monkeypatch.setitem(promptable._PIXELS_AT_ONCE, "cpu", 4 * max(256 * 256, size[0] * size[1]))
    assert [len(part) for part in frame.portions(logits)] == [4, 4, 1]
    assert torch.equal(frame.masks(logits), frame.to_picture(logits) > 0)
    assert frame.masks(logits[:0]).shape == (0, *size)


def test_the_padding_is_cut_off():
    logits = torch.zeros(1, 32, 32)
    logits[:, :16] = 1
    assert Frame(50, 100, 128, "pad").without_padding(logits).mean() == 1
    assert Frame(50, 100, 128, "squash").without_padding(logits).mean() == 0.5


def test_boxes_are_those_of_the_outermost_pixels():
    masks = torch.rand(20, 13, 17, generator=torch.Generator().manual_seed(0)) < 0.02
    masks[3] = False
    for mask, box in zip(masks, boxes_of(masks).tolist(), strict=True):
        rows, columns = torch.where(mask)
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [0, 0, 0, 0]
        assert box == [int(edge) for edge in expected]
