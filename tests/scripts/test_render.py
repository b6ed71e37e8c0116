"""The render command: scenes as pictures with masks and specs, frames of clips; what is there stays."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gen.scenes import SceneSpec, clip, render, sample_scene
from image_utils.convert import to_pil
from image_utils.io import load_image, load_label_map
from scripts import render as command


def test_a_scene_is_written_with_its_regions_and_its_spec(tmp_path):
    assert command.main(["--scenes", "3", "5", "--seed", "7", "--resolution", "32", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"scene_{n}{end}" for n in (3, 5) for end in (".png", ".mask.png", ".json")}
    spec = SceneSpec.from_json((tmp_path / "scene_5.json").read_text())
    assert spec == sample_scene(7, 5, "simple")
    truth = render([spec], 32)
    assert np.array_equal(np.asarray(load_image(tmp_path / "scene_5.png")), np.asarray(to_pil(truth.pixel_values[0])))
    assert (load_label_map(tmp_path / "scene_5.mask.png") == truth.label_map[0]).all()


def test_a_later_frame_keeps_the_numbers(tmp_path):
    words = ["--scenes", "3", "--seed", "7", "--resolution", "32", "--frame", "4", "--names", "later", "--out", str(tmp_path)]
    assert command.main(words) == 0
    assert SceneSpec.from_json((tmp_path / "later.json").read_text()) == clip(sample_scene(7, 3, "simple"), 5, 0)[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--names", "a", "b"], "2 names for 1 scenes"), (["--resolution", "30"], "30"), (["--frame", "-1"], "a clip of 0 frames")],
)
def test_mistakes_are_named(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        command.main([*words, "--out", str(tmp_path)])
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path, capsys):
    Image.new("RGB", (4, 4)).save(tmp_path / "scene_0.png")
    with pytest.raises(SystemExit):
        command.main(["--out", str(tmp_path)])
    assert "scene_0.png exists" in capsys.readouterr().err and len(list(tmp_path.iterdir())) == 1
