"""The commands around photographs: scikit-image's are saved with captions, a folder of pictures is edited into a sheet and a table."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from gen.data.image_folder import ImageFolder
from image_utils.io import load_image
from scripts import edit_photos, save_photos


def test_photographs_are_saved_as_a_folder_that_can_be_trained_on(tmp_path):
    pytest.importorskip("skimage")
    save_photos.main(["--out", str(tmp_path)])
    pictures = ImageFolder(root=str(tmp_path), num_held_out=0).pictures()
    captions = {pictures[number].name: pictures[number].caption for number in range(len(pictures))}
    assert captions == {f"{name}.png": caption for name, caption in save_photos.PHOTOS.items()}


def test_a_folder_is_edited_into_a_sheet_and_a_table(tmp_path, photographs, capsys):
    from gen.models.tiny import tiny_pipeline

    tiny_pipeline(resolution=32, num_regions=5).save_pretrained(tmp_path / "run" / "pipeline")
    (tmp_path / "photos").mkdir()
    for name in ("chelsea", "coffee"):
        photographs[name].resize((60, 40)).save(tmp_path / "photos" / f"{name}.png")
    ids = np.zeros((40, 60), np.uint8)
    ids[10:20, 20:30], ids[25:38, 5:50] = 200, 9  # more than the pipeline has regions
    Image.fromarray(ids).save(tmp_path / "photos" / "chelsea.mask.png")
    words = ["--root", str(tmp_path / "photos"), "--pipeline", str(tmp_path / "run" / "pipeline"), "--out", str(tmp_path / "out")]
    assert edit_photos.main(words) == 0
    values = json.loads((tmp_path / "out" / "photos.json").read_text())
    assert set(values) == {"facts", "chelsea", "coffee"}
    assert values["chelsea"]["outside"] == [0.0, 0.0]
    assert values["facts"]["command"].startswith("python scripts/edit_photos.py --root")
    assert capsys.readouterr().out.strip() in (tmp_path / "out" / "photos.md").read_text()
    assert load_image(tmp_path / "out" / "photos.png").width > 5 * 60
    assert edit_photos.main([*words[:2], "--pipeline", str(tmp_path / "nowhere"), *words[4:]]) == 2
    assert "nowhere" in capsys.readouterr().err
