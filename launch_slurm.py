"""Hand a training to SLURM as one job that survives time limits, preemption and lost nodes.

python launch_slurm.py --partition gpu --nodes 2 --gpus-per-node 8 --time 24:00:00 --tail +experiment=scenes128 seed=1
python launch_slurm.py --profile big --dry-run -- +experiment=scenes128

The words are those of train.py. docs/slurm.md says what happens to the job; multirun.py hands over sweeps.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gen.slurm_job import LaunchError, NodeTask, Settings, Training, megabytes, minutes, option

ROOT = Path(__file__).resolve().parent
PROFILES = "slurm_profiles.toml"
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT")
UNKNOWN_SECONDS = 60  # a job that SLURM does not know for so long is not followed further
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


def add_slurm_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for every setting, and the two that choose a profile."""
    group = parser.add_argument_group("SLURM")
    group.add_argument("--profile", metavar="NAME", help="take the settings of this table of the profiles' file; options go before it")
    group.add_argument("--profiles", type=Path, metavar="FILE", help=f"that file (default: $SLURM_PROFILES, or ./{PROFILES})")
    for setting in fields(Settings):
        kind: dict[str, Any] = {"type": int if "int" in str(setting.type) else str}
        if setting.default == ():
            kind["action"] = "append"
        group.add_argument(option(setting.name), metavar=setting.name.upper(), help=setting.metadata["help"], **kind)


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Return the profile's settings with the options put over them; `--env` and `--init` are added to the profile's.

    Raises:
        LaunchError: naming the profile, key or value that is wrong.
    """
    given = _profile(arguments.profile, arguments.profiles) if arguments.profile is not None else {}
    for setting in fields(Settings):
        value = getattr(arguments, setting.name)
        if value is not None:
            given[setting.name] = (*given.get(setting.name, ()), *value) if setting.default == () else value
    return Settings(**given)


def _profile(name: str, file: Path | None) -> dict[str, Any]:
    """Read one table of the profiles' file."""
    path = file or Path(os.environ.get("SLURM_PROFILES", PROFILES))
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LaunchError(f"--profile {name}: {path} cannot be read ({error.strerror}); name the file with --profiles") from error
    except tomllib.TOMLDecodeError as error:
        raise LaunchError(f"{path}: {error}") from error
    if not isinstance(tables.get(name), dict):
        raise LaunchError(f"--profile {name}: {path} has no table [{name}]{_nearest(name, tables)}")
    settings = {option(setting.name).removeprefix("--"): setting for setting in fields(Settings)}
    values: dict[str, Any] = {}
    for key, value in tables[name].items():
        if key not in settings:
            raise LaunchError(f"{path}: [{name}] has the unknown key {key}{_nearest(key, settings)}")
        setting = settings[key]
        kind: type = list if setting.default == () else int if "int" in str(setting.type) else str
        if type(value) is not kind or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
            wanted = {list: "a list of strings", int: "a whole number", str: "a string"}[kind]
            raise LaunchError(f"{path}: [{name}] {key} = {value!r}: must be {wanted}")
        values[setting.name] = tuple(value) if isinstance(value, list) else value
    return values


def check_cluster(settings: Settings, members: int = 1) -> None:
    """Refuse what could never run, be it one job or an array of so many members: first in our own words, then by asking SLURM.

    Raises:
        LaunchError: naming the setting, what there is, and the remedy.
    """
    if shutil.which("sbatch") is None:
        raise LaunchError("there is no sbatch on this machine: run this where jobs are submitted, or train here with multirun.py")
    rows = [line.split("|") for line in _slurm("sinfo", "--noheader", "--Node", "--format=%P|%c|%m|%G|%l").splitlines()]
    partition = settings.partition or next((row[0] for row in rows if row[0].endswith("*")), "").rstrip("*")
    nodes = [row[1:] for row in rows if row[0].rstrip("*") == partition]
    if not nodes:
        names = ", ".join(dict.fromkeys(row[0].rstrip("*") for row in rows))
        raise LaunchError(f"--partition {partition or '(left out, and the cluster has no default)'}: there are {names}")
    _check_partition(settings, partition, nodes)
    most = int((re.findall(r"MaxArraySize\s*=\s*(\d+)", _slurm("scontrol", "show", "config")) or [members])[0])
    if members > most:
        raise LaunchError(f"{members} members: SLURM's arrays have at most {most} (MaxArraySize); make several sweeps of it")
    script = _executor(Path("slurm"), settings, "test")._make_submission_file_text("true", "")  # submitit has no public way
    with _environment_of_sbatch({}):
        answer = subprocess.run(["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False)
    if answer.returncode:
        asked = " ".join(f"{option(key)} {value}" for key, value in asdict(settings).items() if isinstance(value, str))
        raise LaunchError(f"SLURM refuses such a job: {answer.stderr.strip()}; look at {asked}")


def _check_partition(settings: Settings, partition: str, nodes: list[list[str]]) -> None:
    """Compare the settings with a partition, given CPUs, memory, generic resources and time limit of each of its nodes."""
    if settings.nodes > len(nodes):
        raise LaunchError(f"--nodes {settings.nodes}: partition {partition} has {len(nodes)}; ask for at most so many")
    limit = nodes[0][3]
    if settings.time is not None and limit != "infinite" and minutes(settings.time) > minutes(limit):
        raise LaunchError(f"--time {settings.time}: partition {partition} allows {limit}; ask for less, the job is requeued and goes on")
    gpus = [sum(map(int, re.findall(r"\bgpu:(?:[^:,()]+:)?(\d+)", node[2]))) for node in nodes]
    for flag, asked, wanted, there in (
        ("--gpus-per-node", settings.gpus_per_node, settings.gpus_per_node, gpus),
        ("--cpus-per-task", settings.cpus_per_task, settings.cpus_per_task or 1, [int(node[0]) for node in nodes]),
        ("--mem", settings.mem, megabytes(settings.mem or "0"), [int(node[1]) for node in nodes]),
    ):
        most = sorted(there)[-settings.nodes]
        if wanted > most:
            unit = "M" if flag == "--mem" else ""
            raise LaunchError(f"{flag} {asked}: partition {partition} has at most {most}{unit} on each of {settings.nodes} node(s)")


def check_trainings(words: Sequence[Sequence[str]]) -> list[Training]:
    """Compose every training's config, here and now, in a process that may import torch.

    Raises:
        LaunchError: with a message for each training that is wrong: an unknown key, a run folder of another config, ...
    """
    asked = [list(training) for training in words]
    if len(asked) > 20:  # each takes a moment
        print(f"checking the configurations of {len(asked)} trainings", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "configs.preflight"]
    done = subprocess.run(command, input=json.dumps(asked), env=os.environ | _import_path(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(done.stderr.strip())
    return [Training(overrides=tuple(own), folder=Path(found["folder"])) for own, found in zip(asked, json.loads(done.stdout), strict=True)]


def submit(
    trainings: Sequence[Training],
    settings: Settings,
    *,
    group: str | None = None,
    base: Path | None = None,
    on_submitted: Callable[[list[str]], None] = lambda _: None,
) -> list[str]:
    """Submit one job, or one array of jobs, print where their logs will be, and return their ids.

    Args:
        trainings: each a job, or a member of the array.
        settings: the same for all.
        group: of the runs in the tracker.
        base: the jobs' files lie below base/slurm; the folder that the trainings share, if left out.
        on_submitted: is given the ids while the jobs are still held. What ends this process until they are released cancels them.

    Raises:
        LaunchError: if SLURM refuses, or the job's files cannot be written.
    """
    from submitit.core.utils import FailedJobError

    base = base or Path(os.path.commonpath([training.folder for training in trainings]))
    variables = ({"WANDB_RUN_GROUP": group} if group else {}) | dict(word.split("=", 1) for word in settings.env)
    variables |= _import_path(variables.get("PYTHONPATH"))  # the nodes import NodeTask
    with _signals_held_back() as let_signals_come:
        try:
            executor = _executor(base / "slurm" / "%j", settings, base.name)
            with _environment_of_sbatch(variables):
                jobs = executor.submit_array([NodeTask(training, replace(settings, env=())) for training in trainings])  # env may be secret
        except (OSError, FailedJobError) as error:
            raise LaunchError(f"the job could not be submitted: {error}") from error
        job_ids = [job.job_id for job in jobs]
        number = job_ids[0].split("_")[0]
        try:
            let_signals_come()
            write_record(base / "slurm" / number, words=sys.argv, settings=settings)
            on_submitted(job_ids)
            _slurm("scontrol", "release", number)
        except BaseException:
            _slurm("scancel", number)
            raise
    for job_id, training in zip(job_ids, trainings, strict=True):
        print(f"job {job_id}: {training.folder}; log: {log_of(base, job_id)}", flush=True)
    return job_ids


@contextmanager
def _environment_of_sbatch(variables: dict[str, str]) -> Iterator[None]:
    """Set variables, and hide those that sbatch would put over our options, and those of a job that we may be in."""
    from submitit.helpers import clean_env, environment_variables

    kept = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    with clean_env(), environment_variables(**kept, **variables):
        yield


@contextmanager
def _signals_held_back() -> Iterator[Callable[[], object]]:
    """Let signals wait, here and in sbatch, until the yielded function is called; then they raise, so that jobs can be cancelled."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *before})
    for number, handler in before.items():
        if handler == signal.SIG_DFL:
            signal.signal(number, end)
    try:
        yield lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def log_of(base: Path, job_id: str) -> Path:
    """Return the log of a job whose files lie below `base`/slurm."""
    return base / "slurm" / job_id / f"{job_id}_0_log.out"


def _executor(folder: Path, settings: Settings, name: str) -> Any:
    """Return submitit's executor for these settings."""
    from submitit import SlurmExecutor

    passed = ("partition", "nodes", "cpus_per_task", "mem", "constraint", "exclude", "nodelist", "account", "qos", "array_parallelism")
    given = {key: getattr(settings, key) for key in passed if getattr(settings, key) is not None}
    given |= {"gpus_per_node": settings.gpus_per_node} if settings.gpus_per_node else {}
    cpus = [f"--cpus-per-task={settings.cpus_per_task}"] if settings.cpus_per_task else []  # srun does not inherit it
    patient = ["bash", "-c", "trap '' USR1 USR2 TERM; exec \"$@\"", "bash", sys.executable]  # until NodeTask handles signals
    executor = SlurmExecutor(folder, python=shlex.join(patient))
    executor.update_parameters(
        **given,
        time=None if settings.time is None else minutes(settings.time),
        job_name=settings.job_name or name,
        ntasks_per_node=1,
        signal_delay_s=settings.signal_seconds,
        stderr_to_stdout=True,
        srun_args=["--kill-on-bad-exit=1", *cpus],
        additional_parameters={"requeue": True, "hold": True},
    )
    return executor


def job_states(job_ids: Sequence[str]) -> dict[str, str]:
    """Return the jobs' states in SLURM's words, from the controller or, when that has forgotten them, from accounting; else UNKNOWN."""
    known = _words_by_id(_slurm("squeue", "--noheader", "--me", "--array", "--states=all", "--format=%i|%T"))
    forgotten = [job_id for job_id in job_ids if job_id not in known]
    if forgotten and shutil.which("sacct"):  # a cluster without accounting has none, or one that fails
        command = ["sacct", "-X", "--noheader", "--parsable2", "--format=JobID,State", f"--jobs={','.join(forgotten)}"]
        known |= _words_by_id(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    return {job_id: known.get(job_id, "UNKNOWN") for job_id in job_ids}


def _words_by_id(answer: str) -> dict[str, str]:
    return {job_id: state.split()[0] for job_id, state in (line.split("|") for line in answer.splitlines())}  # "CANCELLED by 1000"


def cancel(job_ids: Sequence[str]) -> list[str]:
    """Cancel the jobs that have not ended, and return them; a training that runs writes a checkpoint in the time the cluster leaves it."""
    alive = [job_id for job_id, state in job_states(job_ids).items() if state not in (*ENDED, "UNKNOWN")]
    if alive:
        _slurm("scancel", "--quiet", *alive)  # some may end meanwhile
    return alive


def follow(job_id: str, log: Path) -> int:
    """Print the log until the job has ended; return 0 if it ended well, 1 if not or unknown. Ctrl-C ends the printing, not the job."""
    shown, known_at, answer = 0, time.monotonic(), "SLURM does not know it"
    try:
        while True:
            try:
                state = job_states([job_id])[job_id]  # asked before the log is read, so that its last lines are not missed
            except LaunchError as error:  # the controller may be back soon
                state, answer = "UNKNOWN", str(error)
            known_at = known_at if state == "UNKNOWN" else time.monotonic()
            if log.exists():
                with log.open("rb") as file:
                    file.seek(shown)
                    print(file.read().decode(errors="replace"), end="", flush=True)
                    shown = file.tell()
            if state in ENDED:
                print(f"job {job_id}: {state}; log: {log}")
                return 0 if state == "COMPLETED" else 1
            if time.monotonic() - known_at > UNKNOWN_SECONDS:
                print(f"job {job_id}: nothing is known of it for {UNKNOWN_SECONDS} s ({answer}); log: {log}")
                return 1
            time.sleep(1)
    except KeyboardInterrupt:
        print(f"\njob {job_id} goes on: tail -f {log}; scancel {job_id}")
        return 130


def write_record(folder: Path, *, words: Sequence[str], settings: Settings | None = None) -> None:
    """Write record.json (command, git commit, versions, environment without secrets, settings) and git.diff into a folder.

    Of what --env gave only the names are recorded. `git apply` takes git.diff, whatever its user has configured.
    """
    from importlib.metadata import distributions

    folder.mkdir(parents=True, exist_ok=True)
    plain = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
    (folder / "git.diff").write_bytes(_git("diff", *plain, "HEAD") or b"")
    commit, changed = (_git(*asked) for asked in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    record = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _without_values(words),
        "working_directory": str(Path.cwd()),
        "settings": None if settings is None else asdict(settings) | {"env": [word.partition("=")[0] for word in settings.env]},
        "git": {"commit": commit and commit.decode().strip(), "changed": (changed or b"").decode(errors="replace").splitlines()},
        "python": sys.version,
        "packages": dict(sorted((found.name, found.version) for found in distributions())),
        "environment": {name: value for name, value in sorted(os.environ.items()) if not _is_secret(name, value)},
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _is_secret(name: str, value: str) -> bool:
    return bool(SECRET.search(name) or re.search(r"://[^/\s]*:[^/\s]*@", value))  # or an address with a password in it


def _without_values(words: Sequence[str]) -> list[str]:
    """Hide what --env gives, in one word or in two."""
    is_env = [word.startswith("--env=") or before == "--env" for before, word in zip(("", *words), words, strict=False)]
    return [
        re.sub(r"^((--env=)?[^=]*)=.*", r"\1=(hidden)", word, flags=re.DOTALL) if env else word
        for word, env in zip(words, is_env, strict=True)
    ]


def _git(*words: str) -> bytes | None:
    """Return what git says of the repository, None where there is none."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _slurm(*command: str) -> str:
    """Run one of SLURM's commands and return what it prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LaunchError(f"there is no {command[0]} on this machine: run this where jobs are submitted") from None
    if done.returncode:
        raise LaunchError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _import_path(others: str | None = None) -> dict[str, str]:
    """Return the variable by which other processes find the repository, wherever they run."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), others or os.environ.get("PYTHONPATH")]))}


def _nearest(name: str, valid: Sequence[str] | dict[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(valid)}"


def main(words: list[str] | None = None) -> int:
    """Submit one training; 0 if that was done (with --tail: if the job ended well), 2 if it was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*", metavar="WORD", help="as after train.py: +experiment=demo_exp trainer.max_train_steps=100")
    parser.add_argument("--tail", action="store_true", help="follow the log until the job has ended; its fate is the exit status")
    parser.add_argument("--dry-run", action="store_true", help="check all, print the job file and the launch command, submit nothing")
    add_slurm_arguments(parser)
    options = parser.parse_intermixed_args(words)
    try:
        settings = settings_from(options)
        check_cluster(settings)
        training, *_ = check_trainings([options.overrides])
        if options.dry_run:
            executor = _executor(training.folder / "slurm" / "%j", settings, training.folder.name)
            print(executor._make_submission_file_text(executor._submitit_command_str, ""))
            rendezvous = ["--main_process_ip", "ADDRESS", "--main_process_port", "PORT"]
            print("# and the first node runs\n" + NodeTask(training, settings).script("0", rendezvous))
            return 0
        job_id, *_ = submit([training], settings)
    except LaunchError as error:
        print(f"launch_slurm: {error}", file=sys.stderr)
        return 2
    return follow(job_id, log_of(training.folder, job_id)) if options.tail else 0


if __name__ == "__main__":
    sys.exit(main())
