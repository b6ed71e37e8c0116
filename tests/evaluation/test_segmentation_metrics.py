"""ARI and mean best overlap: known answers, counted pairs, permuted labels, single clusters, nothing to score."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from gen.evaluation.segmentation_metrics import adjusted_rand_index, mean_best_overlap, score_segmenter, score_table
from gen.segmentation import GroundTruth, WholePicture
from scripts import evaluate_segmenter


def maps(*rows: list[int]) -> torch.Tensor:
    """One row of pixels a picture."""
    return torch.tensor(rows)[:, None]


def random_maps(labels: int, seed: int, batch: int = 4) -> torch.Tensor:
    return torch.randint(labels, (batch, 5, 6), generator=torch.Generator().manual_seed(seed))


def counted(found: list[int], true: list[int]) -> float:
    """Return the index by looking at every pair of pixels."""
    pairs = [(found[i] == found[j], true[i] == true[j]) for i, j in combinations(range(len(found)), 2)]
    both, first, second = (sum(values) for values in zip(*((a and b, a, b) for a, b in pairs), strict=True))
    expected = first * second / len(pairs)
    return (both - expected) / ((first + second) / 2 - expected)


def test_identical_maps_agree_wholly():
    truth = random_maps(4, 0)
    assert adjusted_rand_index(truth, truth).tolist() == [1] * 4
    assert adjusted_rand_index(truth, truth, foreground_only=True).tolist() == [1] * 4
    overlap = mean_best_overlap(truth, truth)
    assert overlap.over_pictures == overlap.over_objects == 1


def test_the_names_of_predicted_labels_do_not_matter():
    truth, predicted = random_maps(4, 0), random_maps(4, 1)
    renamed = torch.tensor([7, 0, 900_000, 3])[predicted]
    for foreground_only in (False, True):
        first, second = (adjusted_rand_index(labels, truth, foreground_only) for labels in (predicted, renamed))
        assert torch.equal(first, second)
    assert mean_best_overlap(predicted, truth) == mean_best_overlap(renamed, truth)


@pytest.mark.parametrize("seed", range(3))
def test_ari_is_what_counting_all_pairs_gives(seed):
    predicted, truth = random_maps(3, seed), random_maps(4, seed + 100)
    predicted[0] = truth[0] // 2  # one that agrees more than by chance
    whole, foreground = adjusted_rand_index(predicted, truth), adjusted_rand_index(predicted, truth, foreground_only=True)
    for i in range(len(truth)):
        inside = truth[i] > 0
        assert float(whole[i]) == pytest.approx(counted(predicted[i].flatten().tolist(), truth[i].flatten().tolist()), abs=1e-6)
        assert float(foreground[i]) == pytest.approx(counted(predicted[i][inside].tolist(), truth[i][inside].tolist()), abs=1e-6)


def test_ari_of_known_maps():
    """Two halves cut the other way agree less than chance does: the least that there is."""
    assert float(adjusted_rand_index(maps([0, 1, 0, 1]), maps([0, 0, 1, 1]))) == pytest.approx(-0.5)
    assert float(adjusted_rand_index(maps([0, 0, 1, 2]), maps([0, 0, 1, 1]))) == pytest.approx(4 / 7)


def test_ari_of_random_labels_is_about_chance():
    predicted, truth = (torch.randint(5, (1, 200, 200), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert abs(float(adjusted_rand_index(predicted, truth))) < 1e-3


def test_single_clusters():
    """One cluster against one, and pixels by themselves against the same, are the same partition; one against several is chance."""
    single, several, alone = maps([0, 0, 0, 0]), maps([1, 1, 2, 2]), maps([0, 1, 2, 3])
    assert float(adjusted_rand_index(single, single + 3)) == 1
    assert float(adjusted_rand_index(alone, alone.flip(-1))) == 1
    assert float(adjusted_rand_index(single, several)) == float(adjusted_rand_index(several, single)) == 0
    assert float(adjusted_rand_index(single, alone)) == 0
    assert float(adjusted_rand_index(maps([5]), maps([1]), foreground_only=True)) == 1


def test_single_clusters_of_a_large_picture_are_still_recognised():
    """The products of pairs exceed what a float holds exactly."""
    single = torch.zeros(1, 1021, 1019, dtype=torch.long)
    assert float(adjusted_rand_index(single, single + 1)) == 1


def test_fg_ari_does_not_look_at_the_background():
    truth = maps([0, 0, 0, 0, 1, 1, 2, 2])
    shattered = maps([3, 4, 5, 6, 1, 1, 2, 2])
    assert float(adjusted_rand_index(shattered, truth, foreground_only=True)) == 1
    assert float(adjusted_rand_index(shattered, truth)) < 1


def test_the_two_conventions_of_mean_best_overlap_differ_where_pictures_have_different_numbers_of_objects():
    """The first picture's only object is found; of the second's three, two are found and one is missed but for a third."""
    truth = maps([0, 0, 0, 0, 0, 1], [0, 1, 1, 2, 3, 3])
    predicted = maps([0, 0, 0, 0, 0, 1], [3, 1, 1, 3, 3, 4])
    thirds = [1.0, 1 / 3, 1 / 2]
    overlap = mean_best_overlap(predicted, truth)
    assert overlap.over_pictures == pytest.approx((1 + sum(thirds) / 3) / 2)
    assert overlap.over_objects == pytest.approx((1 + sum(thirds)) / 4)


def test_one_region_for_everything_overlaps_with_an_object_by_its_area():
    truth = maps([0, 0, 0, 1])
    assert mean_best_overlap(torch.zeros_like(truth), truth).over_objects == 0.25


def test_a_picture_without_objects_is_named():
    truth = maps([0, 1, 1], [0, 0, 0])
    with pytest.raises(ValueError, match="FG-ARI of picture 1 .* no object"):
        adjusted_rand_index(truth, truth, foreground_only=True)
    with pytest.raises(ValueError, match="mean best overlap of picture 1 .* no object"):
        mean_best_overlap(truth, truth)
    assert adjusted_rand_index(truth, truth).tolist() == [1, 1]


def test_negative_labels_are_refused():
    with pytest.raises(ValueError, match="label -1"):
        adjusted_rand_index(maps([0, -1]), maps([0, 1]))


def test_segmenters_that_know_all_and_nothing():
    truth = maps([0, 0, 1, 1], [0, 1, 2, 2])
    pictures = torch.zeros(2, 3, 1, 4)
    table = score_table({"all": score_segmenter(GroundTruth(), pictures, truth), "none": score_segmenter(WholePicture(), pictures, truth)})
    assert "| all | 1.000 | 1.000 | 1.000 | 1.000 |" in table
    # FG-ARI: the first picture's single object is one cluster (1), the second's two are not (0).
    assert "| none | 0.000 | 0.500 | 0.438 | 0.417 |" in table


def test_the_command_writes_its_table(tmp_path, capsys):
    arguments = ["ground_truth", "classical", "--scenes", "2", "--resolution", "32", "--out", str(tmp_path)]
    assert evaluate_segmenter.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| ground_truth | 1.000 | 1.000 | 1.000 | 1.000 |" in printed
    assert printed.strip() in (tmp_path / "segmenters.md").read_text()
    assert evaluate_segmenter.main(["classical", "--resolution", "33"]) == 2
    assert "resolution=33" in capsys.readouterr().err
