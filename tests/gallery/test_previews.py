"""Previews: every panel is found by its name and draws any picture."""

from __future__ import annotations

import numpy as np
import pytest

from gen.gallery import PANELS
from gen.gallery.panel import Sampling
from gen.gallery.previews import panel_of

ONE_STEP = Sampling(num_inference_steps=1)


@pytest.mark.parametrize("name", sorted(set(PANELS) - {"position_sweep"}))
@pytest.mark.parametrize("kind", ["wide", "bare", "covered"])
def test_a_panel_draws_any_picture(name, kind, request):
    """One that is not square, one without objects, one without a background: none may end a training that previews it."""
    panel = panel_of(name)(request.getfixturevalue(kind), sampling=ONE_STEP)
    assert panel.image.width > 128 and np.asarray(panel.image).std() > 0
    assert all(np.isfinite(value) for value in panel.figures.values())
