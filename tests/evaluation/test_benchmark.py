"""The instruments: perfect on the rendered truth, merciless on an unedited picture."""

from __future__ import annotations

import json

import pytest
import torch

from gen.evaluation.benchmark import Edited, score
from gen.evaluation.counterfactuals import Cases, build_cases
from gen.evaluation.evaluation import Evaluation
from gen.evaluation.image_metrics import mean_colour, psnr
from gen.evaluation.region_metrics import centroid_error, nearest_candidate, residual_share
from gen.models.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def cases() -> Cases:
    return build_cases(16, resolution=64, num_regions=6)


def everywhere(cases: Cases) -> torch.Tensor:
    return torch.ones(cases.source.shape[0], *cases.source.shape[2:], dtype=torch.bool)


def test_the_truth_scores_full_marks(cases):
    figures = score(Edited(cases.source, cases.move.truth, cases.move.truth, cases.removal.truth, everywhere(cases)), cases)
    assert figures["centroid_within_5_percent"] == figures["colour_kept"] == figures["removed_object_gone"] == 1
    assert figures["move_gain_over_unedited"] > 50


def test_an_unedited_picture_scores_nothing(cases):
    figures = score(Edited(mean_colour(cases.source), cases.source, cases.source, cases.source, everywhere(cases)), cases)
    assert figures["centroid_within_5_percent"] == figures["removed_object_gone"] == 0
    assert figures["reconstruction_gain_over_mean_colour"] == figures["move_gain_over_unedited"] == 0


def test_a_recoloured_object_has_lost_its_colour(cases):
    """Each object gets the next colour of the world: the instrument names that one, never its own."""
    move = cases.move
    rows = torch.arange(len(move.colour))
    other = (torch.tensor(move.colour) + 1) % move.recoloured.shape[1]
    assert nearest_candidate(move.recoloured[rows, other], move.recoloured, move.mask) == other.tolist()


def test_cases_move_and_remove_the_object_that_they_name(cases):
    """What changed lies where the moved object was, is, or throws a shadow; the asked place is the mask's."""
    for i, region in enumerate(cases.move.region):
        changed = (cases.source[i] != cases.move.truth[i]).any(0)
        assert changed[cases.regions.masks[i, region]].float().mean() > 0.9
        box = cases.regions.boxes()[i, region]
        shifted = (box[:2] + box[2:]) / 2 + cases.move.shift[i]
        points = cases.move.mask[i].nonzero().float().flip(-1) / 64
        assert ((points.amin(0) + points.amax(0)) / 2 - shifted).abs().max() < 0.08


def test_psnr_of_a_known_error():
    truth = torch.zeros(1, 3, 4, 4)
    assert float(psnr(truth + 0.2, truth)) == pytest.approx(20.0, abs=1e-4)  # 0.1 of the range


def test_psnr_counts_only_the_mask():
    truth, image = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    image[..., 0] = 1.0
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    mask[..., 0] = False
    assert float(psnr(image, truth, mask)) == 100


def test_centroid_error_is_a_share_of_the_width_and_infinite_for_nothing():
    found, asked = torch.zeros(2, 20, 20, dtype=torch.bool), torch.zeros(2, 20, 20, dtype=torch.bool)
    found[0, 5, 5] = asked[0, 5, 9] = asked[1, 0, 0] = True
    errors = centroid_error(found, asked)
    assert float(errors[0]) == pytest.approx(0.2) and errors[1] == torch.inf


def test_half_of_an_object_left_is_a_residual_of_a_half():
    before, after = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    edited = after.clone()
    edited[..., :2] = 0.9
    assert float(residual_share(edited, before, after, torch.ones(1, 4, 4, dtype=torch.bool))) == 0.5


def test_an_evaluation_writes_table_figures_and_picture(tmp_path):
    tiny_pipeline(resolution=32, num_regions=6).save_pretrained(tmp_path / "pipeline")
    figures = Evaluation(num_scenes=2, num_inference_steps=2)(tmp_path / "pipeline", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert written["figures"] == figures and written["facts"]["seed"] == 0
    assert (tmp_path / "out" / "edits.png").is_file() and "removed object is gone" in (tmp_path / "out" / "figures.md").read_text()
