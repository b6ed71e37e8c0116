"""The drill's instruments tell good from bad: what is lost, what differs and what did not strike is reported as such."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from copy import copy

import pytest

from gen.training.fault_drill import struck_run
from gen.training.fault_drill.drill import MOST_ATTEMPTS, Drill, differences, draw_faults, report
from gen.training.fault_drill.struck_run import STEPS, Fault, StruckRun

# A program that keeps a run folder as train.py does, trains nothing, and has one defect of choice.
PROGRAM = """
import hashlib, json, shutil, signal, sys, time
from pathlib import Path
from gen.artefact import ArtefactError, verify_folder, write_folder
from gen.run_files import write_text
from gen.training.fault_drill.struck_run import CHECKPOINT_EVERY, FILES, KEPT, STEPS

defect, folder, step, value, asked = sys.argv[1], Path("outputs/drill"), 0, "", []
signal.signal(signal.SIGTERM, lambda number, frame: None if defect == "is deaf" else asked.append("SIGTERM"))
(folder / "previews").mkdir(parents=True, exist_ok=True)
for path in sorted(folder.glob("state/step_*"), reverse=True):
    if defect != "forgets":
        try:
            verify_folder(path)
            step, value = json.loads((path / "state.json").read_text())
            break
        except ArtefactError as error:
            if defect == "chokes":
                raise
            print("checkpoint passed over, the one before it is used:", "" if defect == "is silent" else error, flush=True)
if defect == "drifts" and step:
    value += "!"
metrics = folder / "metrics.jsonl"
lines = metrics.read_text().splitlines(keepends=True)[:step] if metrics.exists() else []
write_text(metrics, "".join(lines))
print(f"| {step}/{STEPS} [", flush=True)


def fill(empty):
    for name in FILES[:3]:
        (empty / name).write_text(value)
        time.sleep(0.01)
    (empty / "state.json").write_text(json.dumps([step, value]))


def end(status, code):
    write_text(folder / "status.json", json.dumps({"status": status}))
    sys.exit(code)


with metrics.open("a") as file:
    while step < STEPS:
        time.sleep(0.03)
        step, value = step + 1, hashlib.sha256(f"{step} {value}".encode()).hexdigest()
        file.write(json.dumps({"global_step": step, "loss": value, "images_per_second": time.time()}) + "\\n")
        file.flush()
        if step % CHECKPOINT_EVERY == 0 or asked:
            if step % CHECKPOINT_EVERY == 0:
                (folder / "previews" / f"{step:02d}.png").write_text(value)
            write_folder(folder / "pipeline", fill)
            write_folder(folder / "state" / f"step_{step:08d}", fill)
            for old in sorted(folder.glob("state/step_*"))[:-KEPT]:
                shutil.rmtree(old)
        if asked and step < STEPS:
            print("stopped by SIGTERM after step", step)
            end("requeue", 75)
end("trained" if defect == "stops short" else "finished", 0)
"""
KILLED, SIGNALLED, CUT = "SIGKILL in a step", "SIGTERM in a step", "newest checkpoint: a file cut to half"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, repository) -> Drill:
    """Prepare a drill of the program without a defect."""
    folder = tmp_path_factory.mktemp("drill")
    (folder / "program.py").write_text(PROGRAM)
    command = ["env", f"PYTHONPATH={repository}", sys.executable, str(folder / "program.py"), "is sound"]
    drill = Drill(command, folder / "work", jobs=2)
    drill.prepare()
    return drill


@pytest.fixture
def drill(prepared, tmp_path):
    """Return what makes a drill of the program with a defect; the whole run and the killed one are those of the sound program."""

    def make(defect: str = "is sound") -> Drill:
        drill = copy(prepared)
        drill.command, drill.work = [*prepared.command[:-1], defect], tmp_path
        return drill

    return make


def of_kinds(*kinds: str) -> list[Fault]:
    """Return the first fault of each kind."""
    return [next(fault for fault in draw_faults(seed=0) if fault.kind == kind) for kind in kinds]


def test_a_sound_program_loses_nothing(drill, tmp_path, capsys):
    kinds = (KILLED, SIGNALLED, CUT, "SIGKILL while a checkpoint is written", "SIGKILL twice in one epoch")
    outcomes = drill().run(of_kinds(*kinds))
    assert [outcome.fault.kind for outcome in outcomes] == list(kinds)
    assert all(outcome.identical and outcome.good for outcome in outcomes), outcomes
    assert capsys.readouterr().err.count(": bit-identical") == len(kinds)
    assert re.fullmatch(rf"steps 0-\d+: SIGKILL; steps \d+-{STEPS}: exit 0", outcomes[0].happened)
    assert re.fullmatch(rf"steps 0-(\d+): exit 75; steps \1-{STEPS}: exit 0", outcomes[1].happened)
    assert outcomes[2].happened == f"steps 8-{STEPS}: exit 0"
    assert list(tmp_path.iterdir()) == []  # survivors are cleared away


@pytest.mark.parametrize(
    ("defect", "kind", "words"),
    [
        ("forgets", KILLED, r"went on from step 0, though the checkpoint of step \d+ is whole"),
        ("is deaf", SIGNALLED, r"ended with 0 instead of 75, does not say 'stopped by SIGTERM"),
        ("chokes", CUT, r"ended with 1 instead of 0"),
        ("is silent", CUT, r"does not say 'step_00000012/model.safetensors'"),
        ("stops short", KILLED, r"left the status 'trained'"),
    ],
)
def test_what_does_not_end_as_documented_is_lost_and_stays_for_inspection(drill, tmp_path, defect, kind, words):
    (outcome,) = drill(defect).run(of_kinds(kind))
    assert outcome.struck and not (outcome.survived or outcome.identical or outcome.good)
    assert re.search(words, outcome.lost), outcome.lost
    assert (tmp_path / "000_0" / "start_1.txt").exists()


def test_other_bits_are_no_good_even_if_every_start_ends_well(drill):
    (outcome,) = drill("drifts").run(of_kinds(CUT))
    assert outcome.survived and not (outcome.identical or outcome.good)
    expected = ["manifest.json: differs", "model.safetensors: differs", "state.json: differs", "metrics.jsonl: differs"]
    assert all(any(line.endswith(words) for line in outcome.different) for words in expected), outcome.different
    page = report([outcome], seed=0, command="python x.py", minutes=1.0)
    assert "1 faults tried, 1 survived, 0 bit-identical." in page and "| yes | **no** |" in page


def test_a_fault_that_did_not_strike_is_not_counted(drill):
    def too_late(run: StruckRun) -> None:
        start = run.start()
        start.freeze_in_step(STEPS + 1, 0.0)
        start.kill()
        run.finish()

    (outcome,) = drill().run([Fault("too late", "after the end", "nothing", too_late)])
    assert not (outcome.struck or outcome.survived or outcome.identical or outcome.good)
    assert f"did not strike in {MOST_ATTEMPTS} attempts: start 1 ended with 0 before its moment came" in outcome.happened
    page = report([outcome], seed=0, command="python x.py", minutes=1.0)
    assert "0 faults tried, 0 survived, 0 bit-identical." in page and "| too late | nothing | 0 | 0 | 0 |" in page


def test_what_cannot_be_made_here_is_said(drill, monkeypatch):
    monkeypatch.setattr(struck_run, "MOUNT", ("no-such-command",))
    (outcome,) = drill().run(of_kinds("disk full"))
    assert outcome.good and not (outcome.struck or outcome.survived)
    assert "not possible here: no small disk can be mounted" in outcome.happened and "unshare -rm" in outcome.happened
    assert "| disk full (not possible here) |" in report([outcome], seed=0, command="python x.py", minutes=1.0)


def test_starts_are_bounded(drill):
    def for_ever(run: StruckRun) -> None:
        while True:
            run.finish()

    (outcome,) = drill().run([Fault("for ever", "nowhere", "an end", for_ever)])
    assert outcome.lost == f"not at its end after {struck_run.MOST_STARTS} starts"


@pytest.mark.parametrize("name", ["state/step_00000024/ema.safetensors", "pipeline/unet/model.safetensors", "previews/step_00000020.png"])
def test_one_bit_and_one_missing_file_are_differences(tmp_path, name):
    for run in ("whole", "struck"):
        for file in ("state/step_00000024/ema.safetensors", "pipeline/unet/model.safetensors", "previews/step_00000020.png"):
            (tmp_path / run / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / run / file).write_bytes(b"the same")
        lines = [{"global_step": 1, "loss": 0.5, "images_per_second": len(run), "seconds/data": len(run)}]
        (tmp_path / run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole, struck = tmp_path / "whole", tmp_path / "struck"
    shutil.copytree(whole / "state" / "step_00000024", struck / "state" / "step_00000023")  # earlier ones may differ
    assert differences(whole, struck) == []
    (struck / name).write_bytes(b"the rame")
    assert differences(whole, struck) == [f"{name}: differs"]
    (struck / name).unlink()
    assert differences(whole, struck) == [f"{name}: missing"]
    (struck / name).write_bytes(b"the same")
    (struck / name).with_name("more").touch()
    (struck / "metrics.jsonl").write_text('{"global_step": 1, "loss": 0.6}\n')
    (struck / "state" / ".step_00000024.partial").mkdir()
    expected = [f"{name.rpartition('/')[0]}/more: not in the whole run", "metrics.jsonl: differs"]
    assert differences(whole, struck) == [*expected, "state/.step_00000024.partial: was left behind"]


def test_the_matrix_follows_from_the_seed_and_has_at_least_forty_faults():
    def signs(*arguments):
        return [(fault.kind, fault.where) for fault in draw_faults(*arguments)]

    assert signs(3) == signs(3) != signs(4)
    assert len(signs(3)) >= 40
    assert [kind for kind, _ in signs(3)] == [kind for kind, _ in signs(4)]
    few = signs(3, 10)
    assert len(few) == 10 and set(few) <= set(signs(3)) and len({kind for kind, _ in few}) >= 7
    *once, again = signs(3, len(signs(3)) + 1)
    assert once == signs(3) and again[0] == once[0][0] and again != once[0]
    for kind in ("cut to half", "cut to nothing", "deleted"):
        struck = [where for kind_, where in signs(3) if kind_ == f"newest checkpoint: a file {kind}"]
        assert struck == list(struck_run.FILES)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_trainings_lose_nothing(tmp_path, repository):
    out = tmp_path / "fault_drill.md"
    command = [sys.executable, "scripts/fault_drill.py", "--faults", "6", "--seed", "2", "--jobs", "2", "--out", str(out)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "6 faults, 6 bit-identical, 0 bad" in done.stdout
    assert "6 faults tried, 6 survived, 6 bit-identical." in out.read_text()
