"""The gallery command: any pictures, any pipeline, a folder of sheets, animations and figures; nothing is overwritten unasked."""

from __future__ import annotations

import json
import math

import pytest
import torch
from PIL import Image

from gen.gallery.gallery import figures_table, open_pictures, title, write
from gen.gallery.panel import Panel
from image_utils.io import save_image, save_label_map
from image_utils.video import load_frames
from scripts import gallery


@pytest.fixture(scope="module")
def pipeline_folder(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines") / "tiny"
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def photo(tmp_path):
    image = Image.new("RGB", (60, 40), "grey")
    image.paste("red", (10, 10, 24, 24))
    image.paste("blue", (36, 16, 50, 30))
    save_image(image, tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_gallery_of_a_picture_by_a_pipeline(tmp_path, pipeline_folder, photo, capsys):
    words = ["--pipeline", str(pipeline_folder), "--images", str(photo), "--panels", "edits", "position_sweep", "--steps", "1"]
    assert gallery.main([*words, "--out", str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "photo_edits.png", "photo_position_sweep.png", "photo_position_sweep.gif", "gallery.md", "gallery.json",
    }  # fmt: skip
    assert len(load_frames(out / "photo_position_sweep.gif", 100)) > 13
    values = json.loads((out / "gallery.json").read_text())
    table = values["pictures"]["photo"]["position_sweep"]["table"]
    assert len(table) == 13 and "python scripts/gallery.py --pipeline" in values["facts"]["command"]
    printed, page = capsys.readouterr().out, (out / "gallery.md").read_text()
    for text in (printed, page):
        assert text.count("\n| ") >= 13 and "PSNR elsewhere [dB]" in text and "centroid error [%]" in text
    assert "![position sweep of photo](photo_position_sweep.png)" in page

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert gallery.main([*words, "--out", str(out)]) == 2
    assert "exists; give another --out, or --overwrite" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert gallery.main([*words, "--out", str(out), "--overwrite"]) == 0


def test_names_with_spaces_and_masks_among_the_pictures(tmp_path, pipeline, pipeline_folder, photo):
    """A shell's `*.png` matches the label maps too; they are no pictures. A link in Markdown has no spaces."""
    named = photo.rename(tmp_path / "my photo.png")
    label_map = torch.zeros(40, 60, dtype=torch.int64)
    label_map[10:24, 10:24] = 1
    save_label_map(label_map, tmp_path / "my photo.mask.png")
    words = ["--pipeline", str(pipeline_folder), "--panels", "feature_pca", "--out", str(tmp_path / "out")]
    assert gallery.main([*words, "--images", *map(str, sorted(tmp_path.glob("*.png")))]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"my photo_feature_pca.png", "gallery.md", "gallery.json"}
    assert "](my%20photo_feature_pca.png)" in (tmp_path / "out" / "gallery.md").read_text()
    assert [open_pictures(pipeline, [named], chosen)["my photo"].objects for chosen in (None, "classical")] == [[1], [1, 2]]


def test_what_could_not_be_measured_is_null(tmp_path):
    panel = Panel(Image.new("RGB", (1, 1)), {"worst_percent": math.nan}, table=[{"error_percent": math.inf}])
    write(tmp_path, iter([("a", "edits", panel)]), {})
    found = json.loads((tmp_path / "gallery.json").read_text())["pictures"]["a"]["edits"]
    assert found == {"figures": {"worst_percent": None}, "table": [{"error_percent": None}]}


def test_what_cannot_be_drawn_is_refused_before_anything_is_written(tmp_path, pipeline_folder, photo, capsys):
    def refused(*words):
        assert gallery.main(["--pipeline", str(pipeline_folder), "--out", str(tmp_path / "out"), *map(str, words)]) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "missing.png" in refused("--images", tmp_path / "missing.png")
    (tmp_path / "other").mkdir()
    save_image(Image.open(photo), tmp_path / "other" / "photo.png")
    assert "another picture is named photo" in refused("--images", photo, tmp_path / "other" / "photo.png")
    save_image(Image.new("RGB", (32, 32)), tmp_path / "empty.png")
    assert "no object was found" in refused("--images", tmp_path / "empty.png")
    save_image(Image.new("L", (32, 32)), tmp_path / "photo.mask.png")
    assert "label maps of pictures, and no picture" in refused("--images", tmp_path / "photo.mask.png")
    assert "num_inference_steps must be at least 1" in refused("--images", photo, "--steps", 0)


def test_figures_are_shown_with_their_units():
    assert title("psnr_elsewhere_db") == "PSNR elsewhere [dB]"
    table = figures_table(Panel(Image.new("RGB", (1, 1)), {"worst_percent": 2.345}, table=[{"dx": 0.1, "error_percent": 12.345}]))
    assert table == "| dx | error [%] |\n| --- | --- |\n| 0.1 | 12.3 |\n\nworst [%] 2.35"


def test_an_interpolation_goes_to_a_later_frame(tmp_path, pipeline_folder, repository, capsys):
    first, later = (repository / "docs" / "examples" / f"{name}.png" for name in ("table", "table_later"))
    words = ["--pipeline", str(pipeline_folder), "--images", str(first), "--panels", "interpolation", "--steps", "1"]
    assert gallery.main([*words, "--later", str(later), "--out", str(tmp_path / "frames")]) == 0
    assert gallery.main([*words, "--out", str(tmp_path / "looks")]) == 0
    assert len(load_frames(tmp_path / "frames" / "table_interpolation.gif", 100)) == 16
    frames, looks = ((tmp_path / name / "table_interpolation.png").read_bytes() for name in ("frames", "looks"))
    assert frames != looks
