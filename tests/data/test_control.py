"""Conditioning pictures: outlines lie on borders and nowhere else, edges are as bright as the step is high."""

from __future__ import annotations

import torch

from gen.data.control import edges, outlines


def test_outlines_are_the_pixels_beside_another_region():
    labels = torch.zeros(1, 12, 16, dtype=torch.long)
    labels[0, 3:9, 4:10] = 2
    drawn = outlines(labels)
    assert drawn.shape == (1, 3, 12, 16)
    inside, around = torch.zeros(12, 16), torch.zeros(12, 16)
    inside[4:8, 5:9] = 1
    around[3:9, 4:10] = around[2, 4:10] = around[9, 4:10] = around[3:9, 3] = around[3:9, 10] = 1
    assert torch.equal(drawn[0, 0], 2 * (around - inside) - 1)
    assert torch.equal(drawn[0, 0], drawn[0, 2])
    assert (outlines(torch.ones(1, 8, 8, dtype=torch.long)) == -1).all()


def test_edges_measure_the_step_in_any_channel():
    picture = torch.full((2, 3, 8, 8), -1.0)
    picture[0, :, :, 4:] = 1.0  # black to white
    picture[1, 2, 4:] = 0.0  # half a step, in blue alone
    drawn = edges(picture)
    assert torch.allclose(drawn[0, :, :, 3:5], torch.ones(3, 8, 2))
    assert torch.allclose(drawn[1, :, 3:5], torch.zeros(3, 2, 8))
    assert torch.allclose(drawn[0, :, :, [0, 1, 6, 7]], torch.tensor(-1.0))
