"""Reports: numbers of hand-made results reach the right cell, targets are judged on the right side, the quick row is compared."""

from __future__ import annotations

import json

import pytest
import torch

from gen.evaluation.benchmark import TRUTH, UNEDITED, Results
from gen.evaluation.columns import MAIN, Column, check_targets, figure_of, first_scenes, floor_of, quick_row
from gen.evaluation.evaluation import Evaluation
from gen.evaluation.quick import compare, stored_row
from gen.evaluation.report import (
    difference_table,
    long_table,
    short_table,
    summary,
    target_table,
    value_with_unit,
    write_report,
    write_table,
)
from gen.models.tiny import tiny_pipeline

SCENES = torch.linspace(-1, 1, 5)  # added to every value: a mean of 0, a median of 0


def move(object_psnr: float, centroid: float = 0.01, identity: float = 0.9) -> dict[str, torch.Tensor]:
    return {
        "object_psnr": object_psnr + SCENES,
        "centroid_error": torch.full((5,), centroid),
        "identity": torch.full((5,), identity),
        "rotation_error": torch.full((5,), torch.nan),
        "untouched_raw_psnr": 40 + SCENES,
    }


@pytest.fixture
def results() -> Results:
    """Two copies of ours, 25 and 27 dB, the first painted with three sampling seeds; token-only at 22; an oracle that is right in 90 %."""
    moves = {
        "ours@0": {0: move(25, identity=0.81), 1: move(25.5), 2: move(26)},
        "ours@1": {0: move(27, identity=0.81)},
        "token-only": {0: move(22, centroid=0.03)},
        TRUTH: {0: move(99, 0.0, 0.9)},
        UNEDITED: {0: move(10)},
    }
    black = torch.zeros(2, 3, 8, 8)
    return Results(
        {"parameters": {"ours": 5_810_000}},
        {"simple": {"move": moves}},
        {"move": dict.fromkeys(("source", "truth", "ours@0", "token-only"), black)},
    )


def test_copies_of_one_method_make_one_row(results):
    table = short_table(results, "simple")
    row = next(line for line in table.splitlines() if line.startswith("| ours"))
    assert "26.00 ± 1.41" in row and row.endswith("| 5.81 | 2 |")
    assert next(line for line in table.splitlines() if line.startswith("| token-only")).startswith("| token-only | 22.00 | - | 3.0 |")


def test_identity_is_told_relative_to_the_oracles_own(results):
    found = figure_of(results, "simple", "ours", Column("", "move", "identity", relative=True))
    assert found is not None and found.mean == pytest.approx(0.9)


def test_the_noise_floor_is_that_of_the_sampling_seeds(results):
    assert floor_of(results, "simple", "ours", MAIN[0]) == pytest.approx(0.5)
    assert floor_of(results, "simple", "token-only", MAIN[0]) is None


def test_what_no_scene_has_is_a_dash_and_no_number(results):
    assert figure_of(results, "simple", "ours", Column("", "move", "rotation_error", "median")) is None
    table = long_table(results, "simple", "move")
    line = next(line for line in table.splitlines() if line.startswith("| error of a visible yaw"))
    assert line.endswith("| - | - | - | - |") and "nan" not in table


def test_differences_are_those_of_the_same_scenes(results):
    """Scenes spread by 2 dB, the methods differ by 4 in all: paired, the interval has no width."""
    line = next(line for line in difference_table(results, "simple").splitlines() if line.startswith("| token-only"))
    assert "+4.00 [4.00, 4.00]" in line and "-2.0 [-2.0, -2.0]" in line  # percent points of the width


def test_copies_are_summarised_before_they_are_averaged(results):
    """Each of two copies is one width off in another fifth of the scenes: the median error is 0 in the short and in the long table."""
    moves = results.values["simple"]["move"]
    moves["ours@0"][0]["centroid_error"] = torch.tensor([1.0, 1, 0, 0, 0])
    moves["ours@1"][0]["centroid_error"] = torch.tensor([0.0, 0, 1, 1, 0])
    found = figure_of(results, "simple", "ours", Column("", "move", "centroid_error", "median"))
    line = next(line for line in long_table(results, "simple", "move").splitlines() if line.startswith("| distance from where"))
    assert found is not None and found.mean == 0 and "| 0.0 [0.0, " in line
    line = next(line for line in difference_table(results, "simple").splitlines() if line.startswith("| token-only"))
    assert "| -3.0 [" in line


def test_targets_are_judged_on_the_right_side_of_their_limit(results):
    rows = {row["target"]: row for row in check_targets(results, "simple", "ours")}
    assert rows["object PSNR, move"]["met"] is True and rows["object PSNR, move"]["reached"] == pytest.approx(26)
    assert rows["object PSNR, move, above token-only"]["met"] is True
    assert rows["centroid error of a move, median"]["met"] is True
    assert rows["object PSNR, rotate"]["met"] is None and "not measured" in target_table(list(rows.values()))
    theirs = {row["target"]: row["met"] for row in check_targets(results, "simple", "token-only")}
    assert theirs["object PSNR, move"] is False and theirs["centroid error of a move, median"] is False


def test_a_report_writes_its_files_and_can_be_written_again(results, tmp_path):
    text = write_report(tmp_path, results)
    assert {path.name for path in tmp_path.iterdir()} == {f"benchmark{end}" for end in (".json", ".md", ".png", "_scenes.json")}
    stored = json.loads((tmp_path / "benchmark.json").read_text())
    told = stored["figures"]["simple"]["ours"]["move"]["object_psnr"]
    assert (told["value"], told["copies"], told["noise floor"]) == (pytest.approx(26), 2, pytest.approx(0.5))
    assert told["deviation over copies"] == pytest.approx(2**0.5)
    assert told["interval over scenes"][0] < 26 < told["interval over scenes"][1]
    assert stored["declared"]["object_psnr"]["unit"] == "dB" and set(stored["figures"]["simple"]["ours"]["move"]) <= set(stored["declared"])
    assert text.startswith("One global latent cannot edit") and "### Targets, ours, scenes: simple" in text
    assert "rotation_error" not in stored["figures"]["simple"]["ours"]["move"]
    assert write_report(tmp_path / "again", Results.load(tmp_path / "benchmark_scenes.json")) == text


def test_the_summary_has_all_ends(results):
    told = summary(results)["simple"]
    assert told[TRUTH]["move"]["object_psnr"] == pytest.approx(99) and told[UNEDITED]["move"]["object_psnr"] == pytest.approx(10)


def test_first_scenes_are_the_first(results):
    few = first_scenes(results, 2)
    assert few.values["simple"]["move"]["ours@0"][0]["object_psnr"].tolist() == pytest.approx([24.0, 24.5])


def test_a_row_is_reproduced_within_two_noise_floors(results, tmp_path):
    measured = json.loads(json.dumps(quick_row(results, "ours")))["object, move"]
    assert measured == {"value": pytest.approx(26), "noise floor": pytest.approx(0.5)}
    row = {column.text: measured for column in MAIN}
    for value, same in ((26.9, True), (27.1, False), (24.9, False)):
        table, agrees = compare(row, row | {"object, move": {"value": value, "noise floor": None}})
        assert agrees is same and ("DIFFERS" in table) is not same
    gone = {text: figure for text, figure in row.items() if text != "no-op, raw"}
    for stored, now in ((row, gone), (gone, row)):  # neither a figure that is gone nor one that was never stored is reproduced
        table, agrees = compare(stored, now)
        assert agrees is False and [line.split(" |")[0] for line in table.splitlines() if "DIFFERS" in line] == ["| no-op, raw"]


def test_a_stored_row_is_asked_for_with_a_remedy(results, tmp_path):
    with pytest.raises(ValueError, match="run the whole benchmark first"):
        stored_row(tmp_path / "none.json")
    write_report(tmp_path, results)
    with pytest.raises(ValueError, match="no method named 'shipped'"):
        stored_row(tmp_path / "benchmark.json")
    few = Results({"scenes": 5, "denoising steps": 4}, {"simple": {"move": {"shipped": results.values["simple"]["move"]["ours@0"]}}})
    write_report(tmp_path, few)
    with pytest.raises(ValueError, match="of 5 scenes and 4 steps"):
        stored_row(tmp_path / "benchmark.json")
    write_report(tmp_path, Results({"scenes": 64, "denoising steps": 4}, few.values))
    assert stored_row(tmp_path / "benchmark.json")["object, move"]["value"] == pytest.approx(25)


def test_values_with_units():
    assert [value_with_unit(0.123, unit) for unit in ("%", "dB", "")] == ["12.3 %", "0.12 dB", "0.123"]


def test_a_table_is_written_with_its_facts(tmp_path):
    write_table(tmp_path / "new", "name", {"figures": {"a": 1.0}}, "| a |", {"seed": 0})
    assert json.loads((tmp_path / "new" / "name.json").read_text()) == {"facts": {"seed": 0}, "figures": {"a": 1.0}}
    assert (tmp_path / "new" / "name.md").read_text() == "| a |\n\n- seed: 0\n"


def test_an_evaluation_writes_table_figures_and_picture(tmp_path):
    tiny_pipeline(resolution=32, num_regions=6).save_pretrained(tmp_path / "pipeline")
    figures = Evaluation(num_scenes=2, num_inference_steps=2)(tmp_path / "pipeline", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert written["figures"] == figures and written["facts"]["sampling seeds"] == [0]
    assert figures["no_op"]["identical"] == 1 and written[TRUTH]["remove"]["residual_share"] == 0
    assert (tmp_path / "out" / "edits.png").is_file() and "still show it" in (tmp_path / "out" / "figures.md").read_text()
