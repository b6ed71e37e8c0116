"""A run that is struck: train.py in a folder of its own, watched, stopped at a chosen moment, and started again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Literal

from gen.artefact import MANIFEST, ArtefactError, verify_folder
from gen.run_files import METRICS, STATUS
from gen.training.interruption import REQUEUE_EXIT_CODE

# What is drilled: the real training at toy size, short enough that two resumes fall into one epoch.
STEPS, CHECKPOINT_EVERY, PREVIEW_EVERY, KEPT = 24, 4, 5, 3
BATCH, EPOCH_STEPS = 2, 16
EXP = "drill"
WORDS = (
    "+experiment=demo_exp", "+mode=tiny", f"exp={EXP}", f"trainer.max_train_steps={STEPS}", f"trainer.eval_every_n_steps={PREVIEW_EVERY}",
    f"trainer.checkpointing_steps={CHECKPOINT_EVERY}", f"trainer.checkpoints_total_limit={KEPT}", f"dataset.train_batch_size={BATCH}",
    f"dataset.num_scenes={BATCH * EPOCH_STEPS}",
)  # fmt: skip
FILES = ("model.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json", MANIFEST)  # of a checkpoint, as they are written

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}  # the same sums in the same order
MOUNT = ("mount", "-t", "tmpfs")
MOST_STARTS, PATIENCE_SECONDS = 6, 600.0
_BAR = re.compile(r"\| (\d+)/\d+ \[")


class Exit(IntEnum):
    """How train.py ends: its documented exit statuses, and the one that it cannot choose."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    DISK_FULL = 74
    REQUEUE = REQUEUE_EXIT_CODE
    KILLED = -signal.SIGKILL


STATUS_AFTER: dict[int, str] = {Exit.DONE: "finished", Exit.REQUEUE: "requeue"}


class LostError(Exception):
    """A start did not end as documented."""


class NoStrikeError(Exception):
    """The moment in which the fault should strike did not come, so nothing is proven."""


class NotPossibleError(Exception):
    """This machine does not let the fault be made; the message says what would."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: what it is; the faults of one kind share a row of the first table.
        where: it strikes.
        expected: what is documented for it.
        strike: does it to a run, and checks the end of every start until the run is at its own.
        begins: with no folder, or with a copy of that of a killed or of a finished run.
        on_small_disk: whether the run lives on a disk that can be filled.
    """

    kind: str
    where: str
    expected: str
    strike: Callable[[StruckRun], None]
    begins: Literal["nothing", "killed", "finished"] = "nothing"
    on_small_disk: bool = False


@dataclass(frozen=True)
class Pace:
    """How fast a whole run went: the measure of random moments.

    Attributes:
        startup_seconds: from the start to the progress bar.
        step_seconds: of a quick step; a quarter of them are quicker.
    """

    startup_seconds: float
    step_seconds: float


@dataclass
class StruckRun:
    """One run folder and the starts that train in it; whatever still lives at the end of the `with` block is killed.

    Attributes:
        home: holds `place`, where the program is started, and what each start said; not on the disk that is filled.
        command: trains in outputs/drill below the folder in which it is started.
        pace: of a whole run.
        starts: so far.
        history: how they went, in words.
    """

    home: Path
    command: Sequence[str]
    pace: Pace
    starts: list[Start] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def __enter__(self) -> StruckRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for start in self.starts:
            start.end_now()

    @property
    def place(self) -> Path:
        """Where the program is started."""
        return self.home / "place"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.place / "outputs" / EXP

    def start(self, *words: str, **environment: str) -> Start:
        """Start the same command; `words` are overrides that may change between starts."""
        if len(self.starts) == MOST_STARTS:
            raise LostError(f"not at its end after {MOST_STARTS} starts")
        self.place.mkdir(parents=True, exist_ok=True)
        self.starts.append(Start(self, words, environment))
        return self.starts[-1]

    def finish(self, *words: str, says: Sequence[str] = (), **environment: str) -> None:
        """Start the same command, which now has to come to the end and to say these things on the way."""
        self.start(*words, **environment).ends(Exit.DONE, says=says)

    def steps(self) -> int:
        """Return how many lines metrics.jsonl has: one for each step."""
        path = self.folder / METRICS
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted((self.folder / "state").glob("step_*"))

    def writes_checkpoint(self, begun: str = "", not_yet: str = MANIFEST) -> bool:
        """Say whether a checkpoint is being written, one of its files is there and another is not."""
        partials = (self.folder / "state").glob(".step_*.partial")
        return any((path / begun).exists() and not (path / not_yet).exists() for path in partials)

    def writes_pipeline(self, begun: str = "", not_yet: str = MANIFEST) -> bool:
        """Say the same of the pipeline."""
        path = self.folder / ".pipeline.partial"
        return (path / begun).exists() and not (path / not_yet).exists()

    def newest_whole(self) -> int:
        """Return the step of the newest checkpoint that its manifest confirms; 0 if there is none."""
        for path in reversed(self.checkpoints()):
            try:
                verify_folder(path)
            except ArtefactError:
                continue
            return int(path.name.removeprefix("step_"))
        return 0

    def fill_disk(self, spare_bytes: int = 0) -> None:
        """Take all room but `spare_bytes`, as somebody else on the same disk might."""
        with (self.place / "ballast").open("ab") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(self.place).free - spare_bytes)

    def make_room(self) -> None:
        """Give it back."""
        (self.place / "ballast").unlink()


class Start:
    """One start of the command: a process that can be watched, frozen, signalled, and whose end is checked."""

    def __init__(self, run: StruckRun, words: Sequence[str], environment: dict[str, str]) -> None:
        self._run, self._number = run, len(run.starts) + 1
        self._path = run.home / f"start_{self._number}.txt"
        self._whole_before = run.newest_whole()
        with self._path.open("wb") as file:
            self._process = subprocess.Popen(
                [*run.command, *words], cwd=run.place, env=os.environ | ENVIRONMENT | environment, stdin=subprocess.DEVNULL,
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def until(self, seen: Callable[[], bool], pause_seconds: float = 0.002) -> None:
        """Let it run until something is seen.

        Raises:
            NoStrikeError: if it ends before, or takes for ever.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not seen():
            if self._process.poll() is not None:
                code, words = self._process.returncode, self._last_words()
                raise NoStrikeError(f"start {self._number} ended with {code} before its moment came; its last words: {words}")
            if time.monotonic() > deadline:
                raise NoStrikeError(f"start {self._number}: its moment did not come within {PATIENCE_SECONDS:.0f} s")
            time.sleep(pause_seconds)

    def trains(self) -> bool:
        """Say whether it has begun to train: until then metrics.jsonl may hold the steps of the start before."""
        return self._first_step() is not None

    def freeze(self) -> None:
        """Stop it where it is.

        Raises:
            NoStrikeError: if it has ended.
        """
        self.send(signal.SIGSTOP)
        ended = self._process.returncode is not None
        found = None if ended else os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if found is None or found.si_code != os.CLD_STOPPED:
            raise NoStrikeError(f"start {self._number} ended before its moment came")

    def thaw(self) -> None:
        """Let it go on."""
        self.send(signal.SIGCONT)

    def freeze_when(self, seen: Callable[[], bool]) -> None:
        """Let it train for about a millisecond at a time, and leave it frozen when something is seen: nothing happens in between."""

        def seen_while_frozen() -> bool:
            self.freeze()
            if seen():
                return True
            self.thaw()
            return False

        self.until(self.trains)
        self.until(seen_while_frozen, pause_seconds=0.001)

    def freeze_in_step(self, step: int, share: float) -> None:
        """Freeze it when `step` steps are done, `share` of a step later: of a quick one of the whole run, or of this start's quickest.

        Raises:
            NoStrikeError: if one more is done by then.
        """
        times: dict[int, float] = {}

        def is_done() -> bool:
            times.setdefault(self._run.steps(), time.monotonic())
            return max(times) >= step

        self.until(self.trains)
        self.until(is_done)
        time.sleep(share * min([self._run.pace.step_seconds, *(later - earlier for earlier, later in pairwise(times.values()))]))
        self.freeze()
        if self._run.steps() != step:
            raise NoStrikeError(f"start {self._number} had done step {self._run.steps()} when it was to be struck after step {step}")

    def freeze_in_startup(self, share: float) -> None:
        """Freeze it when `share` of the time is over that a whole run took until it trained.

        Raises:
            NoStrikeError: if it trains already.
        """
        time.sleep(share * self._run.pace.startup_seconds)
        self.freeze()
        if self.trains():
            raise NoStrikeError(f"start {self._number} trained when it was to be struck before the first step")

    def send(self, number: signal.Signals, to_group: bool = False) -> None:
        """Signal it, or it and its loader workers, as a scheduler does."""
        if to_group:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it outright and wait for its end."""
        self.send(signal.SIGKILL)
        self.ends(Exit.KILLED)

    def workers(self) -> list[int]:
        """Return the ids of its loader workers: forked, so they carry its own command line."""
        own, words = self._process.pid, self._command_line(self._process.pid)
        children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return [int(child) for child in children if self._command_line(int(child)) == words]

    def ends(self, *codes: int, says: Sequence[str] = ()) -> int:
        """Wait for its end and check it.

        Args:
            codes: one of these is its exit status, or the negative number of the signal that killed it.
            says: texts that it has to print.

        Returns:
            Its exit status.

        Raises:
            LostError: if it ends in another way, says something else, or has lost a checkpoint.
            NoStrikeError: if it ended well before it could be killed.
        """
        try:
            code = self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise LostError(f"start {self._number} did not end within {PATIENCE_SECONDS:.0f} s") from None
        self._run.history.append(self._told(code))
        if codes == (Exit.KILLED,) and code in (Exit.DONE, Exit.REQUEUE):
            raise NoStrikeError(f"start {self._number} ended with {code} before it was killed")
        said = self._said()
        faults = [] if code in codes else [f"ended with {code} instead of {' or '.join(map(str, codes))}"]
        faults += [f"does not say {text!r}" for text in says if text not in said]
        faults += ["prints a traceback"] if code != Exit.FAILED and "Traceback (most recent call last)" in said else []
        faults += self._wrong_folder(code)
        if faults:
            raise LostError(f"start {self._number} {', '.join(faults)}; its last words: {self._last_words()}")
        return code

    def end_now(self) -> None:
        """Kill it and its workers if it lives."""
        if self._process.poll() is None:
            self.send(signal.SIGKILL, to_group=True)
            self._process.wait()

    def _wrong_folder(self, code: int) -> list[str]:
        """Return what is wrong in the run folder after this end."""
        wrong, whole, begun = [], self._run.newest_whole(), self._first_step()
        if begun not in (None, self._whole_before):
            wrong.append(f"went on from step {begun}, though the checkpoint of step {self._whole_before} is whole")
        if whole < self._whole_before:
            wrong.append(f"lost the checkpoint of step {self._whole_before}")
        if code == Exit.REQUEUE and whole != self._run.steps():
            wrong.append(f"stopped after step {self._run.steps()} with a checkpoint of step {whole}")
        path = self._run.folder / STATUS
        status = json.loads(path.read_text())["status"] if code in STATUS_AFTER and path.exists() else None
        if status != STATUS_AFTER.get(code):
            wrong.append(f"left the status {status!r}")
        return wrong

    def _told(self, code: int) -> str:
        end = f"exit {code}" if code >= 0 else signal.Signals(-code).name
        begun = self._first_step()
        return end if begun is None else f"steps {begun}-{self._run.steps()}: {end}"

    def _first_step(self) -> int | None:
        found = _BAR.search(self._said())
        return int(found.group(1)) if found else None

    def _said(self) -> str:
        return self._path.read_text(errors="replace")

    def _last_words(self) -> str:
        return (self._said().strip().splitlines() or [""])[-1][-300:]

    @staticmethod
    def _command_line(process: int) -> bytes:
        return Path(f"/proc/{process}/cmdline").read_bytes()


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[None]:
    """Mount a file system of this size.

    Raises:
        NotPossibleError: if that is not allowed.
    """
    folder.mkdir(parents=True)
    command = [*MOUNT, "-o", f"size={num_bytes}", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).splitlines()[0].replace(f"{folder}: ", "")
        raise NotPossibleError(f"no small disk can be mounted ({reason}); start the drill as root, or under `unshare -rm`") from error
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
