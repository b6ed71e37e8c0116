"""Trainings are checked before a machine gets them: what is right is described, what is wrong is named, nothing is written."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from configs import preflight
from gen.training.run_folder import record_status


@pytest.fixture(autouse=True)
def _workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    GlobalHydra.instance().clear()


def check(capsys, monkeypatch, *trainings, options=()):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps([training.split() for training in trainings])))
    monkeypatch.setattr("sys.argv", ["preflight", *options])
    code = preflight.main()
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_right_trainings_are_described_in_their_order(capsys, monkeypatch, tmp_path):
    code, said, _ = check(capsys, monkeypatch, "+experiment=demo_exp +mode=tiny", "+experiment=scenes64 exp=sweep/one seed=3")
    assert code == 0
    assert [list(entry.values()) for entry in json.loads(said)] == [["tiny", "outputs/tiny", 3], ["sweep/one", "outputs/sweep/one", 9000]]
    assert list(tmp_path.iterdir()) == []


def test_every_mistake_is_named_with_its_training(capsys, monkeypatch):
    wrong = {
        "+experiment=demo_exp trainer.lerning_rate=1": "did you mean trainer.learning_rate?",
        "trainer.learning_rate=-1": "trainer.learning_rate=-1.0: must be above 0",
        "dataset.train_batch_size=two": "dataset.train_batch_size=two: Input should be a valid integer",
        "+experiment=demo_ex": "Could not find 'experiment/demo_ex'",
        "+expriment=demo_exp": "did you mean +experiment=?",
        "exp=../elsewhere": "stay inside outputs/",
        "dataset.validation_image=[absent.png]": "absent.png",
        "+experiment=demo_exp seed=": "seed",
        "model.decoder.prediction_type=bogus": "model.decoder.prediction_type=bogus",
        "model.region_dropout=7": "region_dropout=7",
        "+experiment=demo_exp evaluation=counterfactuals evaluation.num_scenes=many": "evaluation.num_scenes: Value 'many'",
    }
    code, said, errors = check(capsys, monkeypatch, "+experiment=demo_exp", *wrong)
    assert (code, said) == (2, "")
    assert "0: " not in errors.splitlines()
    for number, (words, message) in enumerate(wrong.items(), start=1):
        assert f"{number}: {words}\n" in errors and message in errors.split(f"{number}: {words}\n")[1].split(f"\n{number + 1}: ")[0]
    assert "Traceback" not in errors


def test_a_run_folder_of_another_config_and_one_that_cannot_be_written_are_refused(capsys, monkeypatch, tmp_path):
    folder = tmp_path / "outputs" / "taken"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"seed": 1}')
    record_status(folder, "running", 1, 2)
    (tmp_path / "outputs" / "file").touch()
    code, _, errors = check(capsys, monkeypatch, "exp=taken", "exp=file/below")
    assert code == 2
    assert "outputs/taken: holds a run with another config" in errors
    assert "outputs/file/below: cannot be written" in errors


def test_a_folder_that_this_user_may_not_enter_is_refused(monkeypatch, tmp_path):
    locked = tmp_path / "outputs"
    locked.mkdir(mode=0o700)
    script = "import os, pathlib; os.setuid(65534); from configs.preflight import _refuse_unwritable as r; r(pathlib.Path('outputs/a/b'))"
    done = subprocess.run(
        [sys.executable, "-c", f"import torch, configs.preflight; {script}"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "setuid" in done.stderr:
        pytest.skip("only root can become somebody else")
    assert "RunFolderError: outputs/a/b: cannot be written, because of" in done.stderr


def test_a_model_that_reads_weights_is_not_built(capsys, monkeypatch):
    code, said, _ = check(capsys, monkeypatch, "model/region_encoder/backbone=dinov2 model.region_encoder.backbone.weights=absent/folder")
    assert code == 0 and json.loads(said)


def test_a_data_set_whose_segmenter_reads_weights_is_built_all_the_same(capsys, monkeypatch):
    code, _, said = check(capsys, monkeypatch, "dataset=image_folder dataset.root=nowhere dataset/segmenter=sam2")
    assert code == 2 and "dataset.root='nowhere' is not a folder" in said


def test_groups_are_listed(capsys, monkeypatch):
    code, said, _ = check(capsys, monkeypatch, options=["--groups"])
    groups = json.loads(said)
    assert code == 0 and "demo_exp" in groups["experiment"] and groups["mode"] == ["tiny", "overfit"]
    assert not [group for group in groups if group.startswith("hydra")]
