"""Frechet and kernel distances: closed forms, symmetry, unbiasedness, and refusals."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from scipy.linalg import sqrtm

from gen.artefact import ArtefactError
from gen.evaluation.distribution_metrics import Inception, frechet_distance, kernel_distance


def samples(count: int, width: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def whitened(count: int, width: int) -> torch.Tensor:
    """Return samples whose mean is 0 and whose covariance is the identity, exactly."""
    centred = samples(count, width).double()
    centred = centred - centred.mean(0)
    return torch.linalg.qr(centred).Q * (count - 1) ** 0.5


def test_the_distance_of_known_gaussians():
    """Between N(0, I) and N(m, diag(s^2)) it is |m|^2 + sum (1 - s)^2."""
    first = whitened(50, 3)
    scale, mean = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.0, -1.0]).double()
    found = frechet_distance(first.float(), (first * scale + mean).float())
    assert found == pytest.approx(10 + 0 + 1 + 0.25, abs=1e-4)


@pytest.mark.parametrize(("count", "other_count"), [(60, 40), (5, 60), (3, 2)], ids=["full rank", "one singular", "fewer than features"])
def test_it_is_the_formula_with_a_matrix_square_root(count, other_count):
    first, second = samples(count, 6), samples(other_count, 6, 1) * 2 + 1
    covariances = [part.double().T.cov().numpy() + 1e-9 * torch.eye(6).double().numpy() for part in (first, second)]
    trace = covariances[0].trace() + covariances[1].trace() - 2 * sqrtm(covariances[0] @ covariances[1]).trace().real
    expected = float((first.mean(0) - second.mean(0)).square().sum()) + trace
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-3)


def test_it_is_symmetric_and_nothing_between_equals():
    first, second = samples(30), samples(20, seed=1)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))
    assert 0 <= frechet_distance(first, first.flip(0)) < 1e-9
    assert frechet_distance(first, second) > 0


def test_it_is_biased_upwards_for_few_samples():
    """Two halves of the same distribution: the docstring's warning is true."""
    few, many = (frechet_distance(samples(count), samples(count, seed=1)) for count in (20, 5000))
    assert few > 10 * many


def every_subset(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the unbiased estimate from its definition, one pair at a time."""

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return float(x.double() @ y.double() / len(x) + 1) ** 3

    within = [sum(kernel(x, y) for x, y in itertools.permutations(part, 2)) / (len(part) * (len(part) - 1)) for part in (first, second)]
    between = sum(kernel(x, y) for x, y in itertools.product(first, second)) / (len(first) * len(second))
    return sum(within) - 2 * between


def test_the_kernel_distance_is_its_definition():
    first, second = samples(8), samples(8, seed=1) + 1
    assert kernel_distance(first, second, subset_size=8, num_subsets=1) == pytest.approx(every_subset(first, second), rel=1e-6)


def test_the_kernel_distance_is_unbiased():
    """About nothing between equals, above and below it in turn; the same for few and for many samples where they differ."""
    equal = [kernel_distance(samples(40, seed=i), samples(40, seed=100 + i), 40, 1) for i in range(60)]
    spread = torch.tensor(equal).std() / len(equal) ** 0.5
    assert abs(sum(equal) / len(equal)) < 3 * float(spread) and min(equal) < 0 < max(equal)
    shifted = [kernel_distance(samples(2000), samples(2000, seed=1) + 0.5, size, 2000 // size * 4) for size in (50, 1000)]
    assert shifted[0] == pytest.approx(shifted[1], rel=0.1) and shifted[1] > 0.5


def test_the_kernel_distance_follows_from_its_seed():
    arguments = samples(50), samples(50, seed=1), 10, 5
    assert kernel_distance(*arguments, seed=3) == kernel_distance(*arguments, seed=3) != kernel_distance(*arguments, seed=4)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="others has 1 samples, at least 2"):
        frechet_distance(samples(5), samples(1))
    with pytest.raises(ValueError, match="features has 0 samples"):
        kernel_distance(samples(0), samples(5))
    with pytest.raises(ValueError, match="subset_size must be within 2 and 5"):
        kernel_distance(samples(5), samples(50))


def test_features_that_are_not_finite_are_refused():
    broken = samples(5)
    broken[0, 0] = torch.nan
    for distance in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match="not finite"):
            distance(broken, samples(5))


def test_any_function_of_pictures_gives_features():
    """Mean colours as features: pictures that are brighter by 0.2 in each channel are 3 * 0.2^2 away."""
    pictures = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    found = frechet_distance(*(part.mean((2, 3)) for part in (pictures, pictures + 0.2)))
    assert found == pytest.approx(0.12, abs=1e-5)


def test_inception_is_refused_without_weights_and_without_its_package(tmp_path, monkeypatch):
    with pytest.raises(ArtefactError, match=r"inception\.safetensors: no such file.*FeatureExtractorInceptionV3"):
        Inception(tmp_path / "inception.safetensors")
    (tmp_path / "inception.safetensors").touch()
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # what an import of a missing package finds
    with pytest.raises(ValueError, match="needs torch-fidelity"):
        Inception(tmp_path / "inception.safetensors")
