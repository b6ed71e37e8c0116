"""The benchmark: every method on the same scenes, every scene's figures kept, the references at both ends."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from gen.artefact import ArtefactError
from gen.evaluation.baselines import CopyPaste
from gen.evaluation.benchmark import TRUTH, UNEDITED, Reference, Results, group_of, run
from gen.evaluation.cases import Cases, build_cases
from gen.evaluation.entrants import load_methods, read_entrants
from gen.evaluation.evaluation import compare_methods
from gen.evaluation.methods import Edited, PipelineMethod
from gen.evaluation.oracle import Oracle
from gen.evaluation.report import write_report
from gen.models.tiny import tiny_pipeline

OPERATIONS = ("no_op", "move", "remove", "interpolate_frame")


@dataclass(frozen=True)
class Noisy:
    """Paints the truth with noise of a known strength, another one for every seed."""

    name: str
    strength: float = 0.02

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        noise = torch.randn(cases.truth.shape, generator=torch.Generator().manual_seed(seed)) * self.strength
        pictures = (cases.truth + noise).clamp(-1, 1)
        return None if cases.operation == "remove" else Edited(pictures, pictures)


@pytest.fixture(scope="module")
def results() -> Results:
    torch.manual_seed(0)
    methods = [Noisy("ours@0"), Noisy("ours@1", 0.05), PipelineMethod("tiny", tiny_pipeline(32, 6), 2), CopyPaste()]
    oracle = Oracle(width=8, num_features=16).eval()
    return run(methods, OPERATIONS, ["simple"], 3, (0, 1), oracle, resolution=32)


def test_the_references_stand_at_both_ends(results):
    move = results.values["simple"]["move"]
    assert (move[TRUTH][0]["psnr"] == 100).all() and (move[UNEDITED][0]["gain"] == 0).all()
    assert results.groups() == ["ours", "tiny", "copy-paste", TRUTH, UNEDITED]


def test_known_noise_has_its_known_psnr(results):
    """Noise of 0.02 in pictures in [-1, 1] is 0.01 of the range: 40 dB."""
    assert results.values["simple"]["move"]["ours@0"][0]["psnr_raw"] == pytest.approx(40, abs=0.3)
    assert results.values["simple"]["move"]["ours@1"][0]["psnr_raw"] == pytest.approx(32, abs=0.3)


def test_of_these_only_the_first_method_tells_what_another_sampling_seed_changes(results):
    move = results.values["simple"]["move"]
    assert {name: list(seeds) for name, seeds in move.items() if len(seeds) > 1} == {"ours@0": [0, 1]}
    assert not torch.equal(move["ours@0"][0]["psnr"], move["ours@0"][1]["psnr"])


def test_what_a_method_cannot_do_is_missing_and_not_zero(results):
    assert results.copies("simple", "remove", "ours") == [] and results.copies("simple", "move", "ours") == ["ours@0", "ours@1"]


def test_interpolations_are_followed_over_all_weights(results):
    frames = results.values["simple"]["interpolate_frame"]
    assert (frames[TRUTH][0]["monotone"] == 1).all() and (frames[UNEDITED][0]["monotone"] == 0).all()


def test_no_op_of_a_pipeline_is_identical_once_composited(results):
    tiny = results.values["simple"]["no_op"]["tiny"][0]
    assert (tiny["identical"] == 1).all() and (tiny["drift_raw_psnr"] < 60).all()


def test_pictures_are_kept_for_the_sheet_but_not_in_the_json(results, tmp_path):
    assert set(results.pictures["move"]) == {"source", "truth", "ours@0", "ours@1", "tiny", "copy-paste", TRUTH, UNEDITED}
    results.save(tmp_path / "results.json")
    assert "pictures" not in json.loads((tmp_path / "results.json").read_text())


def test_results_come_back_from_json(results, tmp_path):
    """Values keep four digits, and a scene without a figure stays one."""
    results.save(tmp_path / "results.json")
    again = Results.load(tmp_path / "results.json")
    assert again.facts == results.facts
    for operation, methods in results.values["simple"].items():
        for method, seeds in methods.items():
            for seed, figures in seeds.items():
                for name, values in figures.items():
                    read = again.values["simple"][operation][method][seed][name]
                    assert torch.allclose(read, values.float(), rtol=1e-3, equal_nan=True), (operation, method, name)


def test_runs_are_joined_method_by_method(results):
    few = Results(results.facts | {"minutes": 1.0}, {"simple": {"move": {"ours@0": results.values["simple"]["move"]["ours@0"]}}})
    more = Results(results.facts | {"minutes": 2.0}, {"simple": {"move": {"tiny": results.values["simple"]["move"]["tiny"]}}})
    both = few.joined(more)
    assert list(both.values["simple"]["move"]) == ["ours@0", "tiny"]
    assert both.facts["minutes"] == 3 and list(few.values) == ["simple"]
    with pytest.raises(ValueError, match="ours@0: move of simple is in both"):
        both.joined(few)
    with pytest.raises(ValueError, match="scenes is 3 in one run and 4"):
        few.joined(Results(more.facts | {"scenes": 4}, {}))


def test_a_joined_report_is_in_order_and_tells_of_both_runs(results, tmp_path):
    """Splits that are run first, and on another day, come behind the ones that are trained on."""
    move, no_op = results.values["simple"]["move"], results.values["simple"]["no_op"]
    others = Results(
        results.facts | {"date": "2000-01-01", "hardware": "a"}, {"five_objects": {"move": move}, "unseen_pairs": {"move": move}}
    )
    simple = Results(
        results.facts | {"date": "2000-01-02", "hardware": "a", "sampling seeds": [0]}, {"simple": {"move": move, "no_op": no_op}}
    )
    both = others.joined(simple)
    assert list(both.values) == ["simple", "unseen_pairs", "five_objects"] and list(both.values["simple"]) == ["no_op", "move"]
    assert (both.facts["date"], both.facts["hardware"]) == ("2000-01-01; 2000-01-02", "a")
    assert both.facts["sampling seeds"] == "[0, 1]; [0]" and both.joined(Results(simple.facts, {})).facts["date"] == both.facts["date"]
    text = write_report(tmp_path, both)
    assert text.index("## Scenes: simple") < text.index("### Targets, ours, scenes: simple") < text.index("## Scenes: unseen_pairs")


def test_methods_stay_in_the_order_given(results):
    """The first method cannot remove; the second run's methods come behind."""
    remove = Results(
        results.facts | {"methods": ["ours", "tiny"]}, {"simple": {"remove": {"tiny": results.values["simple"]["remove"]["tiny"]}}}
    )
    move = Results(results.facts | {"methods": ["copy-paste"]}, {"simple": {"move": results.values["simple"]["move"]}})
    assert results.facts["methods"] == ["ours", "tiny", "copy-paste"]
    assert remove.groups() == ["tiny", TRUTH, UNEDITED]
    assert remove.joined(move).groups() == ["ours", "tiny", "copy-paste", TRUTH, UNEDITED]


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no results"):
        Results.load(tmp_path / "nowhere.json")
    (tmp_path / "results.json").write_text('{"figures": {}}')
    with pytest.raises(ValueError, match="holds no results"):
        Results.load(tmp_path / "results.json")


def test_copies_are_grouped_by_name():
    assert group_of("ours@2") == group_of("ours") == "ours"


@pytest.mark.parametrize("names", [["a", "a"], [TRUTH]])
def test_one_name_is_one_method(names):
    with pytest.raises(ValueError, match="used once"):
        run([Reference(name) for name in names], ("move",), ["simple"], 1)


def entries(tmp_path, text: str):
    (tmp_path / "methods.json").write_text(text)
    return read_entrants(tmp_path / "methods.json")


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "holds no list"),
        ('[{"name": "a", "kind": "pipelin", "folders": ["x"]}]', "unknown kind 'pipelin'"),
        ('[{"name": "a", "kind": "pipeline", "folder": "x"}]', "holds no list"),
        ('[{"name": "a", "kind": "pipeline"}]', "give one for each trained copy"),
        ('[{"name": "a", "kind": "copy_paste", "folders": ["x"]}]', "not trained"),
        ('[{"name": "a", "kind": "copy_paste", "cannot": ["fly"]}]', "unknown operation 'fly'"),
        ('[{"name": "a@1", "kind": "copy_paste"}]', "leave it out"),
        ('[{"name": "a", "kind": "copy_paste"}, {"name": "a", "kind": "copy_paste"}]', "listed 2 times"),
    ],
)
def test_bad_lists_of_methods_are_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        entries(tmp_path, text)


def test_a_missing_folder_is_named_before_any_work(tmp_path):
    with pytest.raises(ArtefactError, match="nowhere"):
        entries(tmp_path, '[{"name": "a", "kind": "pipeline", "folders": ["shipped", "nowhere"]}]')


def test_copies_get_a_number_and_their_parameters_are_counted(tmp_path):
    for number in (0, 1):
        tiny_pipeline(32, 6, seed=number).save_pretrained(tmp_path / str(number))
    folders = json.dumps([str(tmp_path / "0"), str(tmp_path / "1")])
    listed = entries(
        tmp_path, f'[{{"name": "a", "kind": "pipeline", "folders": {folders}}}, {{"name": "copy-paste", "kind": "copy_paste"}}]'
    )
    methods, parameters = load_methods(listed, 2)
    assert [method.name for method in methods] == ["a@0", "a@1", "copy-paste"]
    assert parameters == {"a": sum(p.numel() for part in tiny_pipeline(32, 6).modules() for p in part.parameters())}


def test_a_method_is_not_asked_for_what_it_cannot_do(tmp_path):
    tiny_pipeline(32, 6).save_pretrained(tmp_path / "0")
    folders = json.dumps([str(tmp_path / "0")])
    listed = entries(tmp_path, f'[{{"name": "a", "kind": "pipeline", "folders": {folders}, "cannot": ["reconstruct"]}}]')
    (method,), _ = load_methods(listed, 2)
    assert method.name == "a" and method.pipeline.resolution == 32
    assert method(build_cases("reconstruct", 1, 32, 6), 0) is None and method(build_cases("no_op", 1, 32, 6), 0) is not None


def test_the_list_that_is_benchmarked_is_read(tmp_path, monkeypatch):
    """Only its folders are missing, where nobody has trained them."""
    listed = Path("scripts/benchmark_methods.json").resolve()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtefactError, match="train it first"):
        read_entrants(listed)


def test_unknown_operations_and_splits_are_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="unknown operation 'mvoe'"):
        compare_methods(tmp_path / "none.json", tmp_path, operations=["mvoe"])
    with pytest.raises(ValueError, match="unknown split 'easy'"):
        compare_methods(tmp_path / "none.json", tmp_path, splits=["easy"])
