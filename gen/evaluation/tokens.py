"""Tokens with labels: read the objects of rendered scenes with a pipeline's encoder, and keep them in a file that any probe can read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen import scenes
from gen.models.pipeline import RegionPipeline
from gen.models.rotation import view_yaw
from gen.regions import Regions

TRAIN_SEED, TEST_SEED = 3_000_001, 3_000_002  # of scenes on which no pipeline is trained, and no edit scored

_SCENES_AT_ONCE = 32
_LABEL = "label."


@dataclass(frozen=True)
class TokenSet:
    """Tokens of objects, and what is true of each object; m objects.

    Attributes:
        tokens: one row an object.
        labels: whole numbers name a class, other numbers are quantities. `collect` gives `shape`, `colour`, `material` (positions in
            `gen.scenes` SHAPES, COLOURS, MATERIALS), `yaw_period` (degrees, see `gen.scenes.rotation_periods`), `size` (world units), `x`,
            `y`, `width`, `height` (centre and sides of the object's whole box, hidden parts included, image units), `yaw` (radians, the
            viewer's azimuth in the object's frame).
        origin: where the tokens come from.
    """

    tokens: Float[Tensor, "m q d"]
    labels: dict[str, Int[Tensor, " m"] | Float[Tensor, " m"]]
    origin: dict[str, str]

    @property
    def features(self) -> Float[Tensor, "m f"]:
        """Return an object's tokens as one vector."""
        return self.tokens.flatten(1)


def encode_scenes(
    pipeline: RegionPipeline, specs: list[scenes.SceneSpec], supersampling: int = 2, regions: Regions | None = None
) -> tuple[Float[Tensor, "b n q d"], Regions, scenes.Rendering]:
    """Render scenes and encode their true regions, on the CPU; n is 1 + the most objects of a scene.

    Args:
        pipeline: whose encoder reads.
        specs: the scenes.
        supersampling: of the rendering.
        regions: other regions than the true ones.
    """
    n = 1 + max(len(spec.objects) for spec in specs)
    blocks = [specs[start : start + _SCENES_AT_ONCE] for start in range(0, len(specs), _SCENES_AT_ONCE)]
    rendering = scenes.render(specs, pipeline.resolution, supersampling)
    regions = Regions.from_label_map(rendering.label_map, n) if regions is None else regions
    tokens = []
    for number, block in enumerate(blocks):
        rows = slice(number * _SCENES_AT_ONCE, number * _SCENES_AT_ONCE + len(block))
        tokens.append(pipeline.encode(rendering.pixel_values[rows], regions[rows]).tokens.float().cpu())
    return torch.cat(tokens), regions, rendering


def collect(pipeline: RegionPipeline, num_scenes: int, split: str = "simple", seed: int = TRAIN_SEED, name: str = "") -> TokenSet:
    """Read the objects of rendered scenes from their true regions; the background and objects without a visible pixel are left out.

    Args:
        pipeline: whose encoder reads.
        num_scenes: of the split, numbers 0 to num_scenes - 1.
        split: preset of the scenes.
        seed: of the scenes.
        name: of the pipeline, noted as the tokens' origin.
    """
    specs = [scenes.sample_scene(seed, number, split) for number in range(num_scenes)]
    tokens, regions, rendering = encode_scenes(pipeline, specs)
    n = tokens.shape[1]
    boxes = rendering.boxes
    labels: dict[str, Tensor] = {
        **scenes.labels(specs, n),
        "yaw_period": scenes.rotation_periods(specs, n),
        "size": torch.tensor(
            [[torch.nan, *(item.size for item in spec.objects), *[torch.nan] * (n - 1 - len(spec.objects))] for spec in specs]
        ),
        "x": (boxes[..., 0] + boxes[..., 2]) / 2,
        "y": (boxes[..., 1] + boxes[..., 3]) / 2,
        "width": boxes[..., 2] - boxes[..., 0],
        "height": boxes[..., 3] - boxes[..., 1],
        "yaw": view_yaw(scenes.viewed_rotations(specs, n)),
    }
    objects = regions.valid.clone()
    objects[:, 0] = False
    origin = {"pipeline": name, "split": split, "seed": str(seed), "scenes": str(num_scenes), "resolution": str(pipeline.resolution)}
    return TokenSet(tokens[objects], {key: values[objects] for key, values in labels.items()}, origin)


def write_tokens(path: Path, tokens: TokenSet) -> None:
    """Write tokens and labels as one safetensors file; a reader finds the old file or the new one."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    columns = {_LABEL + name: values.contiguous() for name, values in tokens.labels.items()}
    save_file({"tokens": tokens.tokens.contiguous(), **columns}, partial, metadata=tokens.origin)
    partial.replace(path)


def read_tokens(path: Path) -> TokenSet:
    """Read what `write_tokens` wrote, or any safetensors file with `tokens` [m q d] and `label.NAME` [m] for each label.

    Raises:
        ValueError: if the file is not there or no safetensors file, or holds no tokens, or a label of another length.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  a handle, not a dict
            origin = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error}); write it with scripts/export_tokens.py") from error
    tokens = columns.pop("tokens", None)
    if tokens is None or tokens.ndim != 3:
        found = "nothing" if tokens is None else f"shape {tuple(tokens.shape)}"
        raise ValueError(f"{path}: `tokens` is {found}; it must be [objects, tokens, width]")
    labels = {name.removeprefix(_LABEL): values for name, values in columns.items() if name.startswith(_LABEL)}
    for name, values in labels.items():
        if values.shape != tokens.shape[:1]:
            raise ValueError(f"{path}: label {name} has shape {tuple(values.shape)}; it must be [{len(tokens)}], one for each object")
    return TokenSet(tokens.float(), {k: v.float() if v.is_floating_point() else v.long() for k, v in labels.items()}, origin)
