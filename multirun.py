"""Run a sweep of trainings, here or on SLURM: Hydra's sweep grammar becomes a list of train commands.

python multirun.py +experiment=demo_exp trainer.learning_rate=1e-4,3e-4 'seed=range(3)'    six members, one after another
python multirun.py --jobs 4 --gpus 0,1,2,3 '+experiment=glob(scenes*)' exp=sizes           four at a time, each on a GPU of its own
python multirun.py --samples 8 +experiment=demo_exp 'trainer.learning_rate=tag(log,interval(1e-5,1e-3))'
python multirun.py --slurm --partition gpu --gpus-per-node 1 +experiment=demo_exp 'seed=range(8)'
python multirun.py --dry-run ...             print the commands, write nothing
python multirun.py --resume ...              the same command again: run what is missing
python multirun.py --status sizes            how far the members are; --cancel sizes: write checkpoints and stop

The sweep's folder is outputs/<exp>, or outputs/sweep_<hash of the command>; docs/sweeps.md says what it holds.
Exit status: 0 done, 1 a member failed, 2 refused, 75 members were interrupted (add --resume).
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import launch_slurm
from configs.sweep_grammar import Member, SweepError, members_of
from gen.run_files import BITS, LOCK, HeldError, hold, is_held, progress, write_text

ROOT = Path(__file__).resolve().parent
PID = "multirun.pid"
MANIFEST, COMMAND, LOG = "sweep.json", "command.sh", "log.txt"
FAILED = {"failed", "killed", *launch_slurm.ENDED} - {"CANCELLED", "COMPLETED"}
COLUMNS = ("member", "state", "step", "loss", "images/s", "left")
REFUSED, INTERRUPTED = 2, 75
# How a member's end is called; a signal that comes before train.py listens to signals ends it at once.
ENDS = {0: "finished", INTERRUPTED: "interrupted", -signal.SIGTERM: "interrupted"}


def main(words: Sequence[str] | None = None) -> int:
    """Do what a command line asks for; return the exit status."""
    arguments = _parser().parse_intermixed_args(words)
    try:
        _refuse_misuse(arguments)
        if arguments.status is not None:
            manifest, members = _known(arguments.status)
            _summary(manifest, members, _states(manifest, members))
            return 0
        return _cancel(arguments.cancel) if arguments.cancel is not None else _start(arguments)
    except (SweepError, launch_slurm.LaunchError) as error:
        print(error, file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="multirun.py", description=__doc__, formatter_class=form, allow_abbrev=False)
    parser.add_argument("words", nargs="*", metavar="override", help="as after train.py, with sweeps")
    parser.add_argument("--jobs", type=_at_least_one, metavar="N", help="members at a time (default: one for each of --gpus, or 1)")
    parser.add_argument("--gpus", metavar="0,1", help="each running member sees one of these")
    parser.add_argument("--samples", type=_at_least_one, metavar="N", help="draw so many values from the intervals")
    parser.add_argument("--sweep-seed", type=int, default=0, metavar="S", help="of intervals and shuffle (default 0)")
    parser.add_argument("--resume", action="store_true", help="run only the members that are not finished")
    parser.add_argument("--dry-run", action="store_true", help="print the members' commands and do nothing")
    parser.add_argument("--slurm", action="store_true", help="hand the members to SLURM as an array of jobs")
    parser.add_argument("--status", metavar="ID", help="show how far a sweep is")
    parser.add_argument("--cancel", metavar="ID", help="ask a sweep's members to write a checkpoint and end")
    launch_slurm.add_slurm_arguments(parser)
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return int(text)


def _refuse_misuse(arguments: argparse.Namespace) -> None:
    """Refuse what argparse lets through, but would do nothing."""
    about = arguments.status is not None or arguments.cancel is not None
    if about == bool(arguments.words):
        raise SweepError("--status and --cancel stand alone with a sweep's id" if about else "give overrides as after train.py; see --help")
    slurm_only = argparse.ArgumentParser()
    launch_slurm.add_slurm_arguments(slurm_only)
    unused = ["jobs", "gpus"] if arguments.slurm else list(vars(slurm_only.parse_args([])))
    for name in unused:
        if getattr(arguments, name) is not None:
            remedy = "is for sweeps on this machine; SLURM's is --array-parallelism" if arguments.slurm else "does nothing without --slurm"
            raise SweepError(f"{launch_slurm.option(name)}: {remedy}")


def _refuse_unknown_gpus(gpus: Sequence[str]) -> None:
    """Refuse devices that are not there: their members would train on the CPU without a word."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        listed = ""
    number = sum(line.startswith("GPU ") for line in listed.splitlines())
    unknown = [gpu for gpu in gpus if (int(gpu) >= number if gpu.isdecimal() else f"UUID: {gpu}" not in listed)]
    if unknown:
        remedy = "name others, or use --jobs; ACCELERATE_USE_CPU=true trains on the CPU"
        raise SweepError(f"--gpus {','.join(gpus)}: nvidia-smi lists {number} GPUs, not {', '.join(unknown)}; {remedy}")


def _start(arguments: argparse.Namespace) -> int:
    """Start a sweep, or run what is missing of one."""
    sweep_id, members = members_of(arguments.words, samples=arguments.samples, seed=arguments.sweep_seed)
    settings = launch_slurm.settings_from(arguments) if arguments.slurm else None
    gpus = [gpu for gpu in (arguments.gpus or "").split(",") if gpu]
    jobs = arguments.jobs or len(gpus) or 1
    folder = Path("outputs", sweep_id)
    manifest = _manifest(folder, members, arguments, jobs)
    job_ids = manifest["job_ids"].copy()
    states = _states(manifest, members)
    settled = _queued(states) | {name for name, state in states.items() if state == "finished"}
    missing = [member for member in members if member.name not in settled]
    begun = [entry for entry in manifest["members"] if entry["name"] not in settled]
    for entry in begun:
        entry["command"] = _command(entry["overrides"], manifest["environment"], settings)
    if arguments.dry_run:
        sys.stdout.writelines(f"{entry['command']}\n" for entry in begun)
        return 0
    running = ", ".join(name for name, state in states.items() if state == "running")
    if running:
        raise SweepError(f"{folder}: already in training: {running}; wait for the end, or --cancel {sweep_id}")
    if settings is not None:
        launch_slurm.check_cluster(settings, len(missing))
    if gpus and missing and manifest["environment"].get("ACCELERATE_USE_CPU") != "true":
        _refuse_unknown_gpus(gpus)
    trainings = launch_slurm.check_trainings([member.overrides for member in missing]) if missing else []

    def record(new_ids: Sequence[str] = ()) -> None:
        manifest["job_ids"] |= dict(zip((member.name for member in missing), new_ids, strict=False))
        write_text(folder / MANIFEST, json.dumps(manifest, indent=1))
        launch_slurm.write_record(folder, words=sys.argv)
        needed = sorted({word.partition("=")[0] for word in settings.env} if settings else ())  # no file keeps the values
        for entry in begun:
            lines = [f"# {entry['name']}; run in: {Path.cwd()}", *(f': "${{{name}?was given with --env}}"' for name in needed)]
            write_text(Path("outputs", entry["exp"], COMMAND), "\n".join([*lines, f"exec {entry['command']}\n"]))

    with _alone(folder):
        if _manifest(folder, members, arguments, jobs)["job_ids"] != job_ids:
            raise SweepError(f"{folder}: another multirun has just handed over members; see --status {sweep_id}")
        for name in [name for name in os.environ if name.startswith(BITS)]:
            del os.environ[name]
        os.environ.update(manifest["environment"])
        print(f"{sweep_id}: {len(missing)} of {len(members)} members to run; {folder}", file=sys.stderr)
        if settings is None:
            record()
            states |= _run_here(sweep_id, missing, jobs, gpus)
        elif missing:
            launch_slurm.submit(trainings, settings, group=sweep_id, base=folder, on_submitted=record)
    return _summary(manifest, members, states) if settings is None else 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other multiruns out of a sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held = hold(folder / PID)
    except HeldError:
        raise SweepError(f"{folder}: another multirun works on this sweep; wait for it, or --cancel it") from None
    with held:
        yield


def _manifest(folder: Path, members: list[Member], arguments: argparse.Namespace, jobs: int) -> dict[str, Any]:
    """Return the manifest that the folder holds, or a new one.

    Raises:
        SweepError: if the folder holds a sweep and nobody said --resume, or another sweep.
    """
    path, backend = folder / MANIFEST, "slurm" if arguments.slurm else "local"
    if not path.exists():
        if arguments.resume:
            raise SweepError(f"{folder}: there is no sweep to resume; leave --resume out to start it")
        if (folder / "config.json").exists():
            raise SweepError(f"{folder}: holds a training; choose another exp")
        threads = {} if arguments.slurm else {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // jobs))}
        said = {name: value for name, value in sorted(os.environ.items()) if name.startswith(BITS)}
        manifest = {"id": folder.relative_to("outputs").as_posix(), "words": arguments.words, "samples": arguments.samples}
        manifest |= {"seed": arguments.sweep_seed, "backend": backend, "environment": threads | said, "job_ids": {}}
        manifest["created"] = datetime.now().astimezone().isoformat(timespec="seconds")
        return manifest | {"members": [asdict(member) for member in members]}
    if not arguments.resume:
        raise SweepError(f"{folder}: this sweep was started before; add --resume to run what is missing, or choose another exp")
    manifest, there = _read(path)
    old, new = [member.overrides for member in there], [member.overrides for member in members]
    lines = [f"  only there: {shlex.join(words)}" for words in sorted(set(old) - set(new))]
    lines += [f"  only here: {shlex.join(words)}" for words in sorted(set(new) - set(old))]
    if lines:
        raise SweepError("\n".join([f"{folder}: holds a sweep with other members; choose another exp, or undo:", *lines]))
    if manifest["backend"] != backend:
        raise SweepError(f"{folder}: was started {'without' if arguments.slurm else 'with'} --slurm; resume it in the same way")
    return manifest


def _command(overrides: Sequence[str], environment: dict[str, str], settings: launch_slurm.Settings | None) -> str:
    """Return the shell command that makes a member's weights, to be run where the sweep was started."""
    script, options = "train.py", list[str]()
    if settings is not None:
        script = "launch_slurm.py"
        options = [*settings.words(), "--"]
    path = ROOT / script
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    variables = [f"{name}={value}" for name, value in environment.items()]
    return shlex.join([*(["env", *variables] if variables else []), sys.executable, str(path), *options, *overrides])


def _run_here(sweep_id: str, members: Sequence[Member], jobs: int, gpus: Sequence[str]) -> dict[str, str]:
    """Run members, `jobs` at a time, and return how each ended; one that fails does not stop the others.

    A signal is handed to the running members, which write a checkpoint and end; no more are started then.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda number, _: signals.append(number))
    states = {member.name: "waiting" for member in members}
    waiting, stopping, running = list(members), False, dict[int, tuple[Member, subprocess.Popen]]()
    with _board(sweep_id, members) as show:
        try:
            while running or (waiting and not stopping):
                for slot in sorted(set(range(jobs)) - running.keys()):
                    if waiting and not stopping:
                        member = waiting.pop(0)
                        running[slot] = member, _process(member, sweep_id, gpus[slot % len(gpus)] if gpus else None)
                        states[member.name] = "running"
                show(states)
                time.sleep(0.5)
                while signals:
                    signals.pop()
                    stopping = True
                    for _, process in running.values():
                        process.terminate()
                for slot, (member, process) in list(running.items()):
                    if process.poll() is not None:
                        states[member.name] = ENDS.get(process.returncode, "failed")
                        del running[slot]
        finally:  # whatever ends this process early
            for _, process in running.values():
                process.terminate()
        show(states)
    return states


def _process(member: Member, sweep_id: str, gpu: str | None) -> subprocess.Popen:
    """Start a member in a session of its own, so that Ctrl-C reaches it through this process alone."""
    environment = os.environ | {"WANDB_RUN_GROUP": sweep_id} | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
    command = [sys.executable, str(ROOT / "train.py"), *member.overrides]
    with (member.folder / LOG).open("a") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def _board(sweep_id: str, members: Sequence[Member]) -> Iterator[Callable[[dict[str, str]], None]]:
    """Yield a function that shows the members' states: in a live table where stderr is a terminal, else as a line for every change."""
    shown, since = {member.name: "waiting" for member in members}, dict[str, tuple[float, int]]()

    def print_changes(states: dict[str, str]) -> None:
        for member in members:
            if states[member.name] != shown[member.name]:
                shown[member.name] = states[member.name]
                told = zip(COLUMNS[2:], _row(member, states[member.name], {})[2:], strict=True)
                words = ", ".join([states[member.name], *(f"{column} {value}" for column, value in told if value)])
                print(f"{member.name}: {words}", file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        yield print_changes
        return
    from rich.live import Live

    with Live(console=_console(sys.stderr)) as live:

        def update(states: dict[str, str]) -> None:
            fit = len(members) + 4 < live.console.height
            rows = [_row(member, states[member.name], since) for member in members if fit or states[member.name] == "running"]
            counts = ", ".join(f"{number} {state}" for state, number in Counter(states.values()).items())
            live.update(_table(f"{sweep_id}: {counts}", rows))

        yield update


def _row(member: Member, state: str, since: dict[str, tuple[float, int]]) -> list[str]:
    """Describe a member in the columns of a table; `since` keeps when it was first seen and at which step, for the time left."""
    now = progress(member.folder)
    step, last = now["global_step"], now.get("max_train_steps", 0)
    start, first = since.setdefault(member.name, (time.monotonic(), step)) if state == "running" else (0.0, step)
    left = timedelta(seconds=round((time.monotonic() - start) * (last - step) / (step - first))) if step > first else ""
    loss, rate = (f"{now[key]:.4g}" if key in now else "" for key in ("loss", "images_per_second"))
    return [member.name, state, f"{step}/{last}" if last else "", loss, rate, str(left)]


def _table(title: str, rows: list[list[str]]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else 200, highlight=False)


def _summary(manifest: dict[str, Any], members: Sequence[Member], states: dict[str, str]) -> int:
    """Print how all members ended, and the end of the log of each that failed; return the exit status."""
    sweep_id, job_ids = manifest["id"], manifest["job_ids"]
    _console(sys.stdout).print(_table(sweep_id, [_row(member, states[member.name], {}) for member in members]))
    failed = [member for member in members if states[member.name] in FAILED]
    for member in failed:
        job_id = job_ids.get(member.name)
        log = launch_slurm.log_of(Path("outputs", sweep_id), job_id) if job_id else member.folder / LOG
        if log.exists():
            print("\n  ".join([f"\n{log}:", *log.read_text(errors="replace").splitlines()[-8:]]))
    return 1 if failed else 0 if set(states.values()) <= {"finished"} else INTERRUPTED


def _states(manifest: dict[str, Any], members: Sequence[Member]) -> dict[str, str]:
    """Return what each member does or how it ended, in SLURM's words where SLURM knows it and it is not finished."""
    job_ids = manifest["job_ids"]
    jobs = launch_slurm.job_states(list(job_ids.values())) if job_ids else {}
    states: dict[str, str] = {}
    for member in members:
        said = str(progress(member.folder).get("status", "waiting"))
        job = jobs.get(job_ids.get(member.name), "UNKNOWN")
        if said == "running" and (manifest["backend"] == "slurm" or not is_held(member.folder / LOCK)):
            said = "killed"  # outright, so that it could not take that back; a job that SLURM knows is called as SLURM calls it
        states[member.name] = job if job != "UNKNOWN" and said != "finished" else "interrupted" if said == "requeue" else said
    return states


def _queued(states: dict[str, str]) -> set[str]:
    """Return what waits or runs in SLURM, whose words are in capitals."""
    return {name for name, state in states.items() if state.isupper() and state not in (*launch_slurm.ENDED, "UNKNOWN")}


def _cancel(sweep_id: str) -> int:
    manifest, members = _known(sweep_id)
    local = manifest["backend"] == "local"
    locks = [Path("outputs", sweep_id, PID), *(member.folder / LOCK for member in members if local)]  # members outlive a killed multirun
    owners = [path.read_text().split() for path in locks if is_held(path)]  # process 1234 on host
    if [] in owners:
        raise SweepError(f"{sweep_id}: a process starts right now and has not said which; try again in a moment")
    elsewhere = {owner[-1] for owner in owners} - {socket.gethostname()}
    if elsewhere:
        raise SweepError(f"{sweep_id}: runs on {', '.join(elsewhere)}; cancel it there")
    for owner in owners:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(int(owner[1]), signal.SIGTERM)
    if not owners and (local or not launch_slurm.cancel(list(manifest["job_ids"].values()))):
        raise SweepError(f"{sweep_id}: nothing of it runs")
    print(f"{sweep_id}: its members write a checkpoint and end; --resume goes on from there")
    return 0


def _known(sweep_id: str) -> tuple[dict[str, Any], list[Member]]:
    """Return the manifest and the members of a sweep that was started."""
    path = Path("outputs", sweep_id, MANIFEST)
    if not path.exists():
        there = sorted(found.parent.relative_to("outputs").as_posix() for found in Path("outputs").rglob(MANIFEST))
        raise SweepError(f"{path}: there is no such sweep; there are: {', '.join(there) or 'none'}")
    return _read(path)


def _read(path: Path) -> tuple[dict[str, Any], list[Member]]:
    """Read a manifest and its members."""
    try:
        manifest = json.loads(path.read_text())
        members = [Member(name=entry["name"], exp=entry["exp"], overrides=tuple(entry["overrides"])) for entry in manifest["members"]]
        return manifest | {key: manifest[key] for key in ("id", "backend", "environment", "job_ids")}, members
    except (ValueError, TypeError, KeyError) as error:
        remedy = "restore it, or choose another exp"
        raise SweepError(f"{path}: damaged ({error!r}), so nothing tells which sweep this is; {remedy}") from error


if __name__ == "__main__":
    sys.exit(main())
