"""Previews: the chosen panels of held-out scenes go to disk and to the tracker, and the choice may change while a run goes on."""

from __future__ import annotations

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.hydra import runnable
from gen import LatentImage
from gen.gallery import PANELS, Previews
from gen.gallery.panel import Panel, Sampling
from gen.gallery.previews import draw_panel, panel_of
from tests.one_step import composed
from train import train


@pytest.fixture(scope="module")
def picture(pipeline):
    label_map = torch.zeros(24, 32, dtype=torch.int64)
    label_map[4:12, 4:12], label_map[14:22, 14:24] = 1, 2
    return LatentImage.encode(pipeline, Image.new("RGB", (32, 24), "grey"), label_map)


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_draws_a_toy_picture_that_is_not_square(picture, name):
    panel = panel_of(name)(picture, sampling=Sampling(num_inference_steps=1))
    assert isinstance(panel, Panel) and panel.image.width > 100
    assert all(isinstance(value, float) for value in panel.figures.values())


@pytest.mark.parametrize("name", PANELS)
def test_a_picture_with_one_object_or_none_does_not_end_a_training(pipeline, name):
    for objects in (0, 1):
        label_map = torch.zeros(32, 32, dtype=torch.int64)
        label_map[4 : 4 + 8 * objects, 4:12] = objects
        lonely = LatentImage.encode(pipeline, Image.new("RGB", (32, 32), "grey"), label_map)
        assert draw_panel(name, lonely, Sampling(num_inference_steps=1)).image.size


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
