"""The segment command: killed at any moment it goes on to the same bytes, mistakes are answered in a line, and its memory is bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gen.segmentation.cached import FALLBACK
from gen.segmentation.mask_cache import read_settings
from scripts import segment

pytest.importorskip("pyarrow")

WORDS = ["dataset=scenes", "dataset.twin_probability=0", "dataset.num_validation=2", "dataset/segmenter=classical"]


def shards(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("shard-*/*"))}


def started(repository: Path, out: Path, *words: str) -> subprocess.Popen:
    """Start the command; what it says goes to a file beside `out`, because nobody empties a pipe."""
    command = [sys.executable, "scripts/segment.py", "--out", str(out), *words]
    with out.with_suffix(".txt").open("w") as said:
        return subprocess.Popen(command, cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)}, stderr=said, stdout=said)


def test_a_pass_that_is_killed_half_way_ends_with_the_shards_of_an_undisturbed_one(repository, tmp_path):
    words = ["--shard-size", "5", *WORDS, "dataset.num_scenes=38", "dataset.resolution=16"]
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    process = started(repository, killed, *words)
    while not (killed / "shard-000002").exists():
        assert process.poll() is None, killed.with_suffix(".txt").read_text()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = shards(killed)
    assert 6 <= len(there) < 16
    assert segment.main(["--out", str(killed), *words]) == 0
    assert segment.main(["--out", str(undisturbed), *words]) == 0
    assert shards(killed) == shards(undisturbed)
    assert len(shards(killed)) == 16
    assert there.items() <= shards(killed).items()
    assert not list(killed.glob(".*.partial"))


def test_what_was_done_is_told(tmp_path, photographs, capsys):
    for name, image in photographs.items():
        (tmp_path / "photos").mkdir(exist_ok=True)
        image.resize((40, 30)).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"")
    words = ["dataset=image_folder", f"dataset.root={tmp_path / 'photos'}", "dataset.num_held_out=1", "dataset/segmenter=classical"]
    assert segment.main(["--out", str(tmp_path / "masks"), *words]) == 0
    told = capsys.readouterr()
    assert "broken: entry 1: " in told.out
    assert "broken.png" in told.out
    assert "5 pictures, " in told.out
    assert f"contact sheet: {tmp_path / 'masks' / 'contact_sheet.png'}" in told.out
    assert "5/5" in told.err
    fallback = [*words[:-1], "dataset/segmenter=cached", f"dataset.segmenter.root={tmp_path / 'masks'}", FALLBACK]
    assert segment.main(["--out", str(tmp_path / "copy"), *fallback]) == 0  # cached, and else the one that messages name
    assert read_settings(tmp_path / "copy")["segmenter"]["fallback"] == read_settings(tmp_path / "masks")["segmenter"]
    assert (tmp_path / "copy" / "contact_sheet.png").read_bytes() == (tmp_path / "masks" / "contact_sheet.png").read_bytes()
    capsys.readouterr()
    again = ["--out", str(tmp_path / "masks"), *words, "dataset.segmenter.contrast=9"]
    assert segment.main(again) == 2
    assert "segmenter.contrast: 18.0 there, 9 now" in capsys.readouterr().err.replace("9.0", "9")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--shard", "2/2"], "shard '2/2' is not i/n"),
        (["dataset=image_folder"], "dataset.root: has no value; give dataset.root=..."),
        (["dataset=image_folder", "dataset.root=nowhere"], "dataset.root='nowhere' is not a folder"),
        (["dataset=image_foldr"], "image_foldr"),
        (["dataset.resolutoin=3"], "did you mean dataset.resolution?"),
        (["dataset/segmenter=sma"], "sma"),
        (["+data=3"], "+data"),
    ],
)
def test_mistakes_are_answered_in_a_line(tmp_path, capsys, words, answer):
    assert segment.main(["--out", str(tmp_path / "masks"), *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("segment: ")
    assert answer in told
    assert not (tmp_path / "masks").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert segment.main(["--out", str(tmp_path / "file" / "masks"), *WORDS, "dataset.num_scenes=2"]) == 2
    assert f"segment: [Errno 20] Not a directory: '{tmp_path}/file/masks'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ten_thousand_rendered_pictures_pass_with_bounded_memory(repository, tmp_path):
    """Once the first shards are written, memory does not grow with the number of pictures."""
    process = started(repository, tmp_path / "masks", *WORDS, "dataset.num_scenes=9998", "dataset.resolution=64", "--shard-size", "500")
    resident: dict[int, float] = {}
    while process.poll() is None:
        done = len(list((tmp_path / "masks").glob("shard-*")))
        status = Path(f"/proc/{process.pid}/status").read_text()
        if "VmHWM" in status:
            resident[done] = int(status.split("VmHWM:")[1].split()[0]) / 1024
        time.sleep(0.5)
    print(f"peak resident memory in MB by the number of shards of 500 pictures: {resident}")
    assert process.returncode == 0, (tmp_path / "masks.txt").read_text()
    assert len(shards(tmp_path / "masks")) == 40
    assert resident[19] - resident[2] < 30
