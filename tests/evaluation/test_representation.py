"""The whole measurement: figures of an encoder that knows colours and nothing else, their table, and the script."""

from __future__ import annotations

import json
import math

import pytest

from gen.evaluation.probes import fit_probes
from gen.evaluation.representation import evaluate_representation, met, table, token_figures
from gen.evaluation.tokens import TEST_SEED, collect, write_tokens
from scripts import evaluate_representation as script
from tests.evaluation.toy_pipelines import ColourReader, OwnColour, Painter, toy_pipeline


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    pipeline = toy_pipeline(OwnColour(), Painter)
    return evaluate_representation(pipeline, ColourReader(), num_train_scenes=160, num_test_scenes=80, num_pair_scenes=16)


def test_an_encoder_of_colours_knows_colours(figures):
    assert figures["colour_linear"] > 0.9 > figures["colour_chance"] + 0.5
    assert figures["shape_linear"] < 0.4
    assert figures["position_r2"] < 0.15
    assert figures["context_leakage_same_pixels"] == 0
    assert figures["matrix.own recolour.colour"] > 0.9 and figures["matrix.other recolour.colour"] == 0
    assert figures["swap_colour_follows"] > figures["swap_colour_stays"] + 0.5


def test_every_figure_is_a_number(figures):
    assert all(math.isfinite(value) for value in figures.values())
    assert {"objects_train", "objects_test", "size_r2", "dci_disentanglement", "dci_completeness"} <= figures.keys()


def test_the_table_shows_figures_and_targets(figures):
    text = table(figures)
    assert f"| colour | {100 * figures['colour_linear']:.1f} % |" in text
    shape, position = (next(line for line in text.splitlines() if line.startswith(f"| {name}")) for name in ("shape", "position"))
    assert "at least 95 %: not met" in shape and "at most 0.15: met" in position
    assert "| own recolour |" in text and "follows the token" in text


def test_a_target_is_met_at_its_limit():
    assert met("shape_linear", 0.95) and not met("shape_linear", 0.949)
    assert met("context_leakage", 0.05) and not met("context_leakage", 0.051)
    assert met("size_r2", 0.9) is None


def test_the_script_takes_exported_tokens(tmp_path, capsys):
    pipeline = toy_pipeline(OwnColour())
    train, test = collect(pipeline, 60), collect(pipeline, 30, seed=TEST_SEED)
    paths = [tmp_path / "train.safetensors", tmp_path / "test.safetensors"]
    for path, tokens in zip(paths, (train, test), strict=True):
        write_tokens(path, tokens)
    assert script.main(["--tokens", *map(str, paths), "--out", str(tmp_path / "out")]) == 0
    written = json.loads((tmp_path / "out" / "representation.json").read_text())
    assert written["figures"] == token_figures(train, test, fit_probes(train))
    assert "context leakage" not in capsys.readouterr().out  # needs a pipeline
    assert script.main(["--tokens", str(tmp_path / "none"), str(paths[1]), "--out", str(tmp_path / "out")]) == 2
