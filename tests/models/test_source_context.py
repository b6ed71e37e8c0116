"""What is known of a picture is continued over what is not."""

from __future__ import annotations

import torch

from gen.models.source_context import SourceContext, fold


def context(known: torch.Tensor, pixels: torch.Tensor | None = None) -> SourceContext:
    return SourceContext(torch.rand(1, 3, 32, 32) if pixels is None else pixels, known)


def test_known_pixels_stay_and_a_plain_colour_is_continued():
    known = torch.ones(1, 32, 32, dtype=torch.bool)
    known[:, 5:20, 7:30] = False
    pixels = torch.full((1, 3, 32, 32), 0.3)
    torch.testing.assert_close(context(known, pixels).continued(), pixels)
    busy = context(known)
    assert torch.equal(busy.continued()[:, :, known[0]], busy.pixel_values[:, :, known[0]])


def test_a_slope_is_continued_smoothly_and_erased_pixels_say_nothing():
    known = torch.ones(1, 32, 32, dtype=torch.bool)
    known[:, 12:20, 12:20] = False
    slope = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
    filled = context(known, slope).continued()
    assert (filled - slope).abs().max() < 0.25
    erased = torch.where(known[:, None], slope, torch.rand(1, 3, 32, 32))
    assert torch.equal(context(known, erased).continued(), filled)


def test_where_nothing_is_known_there_is_nothing():
    assert context(torch.zeros(1, 32, 32, dtype=torch.bool)).continued().eq(0).all()


def test_folding_keeps_a_channels_pixels_together():
    pixels = torch.arange(3.0)[None, :, None, None].expand(1, 3, 8, 8)
    assert torch.equal(fold(pixels, 4)[0, :, 0, 0], torch.tensor([0.0] * 4 + [1.0] * 4 + [2.0] * 4))
