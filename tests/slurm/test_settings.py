"""What a job asks for, where profiles come from, what is refused and what is recorded; no cluster is needed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import launch_slurm
from gen import slurm_job
from gen.slurm_job import NodeTask, Training, megabytes, minutes
from launch_slurm import LaunchError, Settings, add_slurm_arguments, check_cluster, follow, job_states, settings_from, write_record

PROFILES = """\
[big]
partition = "gpu"
nodes = 2
gpus-per-node = 8
time = "24:00:00"
init = ["module load cuda"]
env = ["NCCL_DEBUG=INFO", "A=1"]
"""


def settings(*words: str) -> Settings:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_slurm_arguments(parser)
    return settings_from(parser.parse_args(words))


@pytest.fixture
def profiles(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_PROFILES", raising=False)
    path = tmp_path / "slurm_profiles.toml"
    path.write_text(PROFILES)
    return path


def test_options_are_put_over_a_profile_and_lists_are_joined(profiles):
    found = settings("--profile", "big", "--nodes", "4", "--env", "A=2", "--init", "source env.sh")
    assert (found.partition, found.nodes, found.gpus_per_node, found.time) == ("gpu", 4, 8, "24:00:00")
    assert found.init == ("module load cuda", "source env.sh")
    assert found.env == ("NCCL_DEBUG=INFO", "A=1", "A=2")  # the last one counts


def test_without_a_profile_the_file_is_not_read(profiles):
    profiles.write_text("not TOML")
    assert settings() == Settings()


def test_the_profiles_file_is_named_by_an_option_or_a_variable_or_lies_here(profiles, tmp_path, monkeypatch):
    for name in ("named", "variable"):
        (tmp_path / name).write_text(f"[big]\npartition = '{name}'\n")
    assert settings("--profile", "big").partition == "gpu"
    monkeypatch.setenv("SLURM_PROFILES", "variable")
    assert settings("--profile", "big").partition == "variable"
    assert settings("--profile", "big", "--profiles", "named").partition == "named"


def test_the_documented_profiles_load(repository):
    path = str(repository / "docs" / "slurm_profiles.toml")
    assert settings("--profiles", path, "--profile", "two_nodes").processes == 8
    assert settings("--profiles", path, "--profile", "cpu").threads == 4
    assert settings("--profiles", path, "--profile", "preemptible").max_tries == 100


@pytest.mark.parametrize(
    "text, said",
    [
        ("[bigger]", "has no table [big]; did you mean bigger?"),
        ("[other]", "has no table [big]; there are other"),
        ("big = 3", "has no table [big]"),
        ("[big]\ngpus = 8", "unknown key gpus; there are partition"),
        ("[big]\ngpus_per_node = 8", "unknown key gpus_per_node; did you mean gpus-per-node?"),
        ("[big]\nnodes = '2'", "nodes = '2': must be a whole number"),
        ("[big]\nnodes = true", "nodes = True: must be a whole number"),
        ("[big]\ntime = 60", "time = 60: must be a string"),
        ("[big]\ninit = 'module load'", "init = 'module load': must be a list of strings"),
        ("[big]\nenv = [1]", "env = [1]: must be a list of strings"),
        ("[big", "slurm_profiles.toml: Expected"),
    ],
)
def test_a_wrong_profile_is_refused(profiles, text, said):
    profiles.write_text(text)
    with pytest.raises(LaunchError) as error:
        settings("--profile", "big")
    assert said in str(error.value)


def test_a_missing_profiles_file_is_named(profiles):
    profiles.unlink()
    with pytest.raises(LaunchError, match="slurm_profiles.toml cannot be read .*; name the file with --profiles"):
        settings("--profile", "big")


@pytest.mark.parametrize(
    "words, said",
    [
        (("--nodes", "0"), "--nodes 0: must be at least 1"),
        (("--processes-per-node", "0"), "--processes-per-node 0: must be at least 1"),
        (("--max-tries", "0"), "--max-tries 0: must be at least 1"),
        (("--gpus-per-node", "-1"), "--gpus-per-node -1: must not be below 0"),
        (("--processes-per-node", "3", "--gpus-per-node", "2"), "--processes-per-node 3: each process needs a GPU"),
        (("--time", "1h"), "--time 1h: must be minutes, hours:minutes:seconds, or days-hours"),
        (("--time", "2"), "--time 2: must be longer than --signal-seconds 120"),
        (("--mem", "5 GB"), "--mem 5 GB: must be a whole number with K, M, G or T behind it"),
        (("--env", "CUDA"), "--env CUDA: must be NAME=VALUE"),
    ],
)
def test_malformed_options_are_refused(words, said):
    with pytest.raises(LaunchError) as error:
        settings(*words)
    assert said in str(error.value)


def test_times_and_amounts_are_read_as_slurm_reads_them():
    times = {"90": 90, "1:30": 2, "24:00:00": 1440, "0:00:01": 1, "2-12": 3600, "1-00:30": 1470, "1-0:0:30": 1441}
    assert {text: minutes(text) for text in times} == times
    amounts = {"512": 512, "2048K": 2, "3M": 3, "2G": 2048, "1T": 1024**2}
    assert {text: megabytes(text) for text in amounts} == amounts


def task(**asked) -> NodeTask:
    return NodeTask(Training(overrides=("exp=a b",), folder=Path("outputs/a")), Settings(**asked))


def script(**asked) -> str:
    return task(**asked).script("1", ["--main_process_port", "0"])


def test_every_node_starts_the_processes_that_were_asked_for():
    assert "--num_machines 2 --machine_rank 1 --num_processes 16" in script(nodes=2, gpus_per_node=8)
    assert "--num_processes 4" in script(nodes=2, gpus_per_node=8, processes_per_node=2)
    assert "ACCELERATE_USE_CPU" not in script(gpus_per_node=1)
    assert "ACCELERATE_USE_CPU=true" in script()
    assert "--multi_gpu" not in script() and "--multi_gpu" in script(processes_per_node=2)
    assert "OMP_NUM_THREADS:-4}" in script(cpus_per_task=8, processes_per_node=2)
    assert script(init=("module load cuda",)).splitlines()[-2] == "module load cuda"
    assert script().endswith("train.py 'exp=a b'")


def test_a_job_that_slurm_requeues_after_its_last_try_ends_at_once(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    with pytest.raises(SystemExit, match="try 4 of 3 of job 7: no try is left"):
        task(max_tries=3)()


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_a_requeue_is_asked_for_again_until_the_controller_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_job, "RETRY_SECONDS", 0.01)
    program(
        tmp_path, "scontrol", f"echo x >> {tmp_path}/asked; [ $(wc -l < {tmp_path}/asked) = 3 ] || {{ echo busy >&2; exit 1; }}; echo done"
    )
    assert slurm_job._scontrol("requeue", "7", until=time.monotonic() + 30) == "done\n"
    with pytest.raises(SystemExit, match="scontrol requeue 7: busy"):
        slurm_job._scontrol("requeue", "7", until=time.monotonic() + 0.1)


def test_a_controller_that_does_not_answer_is_no_end_of_a_job(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(launch_slurm, "UNKNOWN_SECONDS", 0)
    program(tmp_path, "sacct", "exit 1")  # no accounting
    program(tmp_path, "squeue", "echo '7|RUNNING'")
    assert job_states(["7", "8"]) == {"7": "RUNNING", "8": "UNKNOWN"}
    assert follow("8", tmp_path / "log") == 1
    assert "job 8: nothing is known of it for 0 s (SLURM does not know it)" in capsys.readouterr().out
    program(tmp_path, "squeue", "echo 'Unable to contact controller' >&2; exit 1")
    with pytest.raises(LaunchError, match="squeue .*: Unable to contact controller"):
        job_states(["7"])
    assert follow("7", tmp_path / "log") == 1
    assert "Unable to contact controller" in capsys.readouterr().out


def test_a_machine_without_slurm_is_told_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match="there is no sbatch on this machine: run this where jobs are submitted"):
        check_cluster(Settings())
    assert launch_slurm.main(["--partition", "gpu", "+experiment=demo_exp"]) == 2
    assert capsys.readouterr().err.startswith("launch_slurm: there is no sbatch")


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit) as end:
        launch_slurm.main(["--node", "2", "+experiment=demo_exp"])
    assert end.value.code == 2
    assert "unrecognized arguments: --node" in capsys.readouterr().err


def test_the_record_says_what_ran_and_keeps_secrets_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "hush-1")
    monkeypatch.setenv("PROXY", "http://me:hush-2@proxy.example")
    monkeypatch.setenv("PLAIN", "seen")
    words = [
        "launch_slurm.py",
        "--env",
        "A_TOKEN=hush-3",
        "--env=B=hush-4=x",
        "+experiment=demo_exp",
        "model.num_tokens=4",
        "seed=1",
    ]
    write_record(tmp_path / "job", words=words, settings=Settings(env=("A_TOKEN=hush-3", "C=hush-5")))
    text = (tmp_path / "job" / "record.json").read_text()
    record = json.loads(text)
    assert "hush" not in text
    assert record["command"][1:] == [
        "--env",
        "A_TOKEN=(hidden)",
        "--env=B=(hidden)",
        "+experiment=demo_exp",
        "model.num_tokens=4",
        "seed=1",
    ]
    assert record["settings"]["env"] == ["A_TOKEN", "C"]
    assert record["environment"]["PLAIN"] == "seen"
    assert {"torch", "submitit", "accelerate"} <= set(record["packages"])
    assert (tmp_path / "job" / "git.diff").exists()


def test_the_record_holds_commit_and_changes(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        name = ("-c", "user.name=a", "-c", "user.email=a@example")
        return subprocess.run(["git", "-C", str(tmp_path), *name, *words], capture_output=True, text=True, check=True).stdout.strip()

    monkeypatch.setattr(launch_slurm, "ROOT", tmp_path)
    write_record(tmp_path / "before", words=[])
    assert json.loads((tmp_path / "before" / "record.json").read_text())["git"] == {"commit": None, "changed": []}
    git("init", "--quiet")
    (tmp_path / "file").write_text("one\n")
    git("add", "file")
    git("commit", "--quiet", "--message", "one")
    git("config", "color.ui", "always")
    git("config", "diff.noprefix", "true")
    (tmp_path / "file").write_bytes(b"two \xff\r\n \n")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    git("add", "binary")
    write_record(tmp_path / "job", words=[])
    found = json.loads((tmp_path / "job" / "record.json").read_text())["git"]
    assert found["commit"] == git("rev-parse", "HEAD")
    assert " M file" in found["changed"]
    git("apply", "--check", "-R", "job/git.diff")
    git("reset", "--hard", "--quiet")
    git("apply", "--whitespace=nowarn", "job/git.diff")
    assert (tmp_path / "file").read_bytes() == b"two \xff\r\n \n"
    assert (tmp_path / "binary").read_bytes() == bytes(range(256))


def test_importing_the_launcher_imports_nothing_slow(repository):
    code = "import sys, launch_slurm; print(*sorted({'torch', 'submitit', 'hydra', 'numpy', 'accelerate'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
