"""Previews: the chosen panels of held-out scenes go to disk and to the tracker, and the choice may change while a run goes on."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.hydra import runnable
from gen.data.scenes import Scenes
from gen.gallery import PANELS, Previews
from gen.gallery.panel import Sampling
from gen.gallery.previews import draw_panel
from tests.one_step import composed
from train import train


@pytest.mark.parametrize("name", PANELS)
@pytest.mark.parametrize("kind", ["wide", "single", "bare", "covered", "whole", "strip"])
def test_a_panel_draws_any_picture(name, kind, request):
    """Not square, with a single object, without any, without a background, all one object, a thin strip: none ends a training."""
    with torch.no_grad():  # as a training's previews
        panel = draw_panel(name, request.getfixturevalue(kind), Sampling(num_inference_steps=1))
    assert panel.image.width > 100 and np.asarray(panel.image).std() > 0
    assert all(np.isfinite(value) for value in panel.figures.values())


def test_weights_that_have_diverged_cost_a_sheet_and_no_training(pipeline, caplog):
    """What paints nothing is left out and logged; what needs no painting is there."""
    diverged = copy.deepcopy(pipeline)
    torch.nn.init.constant_(diverged.unet.conv_out.bias, torch.nan)
    batch = Scenes(resolution=32, num_regions=5, num_validation=2).validation_batch()
    sheets = Previews(panels=("edits", "saliency_maps"))(diverged, batch, 1)
    assert list(sheets) == ["saliency_maps"]
    assert "previews.panels: edits could not be drawn" in caplog.text and "not finite" in caplog.text


def test_a_run_shows_the_chosen_panels_on_disk_and_in_tensorboard(tmp_path, monkeypatch):
    """Resumed with another choice, it goes on and shows that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    words = ["trainer.log_with=tensorboard", "trainer.eval_every_n_steps=2", "trainer.lr_scheduler=constant"]
    run(*words, "previews.panels=[edits,position_sweep]", "trainer.max_train_steps=2")
    folder = tmp_path / "outputs" / "tiny"
    assert names(folder) == {"step_00000002_edits.png", "step_00000002_position_sweep.png"}
    run(*words, "previews.panels=[position_sweep]", "previews.num_pictures=1", "trainer.max_train_steps=4")
    assert names(folder) == {"step_00000002_edits.png", "step_00000002_position_sweep.png", "step_00000004_position_sweep.png"}
    sizes = [Image.open(folder / "previews" / f"step_0000000{step}_position_sweep.png").size for step in (2, 4)]
    assert sizes[0][1] > sizes[1][1]  # two pictures, then one
    events = {path.parent for path in folder.rglob("events.out.tfevents*")}
    tags = {tag for path in events for tag in EventAccumulator(str(path)).Reload().Tags()["images"]}
    assert {"edits", "position_sweep"} <= tags


def run(*words):
    runnable(train)(composed("+experiment=demo_exp", "+mode=tiny", *words))
    AcceleratorState._reset_state(reset_partial_state=True)


def names(folder):
    return {path.name for path in (folder / "previews").iterdir()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"panels": ("edits", "edits")}, "named twice"), ({"num_pictures": 0}, "num_pictures=0: must be at least 1")],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Previews(**settings)
