"""Attention maps: shares of a whole, nothing for what is not there, and found where attention is known to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.editing.latent_image import LatentImage
from gen.editing.operations import move, remove
from gen.gallery.attention_maps import attention_maps, decoder_attention
from gen.gallery.panel import Sampling
from gen.models.layer_tokens import RegionGate
from gen.models.region_visibility import RegionVisibility
from gen.models.tiny import tiny_region_diffusion
from tests.editing.conftest import two_squares

ONCE = Sampling(num_inference_steps=1)


def picture_with(**conditioning) -> LatentImage:
    """Return a picture in a pipeline whose decoder attends at 16 x 16 and 8 x 8 cells."""
    decoding = {"attention_levels": (True, True)}
    model = tiny_region_diffusion(resolution=64, conditioning=conditioning, decoding=decoding)
    return LatentImage.encode(model.eval().pipeline(), *two_squares(64, 48))


@pytest.fixture(scope="module")
def restricted() -> LatentImage:
    """Cells see the regions whose boxes cover them, and no others."""
    return picture_with(visibility=RegionVisibility(margin=0.0))


def test_shares_are_of_one_whole_and_follow_the_seed(table):
    shares = decoder_attention(table, sampling=ONCE)
    assert shares.shape == (6, 64, 64)
    assert shares.min() >= 0
    assert (shares.sum(0) < 1).all(), "registers have some"
    assert shares[5].max() == 0, "an empty slot"
    assert decoder_attention(table, remove(table.latents, 2), ONCE)[2].max() == 0
    assert not torch.equal(decoder_attention(table, sampling=replace(ONCE, seed=1)), shares)


def test_attention_is_found_where_it_is_known_to_be(restricted):
    panel = attention_maps(restricted, ONCE)
    assert [row["region"] for row in panel.table] == [0, 1, 2]
    for row in panel.table[1:]:
        assert row["in_place_percent"] > 2 * row["chance_percent"]
    assert panel.figures["attention_in_place_percent"] == pytest.approx(sum(row["in_place_percent"] for row in panel.table[1:]) / 2)
    everywhere = attention_maps(picture_with(), ONCE)
    assert everywhere.figures["attention_in_place_percent"] < 1.5 * everywhere.figures["attention_chance_percent"]


def test_it_goes_with_the_object(restricted):
    moved = move(restricted.latents, 1, 0.5, 0.0)
    shares = decoder_attention(restricted, moved, ONCE)
    x, y = (moved.pose.centre[0, 1] * 64).long().tolist()
    assert shares[1, y, x] > 0
    assert shares[1, y, x - 32] == 0
    assert decoder_attention(restricted, sampling=ONCE)[1, y, x] == 0


def test_regions_that_come_in_through_gates_share_the_whole():
    gated = picture_with(gate=RegionGate())
    torch.testing.assert_close(decoder_attention(gated, sampling=ONCE).sum(0), torch.ones(64, 64))


def test_guidance_adds_no_maps_and_a_picture_without_objects_has_a_sheet(wide, table):
    shares = decoder_attention(wide, sampling=ONCE)
    torch.testing.assert_close(decoder_attention(wide, sampling=replace(ONCE, guidance_scale=3.0)), shares)
    empty = LatentImage.encode(table.pipeline, table.image, torch.zeros(64, 64, dtype=torch.int64))
    panel = attention_maps(empty, ONCE)
    assert panel.figures == {}
    assert len(panel.table) == 1
    assert panel.table[0]["chance_percent"] == 100


def test_what_is_not_there_has_no_map_and_what_is_at_the_edge_has_a_place(covered, pipeline):
    assert [row["region"] for row in attention_maps(covered, ONCE).table] == [1, 2, 3]
    image, label_map = two_squares(48, 30)  # 20 of 32 rows, so that cells of 8 lie partly beyond
    edge = torch.zeros_like(label_map)
    edge[27:, 10:30] = 1
    row = attention_maps(LatentImage.encode(pipeline, image, edge), ONCE).table[1]
    assert row["chance_percent"] > 0 and row["in_place_percent"] > 0
