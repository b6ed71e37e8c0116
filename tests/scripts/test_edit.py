"""The edit command end to end on a toy-size pipeline: pictures, plans, and every kind of bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from gen.editing.command import main
from gen.editing.plan import EditPlan, Flip, Interpolate, Move, Remove, Rotate, to_json
from gen.editing.record import KEY, read_record
from gen.segmentation import Classical
from image_utils.io import load_image, read_text, save_image, save_label_map

SEGMENTERS = {"classical": lambda max_regions: Classical(max_regions=max_regions)}


def edit(*arguments):
    return main([str(argument) for argument in arguments], SEGMENTERS, "edit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Hold a pipeline, two plain pictures, and a label map beside the first."""
    from gen.models.tiny import tiny_pipeline

    folder = tmp_path_factory.mktemp("edit")
    tiny_pipeline(resolution=32, num_regions=5).save_pretrained(folder / "pipeline")
    pixels = np.full((40, 60, 3), 120, np.uint8)
    label_map = torch.zeros(40, 60, dtype=torch.int64)
    for number, (rows, columns, colour) in enumerate(
        [(slice(5, 17), slice(6, 20), (220, 30, 30)), (slice(22, 34), slice(30, 46), (30, 40, 220))], start=1
    ):
        pixels[rows, columns], label_map[rows, columns] = colour, number
    save_image(Image.fromarray(pixels), folder / "a.png")
    save_label_map(label_map, folder / "a.mask.png")
    save_image(Image.fromarray(pixels[::-1, ::-1].copy()), folder / "other.png")
    save_label_map(label_map.flip(0, 1), folder / "elsewhere.png")
    return folder


@pytest.fixture
def run(folder, monkeypatch, tmp_path):
    """Run the command inside the folder; results go to a folder of their own."""
    monkeypatch.chdir(folder)

    def call(*arguments, out=tmp_path / "b.png"):
        return edit("--pipeline", "pipeline", "--image", "a.png", "--out", out, *arguments), out

    return call


def pixels_of(path):
    return np.asarray(load_image(path))


def test_edits_are_applied_in_order_and_the_rest_stays(run, folder):
    code, out = run("--move", 2, 0.1, -0.2, "--rotate", 2, 30, "--remove", 1, "--flip", 2, "--steps", 2, "--seed", 3)
    assert code == 0
    plan = read_record(out).plan
    assert plan == EditPlan((Move(2, 0.1, -0.2), Rotate(2, 30.0), Remove(1), Flip(2)), seed=3, num_inference_steps=2)
    source, edited = pixels_of(folder / "a.png"), pixels_of(out)
    same = (source == edited).all(-1)
    assert same[30:, :20].all()
    assert not same[5:17, 6:20].any(-1).all()


def test_a_picture_makes_itself_again(run, tmp_path):
    edits = ("--insert", "other.png", 1, 0.7, 0.2, "--resize", 1, 1.5, 0.8, "--interpolate", 2, "other.png", 2, 0.5, "look")
    code, first = run(*edits, "--steps", 2)
    assert code == 0
    assert read_record(first).plan.edits[-1] == Interpolate(2, "other.png", 2, 0.5, "look")
    code, again = run("--plan", first, out=tmp_path / "again.png")
    assert code == 0
    assert first.read_bytes() == again.read_bytes()


def test_regions_that_were_given_travel_in_the_picture(run, tmp_path):
    code, first = run("--image", "other.png", "--regions", "elsewhere.png", "--remove", 2, "--steps", 1)
    assert code == 0
    code, again = run("--image", "other.png", "--plan", first, out=tmp_path / "again.png")
    assert code == 0
    assert first.read_bytes() == again.read_bytes()
    code, other_seed = run("--image", "other.png", "--plan", first, "--seed", 9, out=tmp_path / "seed.png")
    assert code == 0
    assert not np.array_equal(pixels_of(other_seed), pixels_of(first))


def test_json_and_options_make_the_same_picture(run, tmp_path):
    (tmp_path / "plan.json").write_text(to_json(EditPlan((Move(2, 0.1, -0.2), Remove(1)), num_inference_steps=2)))
    _, by_options = run("--move", 2, 0.1, -0.2, "--remove", 1, "--steps", 2)
    code, by_plan = run("--plan", tmp_path / "plan.json", out=tmp_path / "c.png")
    assert code == 0
    assert by_options.read_bytes() == by_plan.read_bytes()


def test_list_writes_numbers_and_a_table(run, folder, capsys):
    code, out = run("--list")
    assert code == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["1", "2"]
    area, x, y, width, _, height = (word.strip("%,") for word in table[2].split()[1:])
    assert [float(word) for word in (area, x, y, width, height)] == pytest.approx([8.0, 38 / 60, 28 / 60, 16 / 60, 12 / 60], abs=0.003)
    assert load_image(out).size == (60 * 8, 40 * 8)
    assert KEY not in read_text(out)


def test_the_segmenter_finds_the_plain_objects(run, capsys):
    code, _ = run("--segmenter", "classical", "--list")
    assert code == 0
    assert len(capsys.readouterr().out.splitlines()) == 4  # a head, two objects, and where it went


def test_without_compositing_all_may_differ(run, folder):
    code, out = run("--no-composite", "--steps", 1)
    assert code == 0
    assert (pixels_of(out) != pixels_of(folder / "a.png")).any(-1).mean() > 0.9


def bad_files(folder):
    """Write what a user might give by mistake."""
    (folder / "text.png").write_text("no picture")
    save_image(Image.new("L", (41, 60)), folder / "small.png")
    save_image(Image.new("RGB", (60, 40)), folder / "coloured.png")
    save_image(Image.fromarray(np.full((40, 60), 9, np.uint8)), folder / "nine.png")
    (folder / "typo.json").write_text('{"edits": [{"operation": "mvoe"}]}')
    (folder / "broken.json").write_text("{")
    save_image(Image.new("RGB", (60, 40)), folder / "damaged.png", {KEY: '{"plan": 1}'})
    Image.new("1", (9000, 9000)).save(folder / "huge.png")
    for name, file in (("cut", "unet/diffusion_pytorch_model.safetensors"), ("lacking", "model_index.json")):
        shutil.copytree(folder / "pipeline", folder / name, dirs_exist_ok=True)
        path = folder / name / file
        path.write_bytes(path.read_bytes()[:-1]) if name == "cut" else path.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "none.png", "--flip", 1], "none.png does not exist"),
        (["--image", "text.png", "--flip", 1], "text.png cannot be read"),
        (["--image", "huge.png", "--flip", 1], "9000x9000 pixels, more than the bound"),
        (["--regions", "small.png", "--flip", 1], "small.png: the regions are 41x60 pixels, but the picture is 60x40"),
        (["--regions", "coloured.png", "--flip", 1], "coloured.png is a picture in mode RGB"),
        (["--regions", "nine.png", "--flip", 1], "numbered up to 9, but the pipeline pipeline holds 4 objects"),
        (["--flip", 3], "edit 1 (flip): region 3 is not in the picture; choose one of 1, 2"),
        (["--flip", 1, "--remove", 0], "edit 2 (remove): region 0 is the background"),
        (["--move", 2, 0.9, 0], "edit 1 (move): region 2 would have its centre at"),
        (["--move", 2, 0, 0.3], "y within [0, 0."),
        (["--insert", "none.png", 1, 0.5, 0.5], "none.png does not exist"),
        (["--insert", "other.png", 4, 0.5, 0.5], "region 4 is not in the picture to insert from"),
        (["--plan", "none.json"], "plan none.json does not exist"),
        (["--plan", "typo.json"], "typo.json: edit 1 has the unknown operation 'mvoe'; did you mean 'move'"),
        (["--plan", "broken.json"], "broken.json: the plan is not JSON"),
        (["--plan", "other.png"], "other.png holds no plan"),
        (["--plan", "damaged.png"], "damaged.png: the plan in its text is damaged"),
        (["--plan", "typo.json", "--flip", 1], "together with edits"),
        (["--flip", 1, "--seed", -1], "seed -1 of the plan is out of range"),
        (["--flip", 1, "--pipeline", "nowhere"], "nowhere: no such folder"),
        (["--flip", 1, "--pipeline", "cut"], "diffusion_pytorch_model.safetensors"),
        (["--flip", 1, "--pipeline", "lacking"], "model_index.json: missing"),
        ([], "nothing to do"),
    ],
)
def test_bad_input_is_refused_with_its_place(run, folder, tmp_path, capsys, arguments, message):
    bad_files(folder)
    code, out = run(*arguments)
    errors = capsys.readouterr().err
    assert code == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--move", "2", "left", "0"], "--move: DX must be a number, not 'left'"),
        (["--move", "1.5", "0", "0"], "--move: REGION must be a whole number, not '1.5'"),
        (["--resize", "1"], "--resize: 1 values given, but it takes REGION FACTOR_X FACTOR_Y"),
        (["--segmenter", "magic"], "invalid choice"),
    ],
)
def test_bad_arguments_are_named(run, capsys, arguments, message):
    with pytest.raises(SystemExit) as refusal:
        run(*arguments)
    assert refusal.value.code == 2
    assert message in capsys.readouterr().err


def test_nothing_is_overwritten_unasked(run, folder, tmp_path, capsys):
    _, out = run("--flip", 1, "--steps", 1)
    before = out.read_bytes()
    code, _ = run("--flip", 2, "--steps", 1)
    assert code == 2
    assert "exists; give another name, or --overwrite" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert run("--flip", 2, "--steps", 1, "--overwrite")[0] == 0
    assert out.read_bytes() != before
    assert run("--flip", 1, "--overwrite", out="a.png")[0] == 2
    assert run("--flip", 1, out=tmp_path / "b.jpg")[0] == 2
    assert "a name that ends in .png" in capsys.readouterr().err


def test_another_picture_needs_regions_of_its_own(run, tmp_path, capsys):
    _, first = run("--remove", 1, "--steps", 1)
    code, _ = run("--image", "other.png", "--plan", first, out=tmp_path / "c.png")
    assert code == 2
    assert "is not the picture that" in capsys.readouterr().err
    assert run("--image", "other.png", "--plan", first, "--segmenter", "classical", out=tmp_path / "c.png")[0] == 0


def test_another_pipeline_is_pointed_out(run, folder, tmp_path, capsys):
    from gen.models.tiny import tiny_pipeline

    _, first = run("--remove", 1, "--steps", 1)
    tiny_pipeline(resolution=32, num_regions=5, seed=1).save_pretrained(tmp_path / "second")
    assert run("--plan", first, "--pipeline", tmp_path / "second", out=tmp_path / "c.png")[0] == 0
    assert "made with the pipeline 'pipeline'" in capsys.readouterr().err


def test_the_script_itself(folder, tmp_path, repository):
    command = [
        sys.executable,
        repository / "scripts" / "edit.py",
        "--pipeline",
        "pipeline",
        "--image",
        "a.png",
        "--out",
        tmp_path / "b.png",
    ]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run([*command, "--list"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "region" in done.stdout
    done = subprocess.run([*command, "--remove", "7"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert "Traceback" not in done.stderr


def test_records_are_json(run):
    _, out = run("--remove", 1, "--steps", 1)
    record = json.loads(read_text(out)[KEY])
    assert set(record) == {"plan", "pipeline", "pictures"}
    assert len(record["pipeline"]["manifest_sha256"]) == 64
