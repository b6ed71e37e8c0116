"""The masks benchmark compares like with like, and its tables say what was measured."""

from __future__ import annotations

import json

import pytest
import torch

from gen.evaluation.mask_benchmark import agreement, compare, comparison_table, mask_case
from scripts.benchmark_masks import main


def test_agreement_is_of_best_matches():
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, :2], masks[1, 2:], masks[2, :, :1] = True, True, True
    same = agreement(masks, masks.flip(0))
    assert same.mean == same.worst == same.mean_back == same.worst_back == 1
    fewer = agreement(masks[:2], masks[:1])
    assert (fewer.reference, fewer.ours) == (2, 1)
    assert fewer.mean == 0.5 and fewer.worst == 0 and fewer.mean_back == fewer.worst_back == 1
    nothing = masks[:0]
    assert agreement(nothing, nothing).mean == 1 and agreement(masks, nothing).mean == 0


def test_the_same_weights_give_the_same_masks_faster():
    result = compare(mask_case("tiny", 6, "cpu", seed=0), {"fp32": torch.float32}, repeats=1)
    found = result["agreements"]["ours, fp32"]
    assert found["reference"] == found["ours"] and min(found["worst"], found["worst_back"]) >= 0.98
    ratio = result["ratios"]["ours, fp32"]["cpu"]
    times = result["timings"]
    assert ratio["of medians"] == pytest.approx(times["reference"]["cpu"][0] / times["ours, fp32"]["cpu"][0])
    table = comparison_table(result).splitlines()
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1


def test_the_script_writes_table_and_circumstances(tmp_path, capsys):
    arguments = ["--weights", "tiny", "--points_per_side", "4", "--dtypes", "bf16", "--device", "auto", "--threads", "1"]
    assert main([*arguments, "--repeats", "2", "--seed", "3", "--out", str(tmp_path)]) == 0
    assert "ours, bf16" in capsys.readouterr().out
    written = json.loads((tmp_path / "tiny_4.json").read_text())
    assert written["facts"]["seed"] == 3 and "--points_per_side 4" in written["facts"]["command"]
    assert len(written["timings"]["reference"]["wall"]) == 2
    assert "hardware" in (tmp_path / "tiny_4.md").read_text()


def test_a_device_that_is_not_there_is_refused(capsys):
    if torch.cuda.is_available():
        pytest.skip("it is there")
    assert main(["--weights", "tiny", "--device", "cuda"]) == 2
    assert "no such device" in capsys.readouterr().err
