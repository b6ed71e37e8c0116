"""Automatic masks beside those of the `segment_anything` package: time and agreement on the same weights, picture and grid."""

from __future__ import annotations

import copy
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen import scenes
from gen.segmentation.sams.automatic_masks import automatic_masks
from gen.segmentation.sams.promptable_weights import runs_on
from gen.segmentation.sams.sam import Sam
from gen.segmentation.sams.segment_anything_package import PackageNetwork, build_package_sam, import_segment_anything, reference_masks
from gen.segmentation.suppression import mask_iou
from image_utils import convert

Weights = Literal["random", "tiny"]
_KEPT, _STABLE = 0.1, 0.5  # share of random weights' masks above the threshold of predicted IoU, and of those above that of stability

_NAMES = (  # of transformers' SamModel -> of the package
    (r"^vision_encoder\.", "image_encoder."),
    (r"^shared_image_embedding\.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"patch_embed\.projection", "patch_embed.proj"),
    (r"^image_encoder\.layers", "image_encoder.blocks"),
    (r"(blocks\.\d+|transformer\.layers\.\d+)\.layer_norm(\d)", r"\1.norm\2"),
    (r"neck\.conv1", "neck.0"),
    (r"neck\.layer_norm1", "neck.1"),
    (r"neck\.conv2", "neck.2"),
    (r"neck\.layer_norm2", "neck.3"),
    (r"\.point_embed\.", ".point_embeddings."),
    (r"mask_embed\.conv1", "mask_downscaling.0"),
    (r"mask_embed\.layer_norm1", "mask_downscaling.1"),
    (r"mask_embed\.conv2", "mask_downscaling.3"),
    (r"mask_embed\.layer_norm2", "mask_downscaling.4"),
    (r"mask_embed\.conv3", "mask_downscaling.6"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"upscale_conv1", "output_upscaling.0"),
    (r"upscale_layer_norm", "output_upscaling.1"),
    (r"upscale_conv2", "output_upscaling.3"),
    (r"(mlps\.\d+|iou_prediction_head)\.layers\.0", r"\1.layers.1"),
    (r"(mlps\.\d+|iou_prediction_head)\.proj_in", r"\1.layers.0"),
    (r"(mlps\.\d+|iou_prediction_head)\.proj_out", r"\1.layers.2"),  # of three layers, as in all published networks
)


@dataclass(frozen=True)
class Timing:
    """How long one way took, in every repetition.

    Attributes:
        wall: seconds.
        cpu: seconds of the processor, all threads together.
    """

    wall: list[float]
    cpu: list[float]


@dataclass(frozen=True)
class Agreement:
    """How well two sets of masks agree: the best match of each mask in the other set.

    Attributes:
        reference: number of the reference's masks.
        ours: number of ours.
        mean: of the reference's masks.
        worst: of the reference's masks.
        mean_back: of ours.
        worst_back: of ours.
    """

    reference: int
    ours: int
    mean: float
    worst: float
    mean_back: float
    worst_back: float


def package_weights(network: Any) -> dict[str, Tensor]:
    """Return the weights of a transformers SamModel under the package's names."""
    state = {}
    for name, weight in network.state_dict().items():
        if name.startswith("prompt_encoder.shared_embedding."):
            continue  # the same as shared_image_embedding
        for pattern, put in _NAMES:
            name = re.sub(pattern, put, name)
        state[name] = weight
    return state


def agreement(reference: Bool[Tensor, "k h w"], ours: Bool[Tensor, "m h w"]) -> Agreement:
    """Compare two sets of masks of one picture; an empty set agrees with an empty one only."""
    if not len(reference) or not len(ours):
        both = float(len(reference) == len(ours))
        return Agreement(len(reference), len(ours), both, both, both, both)
    overlaps = mask_iou(reference, ours)
    there, back = overlaps.amax(1), overlaps.amax(0)
    return Agreement(len(reference), len(ours), float(there.mean()), float(there.min()), float(back.mean()), float(back.min()))


@dataclass(frozen=True)
class MaskCase:
    """One comparison: a network of the package, a picture and the settings of the masks.

    Attributes:
        network: of the package, in fp32.
        picture: in [-1, 1].
        settings: points_per_side, pred_iou_threshold, stability_threshold, stability_offset, box_nms_threshold.
        device: where both run.
    """

    network: Any
    picture: Float[Tensor, "3 h w"]
    settings: dict[str, Any]
    device: str

    def reference(self) -> Bool[Tensor, "k h w"]:
        """Return the masks of the package's own generator."""
        names = {"pred_iou_threshold": "pred_iou_thresh", "stability_threshold": "stability_score_thresh"}
        names |= {"stability_offset": "stability_score_offset", "box_nms_threshold": "box_nms_thresh"}
        settings = {names.get(name, name): value for name, value in self.settings.items()}
        found = reference_masks(self.network, np.asarray(convert.to_pil(self.picture)), **settings)
        masks = np.stack([each["segmentation"] for each in found]) if found else np.zeros((0, *self.picture.shape[1:]), dtype=bool)
        return torch.from_numpy(masks)

    def ours(self, dtype: torch.dtype, compiled: bool = False) -> Callable[[], Bool[Tensor, "m h w"]]:
        """Return a function that returns our masks, by a network of its own."""
        network = copy.deepcopy(self.network)
        promptable = PackageNetwork(network, torch.device(self.device), dtype, compiled)
        return lambda: automatic_masks(promptable, self.picture, **self.settings).masks.cpu()


def mask_case(weights: Weights, points_per_side: int, device: str, seed: int) -> MaskCase:
    """Return the comparison on a photograph with a ViT-B of random weights at 1024 px, or on a rendered scene with the shipped network.

    Random weights predict an IoU about 0, which no threshold of trained ones fits: the thresholds are quantiles of what they predict. Their
    masks span the whole picture, so that suppression by boxes would leave a single one to compare: it is off.

    Raises:
        ValueError: if there is no such device.
    """
    device = str(runs_on(device))
    if weights == "tiny":
        segmenter = Sam(weights="tiny", device="cpu", dtype="fp32", points_per_side=points_per_side)
        shipped = segmenter.network().network  # type: ignore[attr-defined]
        heads = shipped.config.mask_decoder_config.num_attention_heads
        network = build_package_sam(package_weights(shipped), heads)
        picture = scenes.render([scenes.sample_scene(seed, 0, "standard")], 256).pixel_values[0]
        return MaskCase(network.to(device), picture, segmenter.settings(), device)
    from skimage.data import astronaut

    torch.manual_seed(seed)
    network = import_segment_anything().sam_model_registry["vit_b"]().to(device)
    picture = torch.from_numpy(astronaut()).permute(2, 0, 1) / 127.5 - 1
    return MaskCase(network, picture, {"points_per_side": points_per_side, **_fitting_thresholds(network, picture, device)}, device)


@torch.inference_mode()
def _fitting_thresholds(network: Any, picture: Float[Tensor, "3 h w"], device: str) -> dict[str, float]:
    promptable = PackageNetwork(copy.deepcopy(network), torch.device(device), torch.bfloat16, False)
    points = torch.rand(32, 1, 2, generator=torch.Generator().manual_seed(0)) * picture.shape[-1]
    logits, ious = promptable.decode(promptable.embed(picture[None]), points, torch.ones(32, 1, dtype=torch.long), None, multimask=True)
    offset = 0.05 * float(logits.std())
    least = float(ious.flatten().quantile(1 - _KEPT))
    good = logits.flatten(0, 1)[ious.flatten() > least]
    stability = (good > offset).sum((1, 2)) / (good > -offset).sum((1, 2))
    return {
        "pred_iou_threshold": least,
        "stability_threshold": float(stability.quantile(1 - _STABLE)),
        "stability_offset": offset,
        "box_nms_threshold": 1.0,
    }


def compare(case: MaskCase, dtypes: dict[str, torch.dtype], repeats: int, compiled: bool = False) -> dict[str, Any]:
    """Time the reference and ours in turn, so that a disturbance meets all, and compare their masks.

    Returns:
        JSON values: timings and agreements by name, and reference / ours of the medians, with the least and greatest of single turns.
    """
    ways: dict[str, Callable[[], Tensor]] = {"reference": case.reference}
    ways |= {f"ours, {name}": case.ours(dtype, compiled) for name, dtype in dtypes.items()}
    timings = {name: Timing([], []) for name in ways}
    masks: dict[str, Tensor] = {}
    if case.device != "cpu":
        for way in ways.values():
            way()  # warms up
    for _ in range(repeats):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            masks[name] = way()
            timings[name].wall.append(time.perf_counter() - wall)
            timings[name].cpu.append(time.process_time() - cpu)
    ours = [name for name in ways if name != "reference"]
    return {
        "settings": case.settings,
        "timings": {name: asdict(timing) for name, timing in timings.items()},
        "ratios": {name: _ratios(timings["reference"], timings[name]) for name in ours},
        "agreements": {name: asdict(agreement(masks["reference"], masks[name])) for name in ours},
    }


def _ratios(reference: Timing, ours: Timing) -> dict[str, dict[str, float]]:
    return {"wall": _ratio(reference.wall, ours.wall), "cpu": _ratio(reference.cpu, ours.cpu)}


def _ratio(reference: list[float], ours: list[float]) -> dict[str, float]:
    turns = [one / other for one, other in zip(reference, ours, strict=True)]
    return {"of medians": statistics.median(reference) / statistics.median(ours), "least": min(turns), "greatest": max(turns)}


def comparison_table(result: dict[str, Any]) -> str:
    """Return what `compare` found as a Markdown table."""
    head = ["way", "seconds", "processor seconds", "times as fast", "by processor time", "masks", "best IoU, mean", "worst"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, timing in result["timings"].items():
        cells = [name, f"{statistics.median(timing['wall']):.2f}", f"{statistics.median(timing['cpu']):.2f}"]
        if name == "reference":
            cells += ["1", "1", str(next(iter(result["agreements"].values()))["reference"]), "-", "-"]
        else:
            found = result["agreements"][name]
            for ratio in result["ratios"][name].values():
                cells.append(f"{ratio['of medians']:.2f} ({ratio['least']:.2f} to {ratio['greatest']:.2f})")
            cells.append(str(found["ours"]))
            cells += [f"{found[kind]:.4f}, {found[f'{kind}_back']:.4f}" for kind in ("mean", "worst")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
