"""Compose: an object of one picture stands in another, and everything else is as it was."""

from __future__ import annotations

import pytest
import torch

from gen.editing.operations import remove
from gen.gallery.compose import compose
from gen.gallery.panel import Sampling


def test_an_object_of_another_picture_stands_where_it_was_put(table, mugs):
    panel = compose(mugs, [(table, 4, (0.75, 0.15))])
    assert panel.figures["psnr_elsewhere_db"] > 35
    assert panel.figures["composited_difference_elsewhere"] == 0
    composed = panel.image.crop((4 + 2 * 196, 25, 4 + 2 * 196 + 192, 25 + 192)).resize((64, 64), 0)
    red, green, blue = composed.getpixel((48, 9))
    assert green > red + 30, "the green sphere, where there was grey floor"
    assert green > blue + 30
    grey = mugs.image.getpixel((48, 9))
    assert max(grey) - min(grey) < 30


def test_objects_may_be_taken_out_before(table, mugs):
    with pytest.raises(ValueError, match="all 5 objects .* remove one first"):
        compose(table, [(mugs, 4, None), (mugs, 3, None)])
    panel = compose(table, [(mugs, 4, (0.25, 0.75)), (mugs, 3, None)], latents=remove(table.latents, 4))
    assert panel.image.width > compose(table, [(mugs, 3, None)]).image.width


def test_what_cannot_be_put_in_is_refused(wide):
    with pytest.raises(ValueError, match="others holds no object"):
        compose(wide, [])
    with pytest.raises(ValueError, match=r"outside the picture; .* keep x within \[0, 1.000\] and y within \[0, 0.656\]"):
        compose(wide, [(wide, 1, (0.5, 0.9))])
    assert torch.isfinite(
        torch.tensor(compose(wide, [(wide, 1, (0.8, 0.2))], sampling=Sampling(num_inference_steps=1)).figures["psnr_elsewhere_db"])
    )
