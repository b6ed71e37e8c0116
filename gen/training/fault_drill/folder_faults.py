"""Faults that strike the run folder: damaged files, a full disk, a clock that lies."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random

from gen.artefact import MANIFEST
from gen.run_files import CONFIG, METRICS, STATUS
from gen.training.fault_drill.process_faults import Moment, named, two_in_one_epoch
from gen.training.fault_drill.struck_run import CHECKPOINT_EVERY, FILES, KEPT, PREVIEW_EVERY, STEPS, Exit, Fault, LostError, StruckRun

PASSED_OVER = "checkpoint passed over, the one before it is used"
FULL = "the disk or the quota is full"
FORESEEN = "free some space or choose another disk"
WRITTEN_AGAIN = "it is written again"
BEFORE_A_PREVIEW = [
    step for step in range(CHECKPOINT_EVERY + 1, STEPS) if (step + 1) % PREVIEW_EVERY == 0 and (step + 1) % CHECKPOINT_EVERY
]
BETWEEN_CHECKPOINTS = range(CHECKPOINT_EVERY + CHECKPOINT_EVERY // 2, STEPS, CHECKPOINT_EVERY)
Damage = Callable[[Path, float], None]  # a file, and where in it, in [0, 1)


def folder_faults(draw: Random) -> Iterator[Fault]:
    """Yield these faults, their places drawn."""
    for part in (_damages, _damaged_pipelines, _damaged_records, _disks, _clocks):
        yield from part(draw)


# Damaged checkpoints


def _damages(draw: Random) -> Iterator[Fault]:
    expected = "the damaged file is named, the checkpoint before it is used"
    for kind, damage in (
        ("newest checkpoint: a file cut to half", _cut_to_half),
        ("newest checkpoint: a file cut to nothing", _cut_to_nothing),
        ("newest checkpoint: one bit of a file flipped", _flip_a_bit),
        ("newest checkpoint: a file deleted", _delete),
    ):
        for name in FILES:
            place = round(draw.random(), 4)
            where = f"{name}, at {place:.2%} of its length" if damage is _flip_a_bit else name
            strike = partial(_damage_checkpoints, damage=damage, name=name, place=place, count=1)
            yield Fault(kind, where, expected, strike, begins="killed")
    name, place = draw.choice(FILES[:4]), round(draw.random(), 4)
    strike = partial(_damage_checkpoints, damage=_flip_a_bit, name=name, place=place, count=KEPT - 1)
    expected = "both damaged files are named, the third checkpoint is used"
    yield Fault("the two newest of three checkpoints damaged", f"{name}, at {place:.2%} of its length", expected, strike, begins="killed")
    expected = f"exit {Exit.REFUSED} with the remedy: delete the folder; then it trains from the start"
    yield Fault("all checkpoints damaged", f"{FILES[0]} cut to half", expected, _damage_all, begins="killed")


def _damage_checkpoints(run: StruckRun, damage: Damage, name: str, place: float, count: int) -> None:
    damaged = run.checkpoints()[-count:]
    for checkpoint in damaged:
        damage(checkpoint / name, place)
    flipped_manifest = name == MANIFEST and damage is _flip_a_bit  # may accuse a file that is whole, of the same checkpoint
    run.finish(says=[PASSED_OVER, *(f"{checkpoint.name}/{'' if flipped_manifest else name}" for checkpoint in damaged)])


def _damage_all(run: StruckRun) -> None:
    for checkpoint in run.checkpoints():
        _cut_to_half(checkpoint / FILES[0], 0.0)
    run.start().ends(Exit.REFUSED, says=[f"all {KEPT} checkpoints are damaged; delete this folder to train from the start"])
    shutil.rmtree(run.folder / "state")
    run.finish()


def _cut_to_half(path: Path, place: float) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _cut_to_nothing(path: Path, place: float) -> None:
    os.truncate(path, 0)


def _flip_a_bit(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def _delete(path: Path, place: float) -> None:
    path.unlink()


# What else the folder holds


def _damaged_pipelines(draw: Random) -> Iterator[Fault]:
    expected = "the damaged file is named, the pipeline is written again"
    for where, damage in (("one bit of a file flipped", _flip_a_bit), ("a file deleted", _delete)):
        strike = partial(_damage_pipeline, damage=damage, place=round(draw.random(), 4))
        yield Fault("pipeline of a finished run damaged", where, expected, strike, begins="finished")
    yield Fault("pipeline of a finished run damaged", "the folder deleted", expected, _delete_pipeline, begins="finished")
    expected = f"exit {Exit.REFUSED} with the remedy: empty the folder; then it is written again"
    where = f"its {MANIFEST} deleted"
    yield Fault("pipeline of a finished run not known as ours", where, expected, _delete_pipeline_manifest, begins="finished")


def _damage_pipeline(run: StruckRun, damage: Damage, place: float) -> None:
    pipeline = run.folder / "pipeline"
    files = sorted(path for path in pipeline.rglob("*") if path.is_file() and path.name != MANIFEST)
    damaged = files[int(place * len(files))]
    damage(damaged, place)
    run.finish(says=[f"pipeline/{damaged.relative_to(pipeline).as_posix()}", WRITTEN_AGAIN])


def _delete_pipeline(run: StruckRun) -> None:
    shutil.rmtree(run.folder / "pipeline")
    run.finish(says=["pipeline: no such folder", WRITTEN_AGAIN])


def _delete_pipeline_manifest(run: StruckRun) -> None:
    (run.folder / "pipeline" / MANIFEST).unlink()
    run.start().ends(Exit.REFUSED, says=["pipeline: holds files but no manifest.json", "empty it"])
    shutil.rmtree(run.folder / "pipeline")
    run.finish(says=[WRITTEN_AGAIN])


def _damaged_records(draw: Random) -> Iterator[Fault]:
    expected = "the damaged line is dropped with a warning; its step is done again"
    for where, damage in (("its last line cut", _cut_last_line), ("zeros at its end", _append_zeros)):
        yield Fault(f"{METRICS} damaged", where, expected, partial(_damage_metrics, damage=damage), begins="killed")
    expected = f"exit {Exit.REFUSED} with the remedy: restore it; then it goes on"
    yield Fault(f"{CONFIG} damaged", "cut to half", expected, _damage_config, begins="killed")
    yield Fault(f"{STATUS} damaged", "cut to half", "it is written anew", _damage_status, begins="killed")


def _damage_metrics(run: StruckRun, damage: Callable[[Path], None]) -> None:
    damage(run.folder / METRICS)
    run.finish(says=[f"{METRICS}: a damaged line is dropped"])


def _cut_last_line(path: Path) -> None:
    last = path.read_bytes().splitlines(keepends=True)[-1]
    os.truncate(path, path.stat().st_size - len(last) // 2)


def _append_zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(100))  # as some file systems leave it after a loss of power


def _damage_config(run: StruckRun) -> None:
    path = run.folder / CONFIG
    content = path.read_bytes()
    _cut_to_half(path, 0.0)
    run.start().ends(Exit.REFUSED, says=[f"{CONFIG}: damaged", "restore it"])
    path.write_bytes(content)
    run.finish()


def _damage_status(run: StruckRun) -> None:
    _cut_to_half(run.folder / STATUS, 0.0)
    run.finish()


# A full disk


def _disks(draw: Random) -> Iterator[Fault]:
    expected = f"exit {Exit.DISK_FULL} with a message; the last checkpoint stays; the same command goes on once there is room"
    for where, seen in (("a checkpoint is written", StruckRun.writes_checkpoint), ("the pipeline is exported", StruckRun.writes_pipeline)):
        yield Fault("disk full", f"while {where}", expected, partial(_fill_disk, seen=seen), on_small_disk=True)
    for what, steps, spare_share, says in (
        ("before metrics and a preview are written", BEFORE_A_PREVIEW, 0.0, FULL),
        ("room for a pipeline, not for a checkpoint", BETWEEN_CHECKPOINTS, 0.7, FORESEEN),
    ):
        step = draw.choice(steps)
        strike = partial(_fill_disk, seen=partial(_has_done, step=step), spare_share=spare_share, says=says)
        yield Fault("disk full", f"{what}, after step {step}", expected, strike, on_small_disk=True)
    yield Fault("disk full", "when it is started again", expected, _fill_disk_before_start, begins="killed", on_small_disk=True)


def _has_done(run: StruckRun, step: int) -> bool:
    return run.steps() == step


def _fill_disk(run: StruckRun, seen: Callable[[StruckRun], bool], spare_share: float = 0.0, says: str = FULL) -> None:
    start = run.start()
    start.freeze_when(lambda: len(run.checkpoints()) > 0 and seen(run))
    whole = run.newest_whole()
    run.fill_disk(int(spare_share * sum(file.stat().st_size for file in run.checkpoints()[-1].iterdir())))
    start.thaw()
    start.ends(Exit.DISK_FULL, says=[says])
    if run.newest_whole() < whole:
        raise LostError(f"the checkpoint of step {whole} is gone")
    run.make_room()
    run.finish()


def _fill_disk_before_start(run: StruckRun) -> None:
    run.fill_disk(spare_bytes=100_000)
    run.start().ends(Exit.DISK_FULL, says=[FORESEEN])
    run.make_room()
    run.finish()


# A clock that lies


def _clocks(draw: Random) -> Iterator[Fault]:
    expected = "nobody asks the clock: the same command goes on from the newest checkpoint by name"
    for where, times, zone in (
        ("all files from 1970", lambda number: 0, "Asia/Tokyo"),
        ("all files from 2100", lambda number: 4_102_444_800, "America/Lima"),
        ("the newest checkpoint is the oldest", lambda number: time.time() - 3600 * number, "UTC"),
    ):
        moments = two_in_one_epoch(draw)
        strike = partial(_set_clock, moments=moments, times=times, zone=zone)
        yield Fault("clock wrong between two resumes in one epoch", f"{where}, TZ={zone}; {named(moments)}", expected, strike)


def _set_clock(run: StruckRun, moments: Sequence[Moment], times: Callable[[int], float], zone: str) -> None:
    for (step, share), environment in zip(moments, ({}, {"TZ": zone}), strict=True):
        start = run.start(**environment)
        start.freeze_in_step(step, share)
        start.kill()
        for number, path in enumerate(sorted(run.folder.rglob("*"))):
            os.utime(path, (times(number), times(number)))
        os.utime(run.folder, (times(0), times(0)))
    run.finish(TZ=zone)
