"""Faults that strike the process: kills, signals, dead loader workers, a rival in the same folder."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random

from gen.artefact import MANIFEST
from gen.run_files import CONFIG
from gen.training.fault_drill.struck_run import (
    CHECKPOINT_EVERY,
    EPOCH_STEPS,
    FILES,
    KEPT,
    STEPS,
    Exit,
    Fault,
    LostError,
    NoStrikeError,
    Start,
    StruckRun,
)
from gen.training.interruption import SIGNALS

NOTHING = "nothing"  # a name that no file has
Moment = tuple[int, float]  # steps done, and the time since then as a share of a quick step


def process_faults(draw: Random) -> Iterator[Fault]:
    """Yield these faults, their moments drawn."""
    for part in (_kills, _signals, _loaders, _rivals):
        yield from part(draw)


def draw_moment(draw: Random, first: int = 1, last: int = STEPS - 2) -> Moment:
    """Draw a moment in a step after one of these."""
    return draw.randint(first, last), _share(draw)


def _share(draw: Random) -> float:
    return round(draw.uniform(0.0, 0.9), 2)


def two_in_one_epoch(draw: Random) -> list[Moment]:
    """Draw two moments of the first epoch, the first one when there are two checkpoints."""
    first = draw_moment(draw, 2 * CHECKPOINT_EVERY + 1, EPOCH_STEPS - 3)
    return [first, draw_moment(draw, first[0] + 1, EPOCH_STEPS - 1)]


def named(moments: Sequence[Moment]) -> str:
    """Tell moments in words."""
    return ", then ".join(f"{share:.2f} of a step after step {step}" for step, share in moments)


# SIGKILL


def _kills(draw: Random) -> Iterator[Fault]:
    continues = "dies; the same command goes on from the newest checkpoint"
    for _ in range(4):
        moments = [draw_moment(draw)]
        yield Fault("SIGKILL in a step", named(moments), continues, partial(_kill_in_steps, moments=moments))
    for _ in range(2):
        moments = two_in_one_epoch(draw)
        yield Fault("SIGKILL twice in one epoch", named(moments), continues, partial(_kill_in_steps, moments=moments))
    middle = [(CHECKPOINT_EVERY * draw.randint(1, STEPS // CHECKPOINT_EVERY - 1) + CHECKPOINT_EVERY // 2, 0.0)]
    yield Fault("SIGKILL between two checkpoints", named(middle), continues, partial(_kill_in_steps, moments=middle))
    checkpoint, export = "SIGKILL while a checkpoint is written", "SIGKILL while the pipeline is exported"
    for kind, where, seen in (
        (checkpoint, "its first file is begun", partial(StruckRun.writes_checkpoint, begun=FILES[0], not_yet=FILES[2])),
        (checkpoint, "its files are there, the manifest is not", partial(StruckRun.writes_checkpoint, begun=FILES[3])),
        (checkpoint, "its manifest is there, it has not its name", partial(StruckRun.writes_checkpoint, begun=MANIFEST, not_yet=NOTHING)),
        ("SIGKILL between a checkpoint's rename and the deletion of the oldest", f"{KEPT + 1} checkpoints are there", _has_one_too_many),
        ("SIGKILL right after a checkpoint", "before the next step", _has_just_written_checkpoint),
        (export, "before its manifest", StruckRun.writes_pipeline),
        (export, "its manifest is there, it has not its name", partial(StruckRun.writes_pipeline, begun=MANIFEST, not_yet=NOTHING)),
    ):
        step = CHECKPOINT_EVERY * draw.randint(1, STEPS // CHECKPOINT_EVERY - 2)
        yield Fault(kind, f"{where}, from step {step} on", continues, partial(_kill_when, seen=seen, step=step))
    where = "the old one moved aside, the new one not in its place (the first rename is made by hand after a real kill)"
    yield Fault("SIGKILL between the two renames of the pipeline", where, continues, _kill_between_renames)
    share = round(draw.uniform(0.1, 0.9), 2)
    yield Fault("SIGKILL before the first step", f"{share:.2f} of the start-up", continues, partial(_kill_in_startup, share=share))
    yield Fault("SIGKILL before the first step", f"when {CONFIG} is written", continues, _kill_when_config_is_written)


def _kill_in_steps(run: StruckRun, moments: Sequence[Moment]) -> None:
    for step, share in moments:
        start = run.start()
        start.freeze_in_step(step, share)
        start.kill()
    run.finish()


def _kill_when(run: StruckRun, seen: Callable[[StruckRun], bool], step: int) -> None:
    start = run.start()
    start.freeze_when(lambda: run.steps() >= step and seen(run))
    start.kill()
    run.finish()


def _kill_between_renames(run: StruckRun) -> None:
    start, pipeline = run.start(), run.folder / "pipeline"
    start.freeze_when(lambda: pipeline.is_dir() and run.writes_pipeline(MANIFEST, NOTHING))
    start.kill()
    pipeline.rename(pipeline.with_name(".pipeline.previous"))
    run.finish()


def _kill_in_startup(run: StruckRun, share: float) -> None:
    start = run.start()
    start.freeze_in_startup(share)
    start.kill()
    run.finish()


def _kill_when_config_is_written(run: StruckRun) -> None:
    _frozen_when_config_is_written(run).kill()
    run.finish()


def _frozen_when_config_is_written(run: StruckRun) -> Start:
    start = run.start()
    start.until((run.folder / CONFIG).exists, pause_seconds=0.0005)
    start.freeze()
    if run.steps():
        raise NoStrikeError("the first step was done already")
    return start


def _has_one_too_many(run: StruckRun) -> bool:
    return len(run.checkpoints()) > KEPT


def _has_just_written_checkpoint(run: StruckRun) -> bool:
    paths = run.checkpoints()
    return 0 < len(paths) <= KEPT and int(paths[-1].name.removeprefix("step_")) == run.steps()


# Signals that ask to stop


def _signals(draw: Random) -> Iterator[Fault]:
    stops = f"exit {Exit.REQUEUE} with a checkpoint of the step; the same command goes on from there"
    for number in SIGNALS:
        moment = draw_moment(draw, last=STEPS - 3)  # in the last step no restart is needed
        yield Fault(f"{number.name} in a step", named([moment]), stops, partial(_signal_in_step, number=number, moment=moment))
    step = CHECKPOINT_EVERY * draw.randint(1, STEPS // CHECKPOINT_EVERY - 2)
    where = f"before its manifest, from step {step} on"
    yield Fault("SIGTERM while a checkpoint is written", where, stops, partial(_signal_in_checkpoint, step=step))
    first, second = draw.sample(SIGNALS, 2)
    moment = (CHECKPOINT_EVERY * draw.randint(1, STEPS // CHECKPOINT_EVERY - 1) + 1, _share(draw))  # no checkpoint is due
    kind, where = "a second signal while the checkpoint for the first is written", f"{first.name} {named([moment])}, then {second.name}"
    yield Fault(kind, where, stops, partial(_signal_again, first=first, second=second, moment=moment))
    for number in draw.sample(SIGNALS, 2):
        moment, kind = draw_moment(draw), "a signal, and SIGKILL 50 ms later"
        expected = "dies; the same command goes on from the newest checkpoint"
        yield Fault(kind, f"{number.name} {named([moment])}", expected, partial(_signal_and_kill, number=number, moment=moment))
    share = round(draw.uniform(0.1, 0.9), 2)
    expected = f"dies of it while it loads, exit {Exit.REQUEUE} once it has its folder; the same command goes on"
    yield Fault("SIGTERM before the first step", f"{share:.2f} of the start-up", expected, partial(_signal_in_startup, share=share))
    yield Fault("SIGTERM before the first step", f"when {CONFIG} is written", expected, _signal_when_config_is_written)


def _signal_in_step(run: StruckRun, number: signal.Signals, moment: Moment, words: Sequence[str] = (), to_group: bool = False) -> None:
    start = run.start(*words)
    start.freeze_in_step(*moment)
    start.send(number, to_group)
    start.thaw()
    start.ends(Exit.REQUEUE, says=[f"stopped by {number.name} after step"])
    run.finish(*words)


def _signal_in_checkpoint(run: StruckRun, step: int) -> None:
    start = run.start()
    start.freeze_when(lambda: step <= run.steps() < STEPS and run.writes_checkpoint())
    start.send(signal.SIGTERM)
    start.thaw()
    start.ends(Exit.REQUEUE, says=["stopped by SIGTERM after step"])
    run.finish()


def _signal_again(run: StruckRun, first: signal.Signals, second: signal.Signals, moment: Moment) -> None:
    start = run.start()
    start.freeze_in_step(*moment)
    start.send(first)
    start.freeze_when(run.writes_checkpoint)
    start.send(second)
    start.thaw()
    start.ends(Exit.REQUEUE, says=[f"stopped by {first.name} after step"])
    run.finish()


def _signal_and_kill(run: StruckRun, number: signal.Signals, moment: Moment) -> None:
    start = run.start()
    start.freeze_in_step(*moment)
    start.send(number)
    start.thaw()
    time.sleep(0.05)
    start.kill()
    run.finish()


def _signal_in_startup(run: StruckRun, share: float) -> None:
    start = run.start()
    start.freeze_in_startup(share)
    start.send(signal.SIGTERM)
    start.thaw()
    start.ends(-signal.SIGTERM, Exit.REQUEUE)
    run.finish()


def _signal_when_config_is_written(run: StruckRun) -> None:
    start = _frozen_when_config_is_written(run)
    start.send(signal.SIGTERM)
    start.thaw()
    start.ends(Exit.REQUEUE, says=["stopped by SIGTERM after step 1;"])
    run.finish()


# Loader workers


def _loaders(draw: Random) -> Iterator[Fault]:
    stops = f"the workers ignore it: exit {Exit.REQUEUE} with a checkpoint of the step; the same command goes on from there"
    two = ("dataset.num_workers=2",)
    for number in SIGNALS:
        moment = draw_moment(draw, last=STEPS - 3)  # in the last step no restart is needed
        strike = partial(_signal_in_step, number=number, moment=moment, words=two, to_group=True)
        yield Fault("a signal to the whole process group, 2 loader workers", f"{number.name} {named([moment])}", stops, strike)
    moment = draw_moment(draw, last=STEPS - 6)
    expected = f"exit {Exit.FAILED} with a traceback; the same command goes on from the newest checkpoint"
    yield Fault("SIGKILL of a loader worker", named([moment]), expected, partial(_kill_worker, moment=moment))
    workers, moments = draw.sample((0, 1, 2), 3), sorted(draw_moment(draw) for _ in range(2))
    expected = "dies twice; the same command goes on with other workers"
    where = f"{workers} workers; {named(moments)}"
    strike = partial(_change_workers, workers=workers, moments=moments)
    yield Fault("another number of loader workers at every start", where, expected, strike)


def _kill_worker(run: StruckRun, moment: Moment) -> None:
    start = run.start("dataset.num_workers=1")
    start.freeze_in_step(*moment)
    os.kill(start.workers()[0], signal.SIGKILL)
    start.thaw()
    start.ends(Exit.FAILED, says=["DataLoader worker", "killed by signal"])
    run.finish("dataset.num_workers=1")


def _change_workers(run: StruckRun, workers: Sequence[int], moments: Sequence[Moment]) -> None:
    for number, (step, share) in zip(workers, moments, strict=False):
        start = run.start(f"dataset.num_workers={number}")
        start.freeze_in_step(step, share)
        start.kill()
    run.finish(f"dataset.num_workers={workers[-1]}")


# Another training in the same folder


def _rivals(draw: Random) -> Iterator[Fault]:
    moment = draw_moment(draw)
    expected = f"the second start is refused with exit {Exit.REFUSED}; the first is not disturbed"
    yield Fault("a second start while another trains", named([moment]), expected, partial(_start_a_second, moment=moment))
    expected = f"one trains, the other is refused with exit {Exit.REFUSED}"
    yield Fault("two starts at once", "an empty folder", expected, _start_two)


def _start_a_second(run: StruckRun, moment: Moment) -> None:
    first = run.start()
    first.freeze_in_step(*moment)
    run.start().ends(Exit.REFUSED, says=["another training runs in it"])
    first.thaw()
    first.ends(Exit.DONE)


def _start_two(run: StruckRun) -> None:
    codes = sorted(start.ends(Exit.DONE, Exit.REFUSED) for start in (run.start(), run.start()))
    if codes == [Exit.DONE, Exit.DONE]:
        raise NoStrikeError("the second start came after the end of the first")
    if codes != [Exit.DONE, Exit.REFUSED]:
        raise LostError("both were refused")
