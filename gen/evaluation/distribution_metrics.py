"""How alike two sets of pictures are as distributions: Frechet and kernel distances of any network's features."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gen.artefact import ArtefactError

# Pictures in [-1, 1] -> [b f]: `Inception`, `Clip` or `Dino` of gen.evaluation.perceptual_metrics, or any other network.
FeatureExtractor = Callable[[Tensor], Tensor]

_BATCH = 32


def frechet_distance(features: Float[Tensor, "m f"], others: Float[Tensor, "k f"]) -> float:
    """Return the squared Frechet (2-Wasserstein) distance between Gaussians fitted to two sets of features; 0 or more, symmetric.

    With Inception's features this is FID, with the oracle's it is called `frechet_oracle`; figures of different features cannot be
    compared. The estimate is biased upwards for small samples: below some thousands of samples (FID is published with 10,000 to 50,000,
    and needs more samples than features) compare only figures of equal sample numbers.

    Args:
        features: of one set, at least 2 samples; unit of the square is the features' own.
        others: of the other set, at least 2 samples.

    Raises:
        ValueError: if a set has fewer than 2 samples or holds values that are not finite.

    Source: Heusel et al. 2017, arXiv 1706.08500, equation 6; Dowson and Landau 1982.
    """
    _check(features, others, "the Frechet distance")
    first, second = features.double(), others.double()
    difference = (first.mean(0) - second.mean(0)).square().sum()
    roots = [_covariance_root(samples) for samples in (first, second)]
    variances = roots[0].square().sum() + roots[1].square().sum()
    # tr (A B)^(1/2) for A = R'R, B = S'S is the sum of the singular values of R S': never complex, never negative.
    cross = torch.linalg.svdvals(roots[0] @ roots[1].mT).sum()
    return max(0.0, float(difference + variances - 2 * cross))


def kernel_distance(
    features: Float[Tensor, "m f"], others: Float[Tensor, "k f"], subset_size: int = 1000, num_subsets: int = 100, seed: int = 0
) -> float:
    """Return the squared maximum mean discrepancy with the kernel (x.y / f + 1)^3, unbiased: about 0 for equal distributions, or below.

    With Inception's features this is KID. It is unbiased at any number of samples, but its spread shrinks slowly with it: some thousands
    of samples are usual.

    Args:
        features: of one set.
        others: of the other set.
        subset_size: samples drawn from each set, without repetition, for one estimate; at least 2.
        num_subsets: estimates that are averaged.
        seed: of the draws.

    Raises:
        ValueError: if a set has fewer samples than `subset_size` or holds values that are not finite, or a number is out of range.

    Source: Binkowski et al. 2018, arXiv 1801.01401, equation 4 and section 3.
    """
    _check(features, others, "the kernel distance")
    fewest = min(len(features), len(others))
    if not 2 <= subset_size <= fewest or num_subsets < 1:
        raise ValueError(
            f"the kernel distance of {len(features)} and {len(others)} samples with subset_size={subset_size}, num_subsets={num_subsets}: "
            f"subset_size must be within 2 and {fewest}, num_subsets at least 1"
        )
    generator = torch.Generator().manual_seed(seed)
    sets, values = [features.double(), others.double()], []
    for _ in range(num_subsets):
        values.append(_discrepancy(*(samples[torch.randperm(len(samples), generator=generator)[:subset_size]] for samples in sets)))
    return float(torch.stack(values).mean())


class Inception:
    """The 2048 features of the Inception network that FID and KID are published with, from weights that the user gives.

    Pictures are rounded to 8 bits and resized to 299 pixels by the package's own bilinear rule, which is TensorFlow 1's.

    Args:
        weights: a .safetensors file of torch-fidelity's `FeatureExtractorInceptionV3`.
        device: where it runs.

    Raises:
        ArtefactError: if the file is missing or does not fit.
        ValueError: if torch-fidelity, or the torchvision that it needs, is missing.

    Source: Szegedy et al. 2015, arXiv 1512.00567; the FID weights of 2015-12-05: Heusel et al. 2017, arXiv 1706.08500.
    """

    def __init__(self, weights: str | Path, device: torch.device | str = "cpu") -> None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ArtefactError(
                f"{path}: no such file, so there is no FID; where there is a network write it with: from torch_fidelity import "
                "FeatureExtractorInceptionV3; from safetensors.torch import save_file; "
                "save_file(FeatureExtractorInceptionV3('inception-v3-compat', ['2048']).state_dict(), 'inception.safetensors')"
            )
        self.device = torch.device(device)
        self._network: Any = _inception(path).to(self.device)

    @torch.inference_mode()
    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f"]:
        """Return the features of pictures in [-1, 1]; f is 2048."""
        levels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte()
        return torch.cat([self._network(part.to(self.device))[0].float().cpu() for part in levels.split(_BATCH)])


def _inception(path: Path) -> Any:
    """Build torch-fidelity's network with weights from a safetensors file.

    Raises:
        ArtefactError: if the weights do not fit.
        ValueError: if torch-fidelity cannot be imported.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        from torch_fidelity import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch raises RuntimeError
        raise ValueError(
            "FID needs torch-fidelity and a torchvision that fits the installed torch: `pip install torchvision torch-fidelity -c "
            f"constraints.txt` on a machine with CUDA, or take the features of Dino or Clip ({error})"
        ) from error
    # The package reads its weights with torch.load; what it is given here are bytes that this process wrote itself.
    buffer = io.BytesIO()
    try:
        torch.save(load_file(path), buffer)
        buffer.seek(0)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=buffer)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtefactError(f"{path}: does not fit torch-fidelity's FeatureExtractorInceptionV3: {reason}") from error


def _check(features: Float[Tensor, "m f"], others: Float[Tensor, "k f"], metric: str) -> None:
    """Refuse sets that have no distance.

    Raises:
        ValueError: if a set has fewer than 2 samples or holds values that are not finite.
    """
    for name, samples in (("features", features), ("others", others)):
        if len(samples) < 2:
            raise ValueError(f"{metric}: {name} has {len(samples)} samples, at least 2 are needed; give more pictures")
        if not samples.isfinite().all():
            raise ValueError(f"{metric}: {name} holds values that are not finite; look at what computed them")


def _covariance_root(samples: Float[Tensor, "m f"]) -> Float[Tensor, "r f"]:
    """Return R with R'R the unbiased covariance; r is the smaller of samples and features."""
    centred = (samples - samples.mean(0)) / (len(samples) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R


def _discrepancy(first: Float[Tensor, "s f"], second: Float[Tensor, "s f"]) -> Float[Tensor, ""]:
    """Return the unbiased estimate of the squared discrepancy of two equally large samples."""
    size, width = first.shape
    within = torch.zeros((), dtype=first.dtype)
    for samples in (first, second):
        kernel = (samples @ samples.mT / width + 1) ** 3
        within += (kernel.sum() - kernel.diagonal().sum()) / (size * (size - 1))
    return within - 2 * ((first @ second.mT / width + 1) ** 3).mean()
