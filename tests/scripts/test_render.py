"""The render command: the examples are what it writes, frames of clips too; what would be overwritten is refused before."""

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


def test_the_examples_come_from_it(tmp_path, repository):
    assert command.main(["--scenes", "16", "10", "--names", "table", "mugs", "--out", str(tmp_path)]) == 0
    later = ["--scenes", "16", "--frame", "8", "--clip-seed", "13", "--names", "table_later"]
    assert command.main([*later, "--out", str(tmp_path)]) == 0
    for name in ("table", "mugs", "table_later"):
        ours, theirs = tmp_path / name, repository / "docs" / "examples" / name
        assert ours.with_suffix(".json").read_text() == theirs.with_suffix(".json").read_text()
        assert np.array_equal(np.asarray(Image.open(f"{ours}.png")), np.asarray(Image.open(f"{theirs}.png")))
        assert (load_label_map(f"{ours}.mask.png") == load_label_map(f"{theirs}.mask.png")).all()
    first, last = (SceneSpec.from_json((tmp_path / f"{name}.json").read_text()) for name in ("table", "table_later"))
    assert last == clip(first, 9, 13)[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenes", "0", "1", "--names", "a"], "1 names for 2 scenes"),
        (["--scenes", "0", "1", "--names", "a", "a"], "a a: two scenes of one name would be one file"),
        (["--names", "old"], "old.mask.png exists; give other --names"),
        (["--resolution", "30"], "resolution=30"),
        (["--frame", "-1"], "a clip of 0 frames"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(tmp_path, capsys, words, message):
    (tmp_path / "old.mask.png").write_bytes(b"mine")
    with pytest.raises(SystemExit):
        command.main([*words, "--out", str(tmp_path)])
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.mask.png"] and (tmp_path / "old.mask.png").read_bytes() == b"mine"
