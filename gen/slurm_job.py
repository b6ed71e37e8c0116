"""A SLURM job: what it asks of the cluster, and what each of its nodes does."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gen.run_files import STATUS

ROOT = Path(__file__).resolve().parents[1]
REQUEUED = 75  # train.py's own code for "requeue me"
SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)  # of a time limit, a preemption, a cancellation
REPEAT_SECONDS = 1
RETRY_SECONDS = 5
VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
MEMORY_UNITS = {"K": 1 / 1024, "M": 1, "": 1, "G": 1024, "T": 1024**2}


class LaunchError(ValueError):
    """What was asked for cannot run; nothing was submitted."""


def _setting(words: str, default: Any = None) -> Any:
    return field(default=default, metadata={"help": words})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a job asks of the cluster: the options of the command line, and the keys of a profile.

    Raises:
        LaunchError: naming the option that is out of range or malformed.
    """

    partition: str | None = _setting("where the job may run (default: the cluster's default)")
    nodes: int = _setting("nodes (default 1)", 1)
    gpus_per_node: int = _setting("GPUs of each node (default 0: train on CPUs)", 0)
    processes_per_node: int | None = _setting("training processes on each node (default: its GPUs, or 1)")
    cpus_per_task: int | None = _setting("CPUs of each node, shared by its processes and their data loaders")
    mem: str | None = _setting("memory of each node, as 64G")
    time: str | None = _setting("time limit of one try, as 24:00:00 or 2-12 (days-hours); the partition's default if left out")
    constraint: str | None = _setting("features that the nodes must have")
    exclude: str | None = _setting("nodes not to use")
    nodelist: str | None = _setting("nodes to use")
    account: str | None = _setting("account to charge")
    qos: str | None = _setting("quality of service")
    job_name: str | None = _setting("name in the queue (default: the run's)")
    env: tuple[str, ...] = _setting("NAME=VALUE for the job's environment; may be repeated", ())
    init: tuple[str, ...] = _setting("shell command that every node runs before the training; may be repeated", ())
    array_parallelism: int | None = _setting("members of a sweep that run at a time (default: as many as SLURM lets)")
    max_tries: int = _setting("the job is started at most so many times (default 20)", 20)
    signal_seconds: int = _setting("the training is told so long before its time limit to write a checkpoint (default 120)", 120)

    def __post_init__(self) -> None:
        for name in ("nodes", "processes_per_node", "cpus_per_task", "array_parallelism", "max_tries", "signal_seconds"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise LaunchError(f"{option(name)} {getattr(self, name)}: must be at least 1")
        if self.gpus_per_node < 0:
            raise LaunchError(f"--gpus-per-node {self.gpus_per_node}: must not be below 0")
        if 0 < self.gpus_per_node < (self.processes_per_node or 1):
            raise LaunchError(
                f"--processes-per-node {self.processes_per_node}: each process needs a GPU, and --gpus-per-node is {self.gpus_per_node}"
            )
        for variable in self.env:
            if not VARIABLE.fullmatch(variable):
                raise LaunchError(f"--env {variable}: must be NAME=VALUE")
        if self.mem is not None:
            megabytes(self.mem)
        if self.time is not None and minutes(self.time) * 60 <= self.signal_seconds:
            raise LaunchError(
                f"--time {self.time}: must be longer than --signal-seconds {self.signal_seconds}, which a checkpoint may take"
            )

    def words(self) -> list[str]:
        """Return the options that ask for the same, but for --env, whose values are kept nowhere."""
        words = list[str]()
        for name, value in asdict(replace(self, env=())).items():
            values = value if isinstance(value, tuple) else () if value == getattr(type(self), name) else (value,)
            words += [word for one in values for word in (option(name), str(one))]
        return words

    @property
    def processes(self) -> int:
        """Training processes on each node."""
        return self.processes_per_node or self.gpus_per_node or 1

    @property
    def threads(self) -> int:
        """Threads of each training process, unless OMP_NUM_THREADS says otherwise; on CPUs the last bits depend on it."""
        return max(1, (self.cpus_per_task or 1) // self.processes)


def minutes(text: str) -> int:
    """Read a time limit as SLURM does, rounded up to whole minutes."""
    parts = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if not parts:
        raise LaunchError(f"--time {text}: must be minutes, hours:minutes:seconds, or days-hours, as 24:00:00 or 2-12")
    days, first, second, third = (int(part or 0) for part in parts.groups())
    in_hours = parts[1] is not None or parts[4] is not None  # [days-]hours[:minutes[:seconds]], else minutes[:seconds]
    seconds = (days * 24 + first) * 3600 + second * 60 + third if in_hours else first * 60 + second
    return -(-seconds // 60)


def megabytes(text: str) -> float:
    """Read an amount of memory as SLURM does."""
    parts = re.fullmatch(r"(\d+)([KMGT]?)", text)
    if not parts:
        raise LaunchError(f"--mem {text}: must be a whole number with K, M, G or T behind it, as 64G")
    return float(int(parts[1]) * MEMORY_UNITS[parts[2]])


def option(name: str) -> str:
    """Return how a setting is called on the command line."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class Training:
    """The words after train.py, and the run folder that they lead to."""

    overrides: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class NodeTask:
    """One training on the nodes of one job; submitit calls it on every node, once for each try.

    submitit's own handling of signals is replaced: it would requeue a training that ended well in spite of a signal, and it counts time
    limits where we count tries.

    Attributes:
        training: what to run.
        settings: of the job.
    """

    training: Training
    settings: Settings

    def __call__(self) -> None:
        """Run one try. A training that asks to be requeued is, as long as tries are left; any other failure is the job's."""
        job_id, tries, max_tries = os.environ["SLURM_JOB_ID"], _restarts() + 1, self.settings.max_tries
        this_try = f"try {tries} of {max_tries} of job {job_id}"
        if tries > max_tries:
            sys.exit(f"{this_try}: no try is left (--max-tries); the same command continues in {self.training.folder}")
        script = self.script(os.environ["SLURM_NODEID"], self._rendezvous())
        print(f"{this_try} on {os.environ['SLURMD_NODENAME']}:\n{script}", flush=True)
        before = self._status()
        code = _run(script)
        if code == 0:
            return
        if os.environ["SLURM_NODEID"] != "0":  # the first node decides for all, and its end is the end of this task
            time.sleep(60)
        status = self._status()
        said = "nothing" if status == before else f"{status['status']}, {status['message']}"
        fate = f"{this_try}: the training ended with code {code} and said: {said}"
        if status == before or status["status"] != "requeue":
            sys.exit(f"{fate}. Not requeued")
        until = time.monotonic() + self.settings.signal_seconds / 2  # the rest was the checkpoint's
        state = re.findall(r"JobState=(\w+)", _scontrol("--oneliner", "show", "job", job_id, until=until))[0]
        if state != "RUNNING":  # else a cancelled job would rise again
            sys.exit(f"{fate}. Not requeued, because SLURM ends the job ({state})")
        if tries == max_tries:
            sys.exit(f"{fate}. Not requeued, because this was the last try (--max-tries)")
        print(f"{fate}. Requeued", flush=True)
        _scontrol("requeue", job_id, until=until)
        sys.exit(REQUEUED)

    def script(self, node: str, rendezvous: list[str]) -> str:
        """Return a node's shell script. Signals are for the training alone: its launcher and the init commands must not die of them."""
        total = self.settings.nodes * self.settings.processes
        words = ["--num_machines", str(self.settings.nodes), "--machine_rank", node, "--num_processes", str(total), *rendezvous]
        words += ["--multi_gpu"] if total > 1 else []  # on CPUs too: with --cpu accelerate starts one process, whatever it is asked
        words += ["--mixed_precision", "no", "--dynamo_backend", "no", "--quiet"]  # the config decides; train.py says itself why it ends
        words += [str(ROOT / "train.py"), *self.training.overrides]
        variables = {"OMP_NUM_THREADS": f"${{OMP_NUM_THREADS:-{self.settings.threads}}}", "PET_SIGNALS_TO_HANDLE": "SIGINT"}
        variables |= {} if self.settings.gpus_per_node else {"ACCELERATE_USE_CPU": "true"}
        exports = [f"export {name}={value}" for name, value in variables.items()]
        launch = f"exec {shlex.join([sys.executable, '-m', 'accelerate.commands.launch', *words])}"
        return "\n".join(["set -e", "trap '' USR1 USR2 TERM", *exports, *self.settings.init, launch])

    def _rendezvous(self) -> list[str]:
        """Return where the processes meet: on one node anywhere, else at the first node's address, at a port of this job and try."""
        if self.settings.nodes == 1:
            return ["--main_process_port", "0"]
        first = _scontrol("show", "hostnames", os.environ["SLURM_JOB_NODELIST"]).split()[0]
        address = re.findall(r"NodeAddr=(\S+)", _scontrol("--oneliner", "show", "node", first))[0]
        port = 20_000 + (int(os.environ["SLURM_JOB_ID"]) + 101 * _restarts()) % 10_000
        return ["--rdzv_backend", "static", "--main_process_ip", address, "--main_process_port", str(port)]

    def _status(self) -> dict[str, Any]:
        path = self.training.folder / STATUS
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def _run(script: str) -> int:
    """Run a script to its end; a signal is passed on until then, because one that comes while Python still imports is lost."""
    received: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, _: received.append(number))
    process = subprocess.Popen(["bash", "-c", script])
    told_at = -math.inf
    while process.poll() is None:
        if received and time.monotonic() - told_at > REPEAT_SECONDS:
            if told_at == -math.inf:
                print(f"{signal.Signals(received[0]).name}: the training is asked to write a checkpoint and to end", flush=True)
            told_at = time.monotonic()
            for pid in _children(process.pid):
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGUSR2)
        time.sleep(0.2)
    return process.returncode


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started: the trainings of a launcher, not their loader workers."""
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, path.read_text().split())
    return found


def _scontrol(*words: str, until: float = -math.inf) -> str:
    """Ask the controller, again and again until a time if it does not answer; then the task ends."""
    while True:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        if time.monotonic() > until:
            sys.exit(f"scontrol {shlex.join(words)}: {done.stderr.strip()}")
        time.sleep(RETRY_SECONDS)
