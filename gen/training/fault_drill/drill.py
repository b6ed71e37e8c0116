"""The drill: a whole run, then one run for every fault, compared with it byte for byte, and the tables of what came out."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import quantiles

from tqdm import tqdm

from gen.run_files import METRICS
from gen.training.fault_drill.folder_faults import folder_faults
from gen.training.fault_drill.process_faults import process_faults
from gen.training.fault_drill.struck_run import (
    CHECKPOINT_EVERY,
    EPOCH_STEPS,
    FILES,
    KEPT,
    PREVIEW_EVERY,
    STEPS,
    Exit,
    Fault,
    LostError,
    NoStrikeError,
    NotPossibleError,
    Pace,
    StruckRun,
    small_disk,
)

MOST_ATTEMPTS = 5  # to strike at the moment that a fault asks for
DISK_BYTES = 64_000_000
KILLED_AFTER = KEPT * CHECKPOINT_EVERY + 2


@dataclass(frozen=True)
class Outcome:
    """What came of a fault.

    Attributes:
        fault: that was tried.
        happened: start by start.
        struck: whether it came to pass; only then it is counted.
        lost: how a start did not end as documented; empty if the run survived.
        different: from the whole run; empty if bit-identical.
        possible: whether this machine lets the fault be made.
    """

    fault: Fault
    happened: str
    struck: bool = True
    lost: str = ""
    different: Sequence[str] = ()
    possible: bool = True

    @property
    def survived(self) -> bool:
        """Every start ended as documented, and the run got to its end."""
        return self.struck and not self.lost

    @property
    def identical(self) -> bool:
        """It ended with the whole run's bits."""
        return self.survived and not self.different

    @property
    def verdict(self) -> str:
        """Say in words what is wrong, if anything is."""
        if not self.struck:
            return self.happened
        return "bit-identical" if self.identical else self.lost or ", ".join(self.different)

    @property
    def good(self) -> bool:
        """Nothing was lost, and nothing that could have been tried was left out."""
        return self.identical or not self.possible


@dataclass
class Drill:
    """One program, and the runs of it that are struck.

    Attributes:
        command: trains in outputs/drill below the folder in which it is started.
        work: an empty folder; what is left in it at the end belongs to faults that were not survived.
        jobs: runs at the same time.
    """

    command: Sequence[str]
    work: Path
    jobs: int

    def prepare(self) -> None:
        """Train once to the end and once to a kill; faults are compared with the one, and some begin with the other.

        Raises:
            LostError: if that does not work undisturbed.
        """
        whole = StruckRun(self.work / "whole", self.command, Pace(0.0, 0.0))
        times: list[float] = []

        def has_ended() -> bool:
            times.extend([time.monotonic()] * (whole.steps() - len(times)))
            return len(times) == STEPS

        with whole:
            begin, start = time.monotonic(), whole.start()
            start.until(start.trains)
            startup_seconds = time.monotonic() - begin
            start.until(has_ended)
            start.ends(Exit.DONE)
        self._pace = Pace(startup_seconds, quantiles(later - earlier for earlier, later in pairwise(times))[0])
        killed = StruckRun(self.work / "killed", self.command, self._pace)
        with killed:
            start = killed.start()
            start.freeze_when(lambda: killed.steps() >= KILLED_AFTER)
            start.kill()
        newest = killed.checkpoints()[-1]
        assert {path.name for path in newest.iterdir()} == set(FILES), f"{newest}: holds other files than those that are damaged"
        self._folders = {"killed": killed.folder, "finished": whole.folder}

    def run(self, faults: Sequence[Fault]) -> list[Outcome]:
        """Try every fault in a folder of its own, and tell on stderr how it went; return the outcomes in the faults' order."""
        outcomes: dict[int, Outcome] = {}
        with ThreadPoolExecutor(self.jobs) as pool, tqdm(total=len(faults), unit="fault") as bar:
            waiting = {pool.submit(self._try, number, fault): number for number, fault in enumerate(faults)}
            try:
                for done in as_completed(waiting):
                    outcome = outcomes[waiting[done]] = done.result()
                    bar.write(f"{outcome.fault.kind}: {outcome.fault.where}: {outcome.verdict}", file=sys.stderr)
                    bar.update()
            except BaseException:  # Ctrl-C, or a mistake of the drill's own: do not try the rest first
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [outcomes[number] for number in range(len(faults))]

    def _try(self, number: int, fault: Fault) -> Outcome:
        reason = ""
        for attempt in range(MOST_ATTEMPTS):
            run = StruckRun(self.work / f"{number:03d}_{attempt}", self.command, self._pace)
            try:
                with small_disk(run.place, DISK_BYTES) if fault.on_small_disk else nullcontext(), run:
                    outcome = self._strike(run, fault)
            except NoStrikeError as error:
                reason = str(error)
                shutil.rmtree(run.home)
                continue
            except NotPossibleError as error:
                return Outcome(fault, f"not possible here: {error}", struck=False, possible=False)
            if outcome.identical:
                shutil.rmtree(run.home)
            return outcome
        return Outcome(fault, f"did not strike in {MOST_ATTEMPTS} attempts: {reason}", struck=False)

    def _strike(self, run: StruckRun, fault: Fault) -> Outcome:
        if fault.begins != "nothing":
            shutil.copytree(self._folders[fault.begins], run.folder)
        try:
            fault.strike(run)
        except (ProcessLookupError, FileNotFoundError, IndexError) as error:  # the process that should be struck had just ended
            raise NoStrikeError(repr(error)) from error
        except LostError as error:
            return Outcome(fault, "; ".join(run.history), lost=str(error))
        return Outcome(fault, "; ".join(run.history), different=differences(self._folders["finished"], run.folder))


def draw_faults(seed: int, count: int | None = None) -> list[Fault]:
    """Return the matrix of faults; their moments and places follow from the seed.

    Args:
        seed: of everything random.
        count: so many, spread evenly over the matrix; beyond its end it begins anew with other moments. None for all of it, once.
    """
    draw = Random(seed)
    faults = [*process_faults(draw), *folder_faults(draw)]
    if count is None:
        return faults
    if count < len(faults):
        return [faults[number * len(faults) // count] for number in range(count)]
    while len(faults) < count:
        faults += [*process_faults(draw), *folder_faults(draw)]
    return faults[:count]


def differences(whole: Path, struck: Path) -> list[str]:
    """Compare two run folders byte for byte: last checkpoint, pipeline, previews, and metrics.jsonl without what a clock measured.

    Returns:
        What differs, a line each.
    """
    last = max(path.name for path in (whole / "state").glob("step_*"))
    found = []
    for part in (f"state/{last}", "pipeline", "previews"):
        one, other = ({str(path.relative_to(run)): path for path in (run / part).rglob("*") if path.is_file()} for run in (whole, struck))
        found += [f"{name}: missing" for name in sorted(one.keys() - other.keys())]
        found += [f"{name}: not in the whole run" for name in sorted(other.keys() - one.keys())]
        found += [f"{name}: differs" for name in sorted(one.keys() & other.keys()) if one[name].read_bytes() != other[name].read_bytes()]
    if _without_clock(whole / METRICS) != _without_clock(struck / METRICS):
        found.append(f"{METRICS}: differs")
    leftovers = [path.relative_to(struck).as_posix() for place in (struck, struck / "state") for path in place.glob(".*")]
    return found + [f"{name}: was left behind" for name in sorted(leftovers)]


def _without_clock(path: Path) -> list[dict] | None:
    from gen.training.tracking import is_timing  # accelerate takes seconds to import, `--help` must not

    if not path.exists():
        return None
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if not is_timing(name)} for line in lines]


def report(outcomes: Sequence[Outcome], seed: int, command: str, minutes: float) -> str:
    """Return the page: what was tried, how it was measured, a table by kind, and a table of every fault."""
    tried = [outcome for outcome in outcomes if outcome.struck]
    survived, identical = sum(outcome.survived for outcome in tried), sum(outcome.identical for outcome in tried)
    return f"""# Fault drill

{len(tried)} faults tried, {survived} survived, {identical} bit-identical.

`train.py +experiment=demo_exp +mode=tiny` trains {STEPS} steps, with a checkpoint every {CHECKPOINT_EVERY}, a preview every \
{PREVIEW_EVERY}, {KEPT} checkpoints kept, and an epoch of {EPOCH_STEPS} steps; every start is a process of its own. Each fault strikes a \
run in a folder of its own, and the same command is started again until the run is at its end. A moment is reached by stopping \
the process (SIGSTOP), looking at what its folder holds, and striking it there; random moments are told as shares of a quick step. A \
moment that did not come is tried again, and never counted.

- **Survived**: every start ended with the exit status and the words that are documented, without a traceback where a short answer \
is; it went on from the newest whole checkpoint; and the run got to its end.
- **Bit-identical**: all files of the last checkpoint, of `pipeline/` and of `previews/` have the bytes of a run that nobody disturbed, \
and so has `metrics.jsonl` without what a clock measured; nothing half-written is left.

Not tried: loss of power. What a killed process has written is kept by the system; what a machine that stops has written may not be.

`{command}`, seed {seed}, {date.today().isoformat()}, {_machine()}, {minutes:.0f} minutes.

{_table_of_kinds(outcomes)}

## Every fault

{_table_of_faults(outcomes)}
"""


def _table_of_kinds(outcomes: Sequence[Outcome]) -> str:
    kinds: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        kinds.setdefault(outcome.fault.kind, []).append(outcome)
    lines = ["| fault | expected | tried | survived | bit-identical |", "|---|---|---|---|---|"]
    for kind, members in kinds.items():
        counts = [sum(getattr(member, name) for member in members) for name in ("struck", "survived", "identical")]
        possible = "" if all(member.possible for member in members) else " (not possible here)"
        lines.append(f"| {kind}{possible} | {members[0].fault.expected} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def _table_of_faults(outcomes: Sequence[Outcome]) -> str:
    lines = ["| # | fault | where it strikes | what happened | survived | bit-identical |", "|---|---|---|---|---|---|"]
    for number, outcome in enumerate(outcomes, start=1):
        what = "; ".join(filter(None, (outcome.happened, outcome.lost, ", ".join(outcome.different)))).replace("|", "\\|")
        verdicts = " | ".join("yes" if value else "**no**" if outcome.struck else "-" for value in (outcome.survived, outcome.identical))
        lines.append(f"| {number} | {outcome.fault.kind} | {outcome.fault.where} | {what} | {verdicts} |")
    return "\n".join(lines)


def _machine() -> str:
    path = Path("/proc/cpuinfo")
    facts = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line) if path.exists() else {}
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    kind = "virtual machine" if "hypervisor" in facts.get("flags", "").split() else "machine"
    return f"{os.cpu_count()} threads of a {kind} with {facts.get('model name', 'unnamed')} processors"
