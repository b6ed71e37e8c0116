"""Folders are whole or absent, damage is named, foreign files are never replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gen.artefact import ArtefactError, free_space_or_raise, verify_folder, write_folder
from gen.run_files import write_text


def _write(text: str):
    def write(folder: Path) -> None:
        (folder / "weights.bin").write_text(text)
        (folder / "part").mkdir()
        (folder / "part" / "config.json").write_text("{}")

    return write


def test_a_written_folder_verifies_and_can_be_replaced(tmp_path):
    folder = tmp_path / "deep" / "pipeline"
    write_folder(folder, _write("first"))
    verify_folder(folder)
    write_folder(folder, _write("second"))
    verify_folder(folder)
    assert (folder / "weights.bin").read_text() == "second"
    assert [path.name for path in folder.parent.iterdir()] == ["pipeline"]


def test_a_failed_write_leaves_the_old_folder_and_the_next_write_clears_the_rest(tmp_path):
    folder = tmp_path / "pipeline"
    write_folder(folder, _write("first"))

    def fail(partial: Path) -> None:
        (partial / "stale.bin").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(folder, fail)
    verify_folder(folder)
    assert (folder / "weights.bin").read_text() == "first"
    write_folder(folder, _write("second"))
    assert not (folder / "stale.bin").exists()


def test_nested_writes_give_one_manifest(tmp_path):
    folder = tmp_path / "pipeline"
    write_folder(folder, lambda partial: write_folder(partial, _write("inner")))
    verify_folder(folder)
    assert set(json.loads((folder / "manifest.json").read_text())["files"]) == {"weights.bin", "part/config.json"}


@pytest.mark.parametrize(
    "damage, named",
    [
        (lambda folder: (folder / "weights.bin").unlink(), "weights.bin: missing"),
        (lambda folder: (folder / "weights.bin").write_text("firs"), "weights.bin: 4 bytes instead of 5"),
        (lambda folder: (folder / "weights.bin").write_text("fIrst"), "weights.bin: damaged"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: missing"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json: unreadable"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": {"../x": {"bytes": 1, "sha256": ""}}}'), "outside the folder"),
    ],
)
def test_damage_is_named(tmp_path, damage, named):
    folder = tmp_path / "pipeline"
    write_folder(folder, _write("first"))
    damage(folder)
    with pytest.raises(ArtefactError, match=named):
        verify_folder(folder)


def test_a_missing_folder_is_named_with_the_one_before_it(tmp_path):
    folder = tmp_path / "pipeline"
    with pytest.raises(ArtefactError, match="no such folder$"):
        verify_folder(folder)
    write_folder(folder, _write("first"))
    folder.rename(tmp_path / ".pipeline.previous")  # what a kill between the two renames leaves
    with pytest.raises(ArtefactError, match="the one before it is whole"):
        verify_folder(folder)


def test_foreign_files_are_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtefactError, match="not ours to replace"):
        write_folder(tmp_path, _write("first"))
    with pytest.raises(ArtefactError, match="is a file"):
        write_folder(tmp_path / "thesis.tex", _write("first"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_too_little_disk_is_refused_also_for_a_folder_that_is_not_there_yet(tmp_path):
    free_space_or_raise(tmp_path / "not" / "yet", 1)
    with pytest.raises(ArtefactError, match="are needed and"):
        free_space_or_raise(tmp_path / "not" / "yet", 1 << 62)


def test_write_text_replaces(tmp_path):
    write_text(tmp_path / "config.json", "1")
    write_text(tmp_path / "config.json", "2")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["2"]
