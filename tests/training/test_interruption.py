"""A run that is asked to stop writes a checkpoint at the next step boundary; one that cannot go on keeps what it has."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from gen.artefact import ArtefactError, DiskFullError, write_folder
from gen.training.interruption import Interrupted
from gen.training.run_folder import RunFolderError
from gen.training.trainer import Trainer, TrainerError
from tests.training.toy import SignalledDenoiser, ToyData, metrics, train


def _status(folder):
    return json.loads((folder / "status.json").read_text())


def _checkpoints(folder):
    return [path.name for path in sorted((folder / "state").iterdir())]


def _same_end(one, other):
    newest = _checkpoints(one)[-1]
    files = [file.relative_to(one) for place in (f"state/{newest}", "pipeline") for file in (one / place).iterdir()]
    return metrics(one) == metrics(other) and all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def _toy(repository, folder, options, *words, launch=()):
    command = [sys.executable, "-m", *launch, "tests.training.toy", folder, json.dumps(options), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(map(str, command), cwd=repository, env=environment, capture_output=True, text=True, timeout=110, check=False)


TWO = ("accelerate.commands.launch", "--multi_gpu", "--num_machines", 1, "--num_processes", 2, "--main_process_port", 0)
TWO += ("--mixed_precision", "no", "--dynamo_backend", "no", "--module")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_signal_ends_the_run_at_the_step_boundary_and_the_same_command_with_the_same_bits(tmp_path, name):
    options = {"max_train_steps": 9, "checkpointing_steps": 4, "eval_every_n_steps": 6, "gradient_accumulation_steps": 2}
    before = signal.getsignal(signal.Signals[name])

    class Signalled(SignalledDenoiser):
        signal_number, steps = signal.Signals[name], (2, 5, 7)  # a forward knows the steps done before it

    for done in (3, 6, 8):
        with pytest.raises(Interrupted, match=f"stopped by {name} after step {done}; the same command"):
            train(tmp_path / "parts", model_class=Signalled, **options)
        assert _checkpoints(tmp_path / "parts")[-1] == f"step_{done:08d}"
        assert (_status(tmp_path / "parts")["status"], _status(tmp_path / "parts")["global_step"]) == ("requeue", done)
    assert signal.getsignal(signal.Signals[name]) is before
    train(tmp_path / "parts", model_class=Signalled, **options)
    train(tmp_path / "whole", **options)
    assert _same_end(tmp_path / "whole", tmp_path / "parts")
    assert _status(tmp_path / "parts")["status"] == "trained"
    assert len(list((tmp_path / "parts" / "previews").iterdir())) == 2  # that of the step after which it stopped was painted before


def test_a_signal_in_the_last_step_needs_no_restart(tmp_path):
    class Signalled(SignalledDenoiser):
        steps = (3,)

    train(tmp_path, model_class=Signalled, max_train_steps=4)
    assert _status(tmp_path)["status"] == "trained"


def test_one_process_is_signalled_and_both_stop_at_the_same_step_and_one_goes_on(tmp_path, repository):
    """The run is begun with two processes and ended with one: the same samples a step, the same steps."""
    options = {"max_train_steps": 8, "gradient_accumulation_steps": 2, "checkpoints_total_limit": 9}
    process = _toy(repository, tmp_path / "run", options, "--signal_in_step", 4, launch=TWO)
    assert process.returncode != 0, "accelerate's launcher tells any end but a good one"
    assert _checkpoints(tmp_path / "run") == ["step_00000005"], process.stderr
    assert _status(tmp_path / "run")["status"] == "requeue"
    train(tmp_path / "run", **options)
    state = json.loads((tmp_path / "run" / "state" / "step_00000008" / "state.json").read_text())
    assert (state["position"], state["effective_batch"], state["true_step"]) == (8 * 16, 16, 5 * 2 + 3 * 4)
    train(tmp_path / "one", **(options | {"gradient_accumulation_steps": 4}))
    for parts, whole in zip(metrics(tmp_path / "run"), metrics(tmp_path / "one"), strict=True):
        assert parts == pytest.approx(whole, rel=1e-4)


def test_an_effective_batch_that_cannot_be_kept_is_refused(tmp_path):
    train(tmp_path, max_train_steps=2)
    path = tmp_path / "state" / "step_00000002" / "state.json"
    numbers = json.loads(path.read_text()) | {"effective_batch": 6}
    path.write_text(json.dumps(numbers))  # as if it had been begun with three processes of two samples
    _sign(path.parent)
    with pytest.raises(
        TrainerError,
        match="begun with 6 samples a global step, which 1 processes with dataset.train_batch_size=4 cannot make; start a number",
    ):
        train(tmp_path, max_train_steps=3)


def _sign(folder):
    """Write the manifest anew, as a whole checkpoint would have it."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    files = [file for file in aside.iterdir() if file.name != "manifest.json"]
    write_folder(folder, lambda empty: [shutil.copy(file, empty) for file in files] and None)
    shutil.rmtree(aside)


def test_a_second_training_in_the_folder_is_refused_while_the_first_lives(tmp_path, repository):
    options = {"max_train_steps": 100_000, "checkpointing_steps": 100_000}
    command = [sys.executable, "-m", "tests.training.toy", str(tmp_path), json.dumps(options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.DEVNULL) as first:
        while not (tmp_path / "status.json").exists():
            time.sleep(0.05)
            assert first.poll() is None
        with pytest.raises(RunFolderError, match=f"another training runs in it \\(process {first.pid} on "):
            train(tmp_path, **options)
        first.kill()
    with (tmp_path / "lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system has dropped the dead one's
    assert _status(tmp_path)["status"] == "running"  # nobody could say otherwise


def test_a_run_that_fails_says_why(tmp_path):
    with pytest.raises(FloatingPointError):
        train(tmp_path, data=ToyData(poisoned=6), max_train_steps=4)
    status = _status(tmp_path)
    assert (status["status"], status["global_step"]) == ("failed", 1)
    assert "loss nan" in status["message"]


def test_marked_checkpoints_are_kept(tmp_path):
    options = {"checkpointing_steps": 1, "checkpoints_total_limit": 2, "keep_checkpoints_every_n_steps": 3}
    train(tmp_path, max_train_steps=4, **options)
    (tmp_path / "state" / "step_00000004" / "keep").touch()  # a person's mark; the manifest is of the other files
    train(tmp_path, max_train_steps=8, **options)
    assert _checkpoints(tmp_path) == [f"step_{step:08d}" for step in (3, 4, 6, 7, 8)]
    with pytest.raises(ValueError, match="keep_checkpoints_every_n_steps=5: must be a multiple of trainer.checkpointing_steps=2"):
        Trainer(checkpointing_steps=2, keep_checkpoints_every_n_steps=5)


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    train(tmp_path, max_train_steps=2)
    (tmp_path / "state" / ".step_00000003.partial").mkdir()
    (tmp_path / "state" / ".step_00000003.partial" / "model.safetensors").write_bytes(b"half")
    train(tmp_path, max_train_steps=4)
    assert [path.name for path in (tmp_path / "state").iterdir() if path.name.startswith(".")] == []


def test_a_damaged_metrics_line_is_dropped_and_a_damaged_config_refused(tmp_path, caplog):
    options = {"checkpointing_steps": 2}
    train(tmp_path, max_train_steps=4, **options)
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_bytes(lines[0] + b"\xff" + lines[1][1:] + lines[2] + lines[3])
    train(tmp_path, max_train_steps=6, **options)
    assert "metrics.jsonl: a damaged line is dropped" in caplog.text
    assert [line["global_step"] for line in metrics(tmp_path)] == [1, 3, 4, 5, 6]
    (tmp_path / "config.json").write_text('{"trainer": ')
    with pytest.raises(RunFolderError, match=r"config.json: damaged"):
        train(tmp_path, max_train_steps=6, **options)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", folder], capture_output=True, check=False).returncode:
        pytest.skip("a small file system can only be mounted as root")
    yield folder
    subprocess.run(["umount", folder], check=True)


class CrowdedDenoiser(SignalledDenoiser):
    """Somebody else fills the disk in step 5."""

    crowd: Path

    def forward(self, batch, global_step):
        if self.training and global_step == 5 and not self.crowd.exists():
            free = shutil.disk_usage(self.crowd.parent).free
            self.crowd.write_bytes(bytes(free - 5000))
        return super().forward(batch, global_step)


@pytest.mark.parametrize("writes", ["checkpoint", "metrics"])
def test_a_full_disk_keeps_the_last_checkpoint_and_the_same_command_ends_with_the_same_bits(tmp_path, small_disk, writes):
    options = {"max_train_steps": 12, "checkpointing_steps": 3 if writes == "checkpoint" else 4, "checkpoints_total_limit": 1}
    CrowdedDenoiser.crowd = small_disk / "crowd"
    if writes == "metrics":
        CrowdedDenoiser.crowd = small_disk / "run" / "crowd"
    with pytest.raises(DiskFullError, match=r"free some space"):
        train(small_disk / "run", model_class=CrowdedDenoiser, **options)
    assert _checkpoints(small_disk / "run") == [f"step_0000000{options['checkpointing_steps']}"]
    CrowdedDenoiser.crowd.write_bytes(b"")  # somebody makes room
    train(small_disk / "run", model_class=CrowdedDenoiser, **options)
    CrowdedDenoiser.crowd = tmp_path / "elsewhere"
    CrowdedDenoiser.crowd.touch()
    train(tmp_path / "whole", model_class=CrowdedDenoiser, **options)
    assert _same_end(tmp_path / "whole", small_disk / "run")


def test_loader_workers_ignore_the_signals_that_stop_a_run(tmp_path):
    from gen.data.scenes import Scenes

    batches = Scenes(resolution=16, train_batch_size=2, num_workers=2).train_batches(seed=0)
    first = next(batches)
    workers = psutil.Process().children(recursive=True)
    assert len(workers) >= 2
    for name in ("TERM", "USR1", "USR2"):  # from another process, as a scheduler does
        subprocess.run(["kill", f"-{name}", *(str(worker.pid) for worker in workers)], check=True)
    seeds = [next(batches).seeds.tolist() for _ in range(12)]
    expected = Scenes(resolution=16, train_batch_size=2).train_batches(seed=0)
    assert [first.seeds.tolist(), *seeds] == [next(expected).seeds.tolist() for _ in range(13)]
    start = time.monotonic()
    workers[0].terminate()  # by its parent, as at the end of a program that did not close its loader
    assert workers[0].wait(10) is not None
    batches.close()
    assert time.monotonic() - start < 10
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize("line", [5, 7])
def test_tensorboard_shows_every_step_once_after_a_kill(tmp_path, repository, line):
    options = {"max_train_steps": 60, "checkpointing_steps": 4, "log_with": "tensorboard"}
    process = _toy(repository, tmp_path, options, "--kill_at_lines", line)
    assert process.returncode == 0, process.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = list(tmp_path.rglob("events.out.tfevents*"))
    assert len({file.parent for file in files}) == 1 and len(files) == 2
    assert [event.step for event in EventAccumulator(str(files[0].parent)).Reload().Scalars("loss")] == list(range(1, 61))


def test_a_start_that_fails_before_its_first_step_says_so_too(tmp_path):
    class Signalled(SignalledDenoiser):
        steps = (0,)

    with pytest.raises(Interrupted):
        train(tmp_path, model_class=Signalled, max_train_steps=4)
    assert _status(tmp_path)["status"] == "requeue"
    (tmp_path / "state" / "step_00000001" / "model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="all 1 checkpoints are damaged"):
        train(tmp_path, max_train_steps=4)
    assert _status(tmp_path)["status"] == "failed"


def test_a_pipeline_folder_that_is_not_ours_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="it is not ours to replace"):
        train(tmp_path, max_train_steps=4)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_mark_that_a_kill_prevented_is_kept_all_the_same(tmp_path):
    options = {"checkpointing_steps": 1, "checkpoints_total_limit": 1, "keep_checkpoints_every_n_steps": 3}
    train(tmp_path, max_train_steps=3, **options)
    (tmp_path / "state" / "step_00000003" / "keep").unlink()
    train(tmp_path, max_train_steps=6, **options)
    assert _checkpoints(tmp_path) == [f"step_{step:08d}" for step in (3, 5, 6)]  # 5 is the newest that is not marked


def test_a_checkpoint_of_before_the_effective_batch_was_stored_is_read(tmp_path):
    train(tmp_path, max_train_steps=2)
    path = tmp_path / "state" / "step_00000002" / "state.json"
    numbers = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in numbers.items() if name not in ("effective_batch", "micro_batch")}))
    _sign(path.parent)
    train(tmp_path, max_train_steps=3)
    assert metrics(tmp_path)[-1]["global_step"] == 3


@pytest.mark.slow
def test_wandb_continues_the_same_run(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for steps in (2, 4):
        train(tmp_path, max_train_steps=steps, log_with="wandb")
    names = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    identity = (tmp_path / "wandb" / "run_id").read_text()
    assert names and all(name.endswith(f"-{identity}") for name in names)
