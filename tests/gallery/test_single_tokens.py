"""Single tokens: a region's tokens hold its look without the others', and a token holds its own place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gen import edits
from gen.evaluation.image_metrics import psnr
from gen.gallery.panel import Sampling
from gen.gallery.single_tokens import draft, single_tokens, sprite_pictures
from image_utils.convert import to_tensor


def test_regions_alone_look_as_in_the_picture(table):
    panel = single_tokens(table)
    assert [row["region"] for row in panel.table] == [0, 1, 2, 3, 4]
    assert all(row["psnr_alone_db"] > 20 for row in panel.table)  # grey would be below 15
    assert panel.figures["psnr_of_objects_alone_db"] == sum(row["psnr_alone_db"] for row in panel.table[1:]) / 4


def test_what_fills_the_square_does_not_count(wide):
    """It belongs to the background, but is no part of the picture."""
    found = single_tokens(wide, Sampling(num_inference_steps=1)).table[0]["psnr_alone_db"]
    alone = edits.remove(edits.remove(wide.latents, 1), 2)
    painted = wide.paint_pixels(wide.latents, alone, context=False, num_inference_steps=1).pixel_values[1:]
    rows = slice(0, 21)  # 48 x 32 in a square of 32
    own = psnr(painted[:, :, rows], wide.pixel_values[:, :, rows], wide.regions.masks[:, 0, rows])
    assert found == pytest.approx(float(own), abs=1e-4)


def test_a_sprite_has_its_boxs_proportions(table):
    pictures = sprite_pictures(table.pipeline.conditioner.layout, table.latents, [0, 1, 2])
    sizes = table.latents.pose.size[0]
    for picture, (width, height) in zip(pictures, sizes[:3].tolist(), strict=True):
        assert max(picture.size) == 128 and abs(picture.width / picture.height - width / height) < 0.02


def test_a_token_left_out_leaves_a_hole_in_its_own_place(table):
    """The grid of pictures is ordered as the region is: row by row."""
    layout, latents, count = table.pipeline.conditioner.layout, table.latents, 16
    each = latents[[0] * count]
    rest = replace(each, tokens=each.tokens * (1 - torch.eye(count))[:, None, :, None])
    whole = to_tensor(sprite_pictures(layout, latents, [4])[0].resize((128, 128)))
    lost = [(to_tensor(picture.resize((128, 128))) - whole).square().mean(0) for picture in sprite_pictures(layout, rest, [4] * count)]
    places = [int(torch.nn.functional.adaptive_avg_pool2d(error[None], 4).argmax()) for error in lost]
    assert np.mean([place == token for token, place in enumerate(places)]) > 0.8, places


def test_the_draft_is_near_the_picture(table):
    drafted = to_tensor(draft(table).resize((64, 64), 0))[None]
    assert float(psnr(drafted, table.pixel_values)) > 20


def test_a_pipeline_without_sprites_has_none_on_its_sheet(wide, table):
    panel, with_sprites = (single_tokens(picture, Sampling(num_inference_steps=1)) for picture in (wide, table))
    assert panel.image.height < 2 * 128 + 60 < with_sprites.image.height
