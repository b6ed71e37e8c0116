"""The render command: the examples are what it writes, and what would be overwritten is refused before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from image_utils.io import load_label_map
from scripts import render


def test_the_examples_come_from_it(tmp_path, repository, capsys):
    assert render.main(["--scenes", "16", "10", "--names", "table", "mugs", "--out", str(tmp_path)]) == 0
    for name in ("table", "mugs"):
        ours, theirs = tmp_path / name, repository / "docs" / "examples" / name
        assert ours.with_suffix(".json").read_text() == theirs.with_suffix(".json").read_text()
        assert np.array_equal(np.asarray(Image.open(f"{ours}.png")), np.asarray(Image.open(f"{theirs}.png")))
        assert (load_label_map(f"{ours}.mask.png") == load_label_map(f"{theirs}.mask.png")).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenes", "0", "1", "--names", "a"], "1 names for 2 scenes"),
        (["--scenes", "0", "1", "--names", "a", "a"], "a a: two scenes of one name would be one file"),
        (["--names", "old"], "old.mask.png exists; give other --names"),
        (["--resolution", "30"], "resolution=30"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(tmp_path, capsys, words, message):
    (tmp_path / "old.mask.png").write_bytes(b"mine")
    with pytest.raises(SystemExit):
        render.main([*words, "--out", str(tmp_path)])
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["old.mask.png"] and (tmp_path / "old.mask.png").read_bytes() == b"mine"
