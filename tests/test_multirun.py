"""Sweeps: the grammar equals Hydra's, the same command gives the same members, and members survive each other, signals and resumes."""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hypothesis import given
from hypothesis import strategies as st

import launch_slurm
import multirun
from configs import build_store
from configs.sweep_grammar import NAME, SweepError, members_of
from gen.run_files import is_held

TINY = ("+experiment=demo_exp", "+mode=tiny")
PARSER = OverridesParser.create()


def expand(*words: str, samples: int | None = None, seed: int = 0) -> list[list[str]]:
    """Return the members' words without the last, which names the run."""
    return [list(member.overrides[:-1]) for member in members_of(words, samples=samples, seed=seed)[1]]


def values(*words: str, **options: int) -> list[float]:
    return [float(overrides[0].split("=")[1]) for overrides in expand(*words, **options)]


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.learning_rate=1e-4,3e-4", "seed=range(3)", "+experiment=a,b"],
        ["seed=range(0,1,0.25)", "model=x", "tags=[a,b],[c]"],
        ["a=choice(1,true,x/y-1.5)", "b=sort(3,1,2)", "c=int(range(0.5,3.5))", "d=float(1,2)"],
        ["a='x y','z,w'", 'b="(","[="', "c={p:1},{p:2}", "d=null,1", "~e", "++f=1,2", "g@h=1,2"],
        ["seed=range(5,0,-2)", "a=tag(fast,choice(1,2))"],
    ],
    ids=" ".join,
)
def test_members_are_those_of_hydras_own_sweeper_in_its_order(words):
    [batch] = BasicSweeper.split_arguments(PARSER.parse_overrides(words), None)
    assert [[word for word in member if word != "~e=null"] for member in batch] == [
        [word for word in member if word != "~e"] for member in expand(*words)
    ]


def test_words_that_do_not_sweep_stay_as_they_are():
    words = ["dataset.validation_image=[a.png, b.png]", "dataset.validation_prompt='red, or: blue'", "~evaluation", "x=${seed}"]
    assert [member[:-1] for member in expand(*words, "seed=1,2")] == [words, words]


def test_the_same_command_gives_the_same_members():
    words = ["seed=shuffle(range(50))", "tags=shuffle([a,b,c,d,e,f,g])", "x=interval(0,1)"]
    first, again = (members_of(words, samples=4, seed=1) for _ in range(2))
    assert first == again
    seeds = [int(member[0].split("=")[1]) for member in expand(*words, samples=1, seed=1)]
    assert sorted(seeds) == list(range(50)) != seeds
    ids = {members_of(changed, samples=samples, seed=seed)[0] for changed, samples, seed in ((words, 4, 1), (words, 4, 2), (words, 5, 1))}
    assert len(ids) == 3
    assert members_of([*words, "exp=mine"], samples=4, seed=1)[0] == "mine"


def test_intervals_are_drawn_together_in_their_range_and_log_ones_evenly_over_decades():
    rates = values("trainer.learning_rate=tag(log,interval(1e-5,1e-2))", samples=600)
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    per_decade = [sum(low <= math.log10(rate) < low + 1 for rate in rates) for low in (-5, -4, -3)]
    assert min(per_decade) > 150
    even = values("x=interval(-2,6)", samples=600)
    assert -2 <= min(even) < -1.9 < 5.9 < max(even) <= 6
    whole = [member[1] for member in expand("y=interval(0,1)", "x=int(interval(1,3))", samples=200)]
    assert set(whole) == {"x=1", "x=2", "x=3"}


def test_a_drawn_value_depends_on_its_own_key_and_number_alone():
    few = values("x=interval(0,1)", samples=3)
    assert values("x=interval(0,1)", samples=5)[:3] == few
    assert values("x=interval(0,1)", "y=interval(0,1)", samples=3) == few
    assert [member[1] for member in expand("x=interval(0,1)", "y=interval(0,1)", samples=3)] != [f"y={value}" for value in few]
    crossed = expand("x=interval(0,1)", "seed=1,2", samples=3)
    assert crossed == [[f"x={value}", f"seed={seed}"] for value in few for seed in (1, 2)]


@given(st.lists(st.tuples(st.text(min_size=1), st.sampled_from(Quote)), min_size=2, max_size=4, unique_by=lambda pair: pair[0]))
def test_member_words_hold_the_same_strings_whatever_they_contain(pairs):
    words = ["key=" + ",".join(QuotedString(text, quote).with_quotes() for text, quote in pairs)]
    assert [PARSER.parse_override(word).value() for [word] in expand(*words)] == [text for text, _ in pairs]
    assert all(NAME.fullmatch(member.exp) and len(member.name) <= 80 for member in members_of(words, samples=None, seed=0)[1])


def test_a_cast_to_str_keeps_its_type_and_its_quotes():
    read = [PARSER.parse_override(word).value() for [word] in expand("key=str(1,'a)b',\"it's\",true)")]
    assert read == ["1", "a)b", "it's", "true"]


def test_members_are_named_by_what_varies():
    sweep_id, members = members_of(["+experiment=a", "model.width=64,128", "x=-1,1e30", "exp=group/sizes"], samples=None, seed=0)
    assert sweep_id == "group/sizes"
    names = ["0000_width-64_x--1", "0001_width-64_x-1e30", "0002_width-128_x--1", "0003_width-128_x-1e30"]
    assert [member.name for member in members] == names
    assert [member.overrides[-1] for member in members] == [f"exp=group/sizes/{name}" for name in names]


REFUSED = [
    (["seed=range(0)"], {}, "sweeps over nothing"),
    (["seed=range(0,3,0)"], {}, "must not be zero"),
    (["seed=1,2", "seed=3"], {}, "more than once"),
    (["seed=1,1"], {}, "same training"),
    (["x=int(interval(1,2))"], {"samples": 3}, "same training"),
    (["seed=range(100)", "x=range(101)"], {}, "more than 10000"),
    (["seed=range(1000000000)"], {}, "more than 10000"),
    (["seed=[1,2"], {}, r"seed=\[1,2: "),
    (["seed"], {}, "missing EQUAL"),
    (["seed=several(1,2)"], {}, "Unknown function"),
    (["x=interval(0,1)"], {}, "--samples"),
    (["x=1,2"], {"samples": 3}, "no word is an interval"),
    (["x=interval(1,0)"], {"samples": 3}, "smaller one first"),
    (["x=interval(0,inf)"], {"samples": 3}, "finite"),
    (["x=tag(log,interval(0,1))"], {"samples": 3}, "above 0"),
    (["x=tag(lgo,interval(1,2))"], {"samples": 3}, "'log'"),
    (["exp=a,b"], {}, "cannot be swept"),
    (["exp=../a", "seed=1,2"], {}, "stays inside outputs"),
    (["~exp", "seed=1,2"], {}, "a sweep needs a name"),
    (["exp=null", "seed=1,2"], {}, "a sweep needs a name"),
    (["seed=1,01"], {}, "same training"),
    (["x=1e-4,0.0001"], {}, "same training"),
    (["x=[1,a],[01,'a']"], {}, "same training"),
    (["exp='a b'", "seed=1,2"], {}, "letters, digits"),
]


@pytest.mark.parametrize(("words", "options", "message"), REFUSED, ids=[" ".join(words) for words, _, _ in REFUSED])
def test_what_makes_no_sweep_is_refused(words, options, message):
    with pytest.raises(SweepError, match=message):
        members_of(words, **{"samples": None, "seed": 0} | options)


def test_a_glob_asks_the_configuration_for_its_entries():
    entries = sorted(entry["name"] for entry in build_store() if entry["group"] == "experiment")
    fitting = [name for name in entries if name.startswith("scenes")]
    assert 1 < len(fitting) < len(entries)
    assert expand("+experiment=glob(scenes*)") == [[f"+experiment={name}"] for name in fitting]
    with pytest.raises(SweepError, match="fits none of"):
        expand("+experiment=glob(no_such*)")


def sweep(*words: str) -> subprocess.Popen:
    """Start multirun.py in the working directory; its output goes to the file `said`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with Path("said").open("w") as said:
        return subprocess.Popen([sys.executable, multirun.__file__, *words], env=environment, stdout=said, stderr=said)


def finish(*words: str) -> tuple[int, str]:
    return sweep(*words).wait(), Path("said").read_text()


def test_a_dry_run_prints_commands_at_once_imports_no_torch_and_writes_nothing(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(tmp_path)
    check = "import sys, multirun; code = multirun.main(sys.argv[1:]); print(*sys.modules, file=sys.stderr); sys.exit(code)"
    words = ["--dry-run", "--jobs", "2", *TINY, "x='a b',c", "exp=demo", "--", "~y"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(multirun.BITS)} | {
        "PYTHONPATH": str(repository)
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", check, *words], env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    start = ["env", f"OMP_NUM_THREADS={threads}", sys.executable, str(repository / "train.py"), *TINY]
    members = [("x='a b'", "exp=demo/0000_x-a-b"), ("x=c", "exp=demo/0001_x-c")]
    assert [shlex.split(line) for line in done.stdout.splitlines()] == [[*start, value, "~y", exp] for value, exp in members]
    assert not {"torch", "diffusers", "hydra_zen", "rich", "submitit"} & set(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_member_for_slurm_is_a_whole_command_without_values_of_env(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [
        "--partition",
        "gpu",
        "--nodes",
        "2",
        "--time",
        "1-0",
        "--init",
        "module load x",
        "--env",
        "A=b c",
    ]
    assert multirun.main(["--dry-run", "--slurm", *options, "seed=1,2", "exp=demo"]) == 0
    first, _ = (shlex.split(line) for line in capsys.readouterr().out.splitlines())
    start, end = next(index for index, word in enumerate(first) if word.endswith("launch_slurm.py")), first.index("--")
    parser = argparse.ArgumentParser()
    launch_slurm.add_slurm_arguments(parser)
    read = launch_slurm.settings_from(parser.parse_args(first[start + 1 : end]))
    assert read == launch_slurm.settings_from(parser.parse_args(options[:-2]))
    assert first[end + 1 :] == ["seed=1", "exp=demo/0000_seed-1"]


MISUSED = [
    ([], "give overrides"),
    (["--status", "a", "seed=1"], "stand alone"),
    (["--cancel", "a"], "there is no such sweep"),
    (["--partition", "gpu", "seed=1,2"], "--partition: does nothing without --slurm"),
    (["--slurm", "--jobs", "2", "seed=1,2"], "--array-parallelism"),
    (["--slurm", "--mem", "much", "seed=1,2"], "much"),
    (["--resume", "seed=1,2"], "no sweep to resume"),
]


@pytest.mark.parametrize(("words", "message"), MISUSED, ids=[" ".join(words) or "nothing" for words, _ in MISUSED])
def test_misuse_is_refused(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert multirun.main(words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["--job", "2"], ["-m"], ["--jobs", "0"], ["--lr=1,2"]], ids=" ".join)
def test_options_that_do_not_exist_are_refused(capsys, words):
    with pytest.raises(SystemExit, match="2"):
        multirun.main([*words, "seed=1,2"])


def test_a_sweep_key_that_does_not_exist_is_refused_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert multirun.main([*TINY, "trainer.learning_rte=1e-3,1e-4"]) == 2
    refused = capsys.readouterr().err
    assert refused.startswith("0: ") and "\n1: " in refused
    assert refused.count("did you mean trainer.learning_rate?") == 2
    assert not list(tmp_path.iterdir())


def test_a_second_multirun_on_a_sweep_is_refused(tmp_path, monkeypatch, repository):
    monkeypatch.chdir(tmp_path)
    hold = "import multirun\nwith multirun._alone(multirun.Path('outputs/a')):\n    print('held', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", hold],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repository)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout and process.stdout.readline() == b"held\n"
    with pytest.raises(SweepError, match="another multirun"), multirun._alone(Path("outputs/a")):
        pass
    assert is_held(Path("outputs/a/multirun.pid"))
    process.communicate(b"\n")
    assert not is_held(Path("outputs/a/multirun.pid"))
    with multirun._alone(Path("outputs/a")):
        pass


@pytest.mark.parametrize("text", ["", '{"id": "a"', "[]", '{"members": [{"name": "b"}]}'])
def test_a_damaged_manifest_is_named(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    Path("outputs/a").mkdir(parents=True)
    Path("outputs/a/sweep.json").write_text(text)
    for words in (["--status", "a"], ["--cancel", "a"], ["--resume", "seed=1,2", "exp=a"]):
        assert multirun.main(words) == 2
        assert capsys.readouterr().err.startswith("outputs/a/sweep.json: damaged (")


NVIDIA_SMI = """#!/bin/sh
echo "GPU 0: NVIDIA H200 (UUID: GPU-00000000-aaaa)"
echo "GPU 1: NVIDIA H200 (UUID: GPU-00000000-bbbb)"
"""


def test_gpus_that_are_not_there_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert multirun.main(["--gpus", "0", *TINY, "seed=1,2"]) == 2
    assert "--gpus 0: nvidia-smi lists 0 GPUs" in capsys.readouterr().err
    (tmp_path / "nvidia-smi").write_text(NVIDIA_SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert multirun.main(["--gpus", "1,2,GPU-cccc", *TINY, "seed=1,2"]) == 2
    assert "nvidia-smi lists 2 GPUs, not 2, GPU-cccc; " in capsys.readouterr().err
    assert multirun.main(["--gpus", "1,GPU-00000000-bbbb", *TINY, "no_such_key=1,2"]) == 2  # these are there
    assert "no_such_key" in capsys.readouterr().err
    assert not Path("outputs").exists()


def safetensors(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("pipeline/**/*.safetensors")}


def status_of(folder: Path) -> str:
    return json.loads((folder / "status.json").read_text())["status"]


@pytest.mark.timeout(300)
def test_a_failing_member_leaves_the_others_alone_and_resume_runs_only_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--jobs", "2", *TINY, "trainer.learning_rate=1e-3,1e30", "exp=rates"]
    code, said = finish(*words)
    good, bad = (tmp_path / "outputs" / "rates" / name for name in ("0000_learning_rate-0.001", "0001_learning_rate-1e30"))
    assert (code, status_of(good), status_of(bad)) == (1, "finished", "failed"), said
    assert "FloatingPointError: global step 2: loss nan" in said  # the summary has the end of that member's log
    manifest = json.loads((tmp_path / "outputs" / "rates" / "sweep.json").read_text())
    assert (manifest["id"], manifest["backend"], manifest["words"]) == ("rates", "local", words[2:])
    assert [entry["exp"] for entry in manifest["members"]] == [f"rates/{folder.name}" for folder in (good, bad)]
    assert manifest["members"][0]["command"] in (good / "command.sh").read_text()
    assert (tmp_path / "outputs" / "rates" / "record.json").exists()

    assert multirun.main(words) == 2
    assert "add --resume" in capsys.readouterr().err
    assert multirun.main(["--resume", *words[:-2], "trainer.learning_rate=1e-3,1e29", "exp=rates"]) == 2
    refused = capsys.readouterr().err
    assert "only there: " in refused and "1e+30" in refused and "only here: " in refused and "1e+29" in refused
    assert multirun.main(["--dry-run", "--resume", *words]) == 0
    assert [shlex.split(line)[-1] for line in capsys.readouterr().out.splitlines()] == [f"exp=rates/{bad.name}"]
    before = (good / "log.txt").read_bytes(), len((bad / "log.txt").read_bytes())
    assert finish("--resume", *words)[0] == 1
    assert (good / "log.txt").read_bytes() == before[0]
    assert len((bad / "log.txt").read_bytes()) > before[1]
    assert multirun.main(["--status", "rates"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()[2:4]]
    assert rows == [[good.name, "finished", "3/3"], [bad.name, "failed", "2/3"]]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, Path("said").read_text()
        time.sleep(0.05)


LONG = (*TINY, "trainer.max_train_steps=30", "trainer.checkpointing_steps=1000", "trainer.eval_every_n_steps=1000", "seed=1,2", "exp=seeds")
FOLDERS = tuple(Path("outputs", "seeds", name) for name in ("0000_seed-1", "0001_seed-2"))


def both_are(status: str) -> bool:
    """Tell whether both members of LONG say so."""
    return all((folder / "status.json").exists() and status_of(folder) == status for folder in FOLDERS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cancelled_sweep_goes_on_and_a_member_alone_gives_the_same_bits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--gpus", "4,7", *LONG]
    process = sweep(*words)
    wait_until(lambda: both_are("running"))
    surroundings = [Path("/proc", (folder / "lock").read_text().split()[1], "environ").read_text().split("\0") for folder in FOLDERS]
    for gpu, variables in zip("47", surroundings, strict=True):
        assert {f"CUDA_VISIBLE_DEVICES={gpu}", "WANDB_RUN_GROUP=seeds", "OMP_NUM_THREADS=1"} <= set(variables)
    assert multirun.main(["--resume", *words]) == 2
    assert "already in training: 0000_seed-1, 0001_seed-2" in capsys.readouterr().err
    assert multirun.main(["--cancel", "seeds"]) == 0
    assert process.wait() == 75, Path("said").read_text()
    assert both_are("requeue")
    assert all(list((folder / "state").glob("step_*")) and not (folder / "pipeline").exists() for folder in FOLDERS)
    assert multirun.main(["--cancel", "seeds"]) == 2
    assert "nothing of it runs" in capsys.readouterr().err

    code, said = finish("--resume", *words)
    assert code == 0 and both_are("finished"), said
    Path("fresh").mkdir()
    command = ["bash", str(tmp_path / FOLDERS[0] / "command.sh")]
    subprocess.run(command, cwd="fresh", capture_output=True, check=True)
    assert safetensors("fresh" / FOLDERS[0]) == safetensors(FOLDERS[0])
    assert len(safetensors(FOLDERS[0])) > 1
    assert safetensors(FOLDERS[0]) != safetensors(FOLDERS[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_members_whose_multirun_was_killed_can_be_seen_and_cancelled(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    process = sweep("--jobs", "2", *LONG)
    wait_until(lambda: both_are("running"))
    process.kill()
    process.wait()
    assert multirun.main(["--status", "seeds"]) == 0
    assert capsys.readouterr().out.count("running") == 2
    assert multirun.main(["--cancel", "seeds"]) == 0
    wait_until(lambda: both_are("requeue"))
    code, said = finish("--resume", "--jobs", "2", *LONG)
    assert code == 0 and both_are("finished"), said
