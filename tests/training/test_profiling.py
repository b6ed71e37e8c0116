"""The account of a step adds up to the step; a profiled run writes its files and ends with the same bits."""

from __future__ import annotations

import gzip
import json
import os
import runpy
import stat
import subprocess
from pathlib import Path

import pytest
import torch

from configs.hydra import runnable
from gen.training.run_folder import refuse_another_config
from gen.training.trainer import Trainer, TrainerError
from tests.one_step import composed
from tests.training.toy import metrics, train

TINY = ("+experiment=demo_exp", "+mode=tiny")
STAND_IN = """#!/usr/bin/env bash
# Stands in for Nsight Systems, which needs NVIDIA's driver: notes its arguments, then runs the program that it was given.
printf '%s\\n' "$@" > "$(dirname "$0")/arguments_of_rank_$RANK"
while [ "$1" != python ]; do shift; done
exec "$@"
"""


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def tensors(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def test_the_sections_of_a_step_add_up_to_the_step(tmp_path, monkeypatch):
    from train import train as train_py

    monkeypatch.chdir(tmp_path)
    steps = ("trainer.max_train_steps=9", "trainer.log_every_n_steps=3", "trainer.gradient_accumulation_steps=2")
    runnable(train_py)(composed(*TINY, *steps, "exp=run", "trainer.eval_every_n_steps=6", "trainer.checkpointing_steps=6"))
    account = lines(tmp_path / "outputs" / "run")
    beside = [{"preview", "checkpoint"} & {name.removeprefix("seconds/") for name in line} for line in account]
    assert beside == [set(), set(), {"preview", "checkpoint"}]  # both after step 6; the last ones come after the last line
    for line in account:
        seconds = {name.removeprefix("seconds/"): value for name, value in line.items() if name.startswith("seconds/")}
        within = {name: value for name, value in seconds.items() if name not in ("preview", "checkpoint")}
        assert set(within) == {"data", "forward", "encode", "decode", "backward", "optimizer", "logging"}
        assert min(seconds.values()) > 0
        step_seconds = 2 * 2 / line["images_per_second"]
        assert 0.9 * step_seconds <= sum(within.values()) <= step_seconds * (1 + 1e-6)
        assert within["decode"] > within["logging"]


def test_a_profiled_run_writes_its_files_and_ends_with_the_same_bits(tmp_path):
    train(tmp_path / "plain", max_train_steps=5)
    train(tmp_path / "profiled", max_train_steps=5, profile=(1, 3))
    assert metrics(tmp_path / "profiled") == metrics(tmp_path / "plain")
    assert tensors(tmp_path / "profiled") == tensors(tmp_path / "plain")
    files = ["step_00000001_rank_0.operators.txt", "step_00000001_rank_0.trace.json.gz"]
    assert sorted(path.name for path in (tmp_path / "profiled" / "profile").iterdir()) == files
    with gzip.open(tmp_path / "profiled" / "profile" / files[1]) as file:
        events = json.load(file)["traceEvents"]
    account = lines(tmp_path / "profiled")
    assert [line["global_step"] for line in account if "seconds/profile" in line] == [2, 4]  # when it begins, and when it is written
    sections = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert sections.count("backward") == 2  # one a step, and two steps
    assert {"data", "forward", "optimizer", "logging"} <= set(sections)
    assert any(event["name"] == "[memory]" for event in events)
    table = (tmp_path / "profiled" / "profile" / files[0]).read_text()
    assert "aten::addmm" in table
    assert "CPU Mem" in table


def test_a_profile_reaches_to_the_end_and_may_be_asked_for_when_a_run_is_resumed(tmp_path):
    options = {"checkpointing_steps": 2, "lr_scheduler": "constant"}
    train(tmp_path, max_train_steps=3, **options)
    train(tmp_path, max_train_steps=6, profile=(1, 6), **options)
    names = {path.name.split(".")[0] for path in (tmp_path / "profile").iterdir()}
    assert names == {"step_00000003_rank_0"}  # the first step that was still to be done


def test_a_run_that_fails_while_it_is_profiled_still_writes_the_profile(tmp_path):
    from tests.training.toy import ToyData

    with pytest.raises(FloatingPointError):
        train(tmp_path, data=ToyData(poisoned=9), profile=(1, 4))
    assert len(list((tmp_path / "profile").iterdir())) == 2


def test_what_is_profiled_does_not_make_another_run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"profile": None, "profile_with": "torch"}}))
    refuse_another_config(tmp_path, {"trainer": {"profile": [3, 4], "profile_with": "nsys"}})


@pytest.mark.parametrize("steps", [(-1, 2), (2, 2), (3, 2), (0, 11)])
def test_steps_that_do_not_exist_are_refused(steps):
    with pytest.raises(ValueError, match=r"trainer.profile=.*0 <= FIRST < LAST <= trainer.max_train_steps=10"):
        Trainer(max_train_steps=10, profile=steps)


def test_the_command_line_gives_the_steps_as_a_list():
    def look(trainer: Trainer) -> None:
        assert (trainer.profile, trainer.profile_with) == ((1, 3), "nsys")

    runnable(look)(composed(*TINY, "trainer.profile=[1,3]", "trainer.profile_with=nsys"))


def test_a_capture_range_needs_cuda(tmp_path):
    with pytest.raises(TrainerError, match="trainer.profile_with=nsys: .* runs on cpu; set trainer.profile_with=torch"):
        train(tmp_path, profile=(0, 1), profile_with="nsys")
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_account_costs_less_than_one_percent_even_of_a_toy_step(repository, capsys):
    measure = runpy.run_path(str(repository / "scripts" / "benchmark_sections.py"))["measure"]
    runnable(measure)(composed(*TINY))
    steps, alone = capsys.readouterr().out.splitlines()
    assert "ratio" in steps
    assert float(alone.split()[2].removesuffix("%")) < 1


def wrap(repository: Path, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    """Start the script in `folder`, where a stand-in for nsys comes first in PATH."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "nsys").write_text(STAND_IN)
    (programs / "nsys").chmod(stat.S_IRWXU)
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "PATH": f"{programs}:{os.environ['PATH']}"}
    script = str(repository / "scripts" / "accelerate_nsys_profile.sh")
    return subprocess.run(
        [script, *words], cwd=folder, env=environment | variables, capture_output=True, text=True, timeout=110, check=False
    )


@pytest.mark.slow
def test_one_process_of_two_is_wrapped_in_nsight(tmp_path, repository):
    options = ["--multi_gpu", "--num_machines", "1", "--num_processes", "2", "--main_process_port", "0"]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    words = [*TINY, "trainer.max_train_steps=1", "exp=wrapped", "trainer.profile=null"]  # on a CPU there is no range to capture
    done = wrap(repository, tmp_path, *options, "--", str(repository / "train.py"), *words, NSYS_RANK="1", NSYS_OUTPUT="reports/one")
    assert done.returncode == 0, done.stderr
    state = json.loads((tmp_path / "outputs" / "wrapped" / "state" / "step_00000001" / "state.json").read_text())
    assert (state["true_step"], state["position"]) == (1, 4)  # two processes of two samples each
    noted = sorted((tmp_path / "bin").glob("arguments_of_rank_*"))
    assert [path.name for path in noted] == ["arguments_of_rank_1"]
    arguments = noted[0].read_text().splitlines()
    program = arguments.index("python")
    assert arguments[0] == "profile"
    assert {"--capture-range=cudaProfilerApi", "--capture-range-end=stop", "--output=reports/one"} <= set(arguments[:program])
    assert arguments[program + 1 :] == [str(repository / "train.py"), *words, "trainer.profile_with=nsys"]
    assert (tmp_path / "reports").is_dir()


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["--num_processes", "2"], {}, "no training; usage:"),
        (["--", "train.py", "+experiment=demo_exp"], {}, "no step would be captured"),
        (["--", "train.py", "trainer.profile=[0,1]"], {"NSYS_RANK": "first"}, "NSYS_RANK=first: must be the number of a process"),
        (["--", "train.py", "trainer.profile=[0,1]"], {"PATH": "/usr/bin:/bin"}, "nsys is not in PATH"),
    ],
)
def test_the_script_refuses_what_cannot_be_captured(tmp_path, repository, words, variables, message):
    done = wrap(repository, tmp_path, *words, **variables)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("tool", ["torch", "nsys"])
def test_a_profile_on_a_device(tmp_path, monkeypatch, tool):
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    train(tmp_path, profile=(1, 3), profile_with=tool)
    assert torch.cuda.is_initialized()
    names = sorted(path.name.split(".", 1)[1] for path in (tmp_path / "profile").glob("*"))
    assert names == (["memory.pickle", "operators.txt", "trace.json.gz"] if tool == "torch" else [])
    assert all(value >= 0 for line in lines(tmp_path) for name, value in line.items() if name.startswith("seconds/"))
