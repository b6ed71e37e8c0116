"""Networks of the `segment_anything` package: imported also where there is no torchvision, built from a checkpoint's shapes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from gen.artefact import ArtefactError
from gen.segmentation.sams.mask_decoder import SharedImage
from gen.segmentation.sams.promptable import TwoWayNetwork
from gen.segmentation.suppression import box_nms


class PackageNetwork(TwoWayNetwork):
    """`segment_anything.modeling.Sam`."""

    def __init__(self, network: Any, device: torch.device, dtype: torch.dtype, compiled: bool) -> None:
        super().__init__(network, network.image_encoder.img_size, "image_encoder", device, dtype, compiled=False)
        self._encode = torch.compile(encode_image) if compiled else encode_image

    def _shared(self, pictures: Float[Tensor, "1 3 s s"]) -> SharedImage:
        embedding = self._encode(self.network.image_encoder, pictures)
        return self._shared_image(embedding, self.network.prompt_encoder.get_dense_pe())

    def _prompts(self, points: Tensor | None, point_labels: Tensor | None, boxes: Tensor | None) -> Float[Tensor, "p t c"]:
        sparse, _ = self.network.prompt_encoder(None if points is None else (points, point_labels), boxes, None)
        return sparse


@no_type_check  # torch.compile cannot trace the tests' checks of shapes
def encode_image(encoder: Any, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c g g"]:
    """Run the package's image encoder with torch's fused attention: the same sums, without its passes over all pairs of cells."""
    modeling = importlib.import_module("segment_anything.modeling.image_encoder")

    def attend(attention: Any, x: Float[Tensor, "b y x d"]) -> Float[Tensor, "b y x d"]:
        height, width = x.shape[1:3]
        q, k, v = attention.qkv(x).flatten(1, 2).unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        rows = modeling.get_rel_pos(height, height, attention.rel_pos_h)
        columns = modeling.get_rel_pos(width, width, attention.rel_pos_w)
        cells = q.unflatten(2, (height, width))
        bias = torch.einsum("bnyxe,yke->bnyxk", cells, rows)[..., None] + torch.einsum("bnyxe,xke->bnyxk", cells, columns)[..., None, :]
        read = nn.functional.scaled_dot_product_attention(q, k, v, bias.flatten(4, 5).flatten(2, 3))
        return attention.proj(read.transpose(1, 2).flatten(2).unflatten(1, (height, width)))

    x = encoder.patch_embed(pictures) + encoder.pos_embed
    for block in encoder.blocks:
        y = block.norm1(x)
        if block.window_size:
            windows, padded = modeling.window_partition(y, block.window_size)
            y = modeling.window_unpartition(attend(block.attn, windows), block.window_size, padded, x.shape[1:3])
        else:
            y = attend(block.attn, y)
        x = x + y
        x = x + block.mlp(block.norm2(x))
    return encoder.neck(x.permute(0, 3, 1, 2))


def load_package_sam(weights: str, device: torch.device, dtype: torch.dtype, compiled: bool) -> PackageNetwork:
    """Load a checkpoint of the package that was converted to safetensors, exactly.

    Raises:
        ArtefactError: if the file cannot be read or is no checkpoint of the package.
    """
    from safetensors.torch import load_file

    try:
        state = load_file(Path(weights).expanduser())
        network = build_package_sam(state)
    except (OSError, SafetensorError, KeyError, IndexError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtefactError(f"weights={weights}: is no checkpoint of the segment_anything package ({reason})") from error
    return PackageNetwork(network, device, dtype, compiled)


def build_package_sam(state: Mapping[str, Tensor], decoder_heads: int = 8) -> Any:
    """Return the package's Sam with these weights; its sizes follow from their shapes.

    Args:
        state: as in the published checkpoints.
        decoder_heads: the one number that shapes do not tell; all published checkpoints have 8.

    Raises:
        KeyError: if a weight is missing that tells a size.
        RuntimeError: if weights do not fit.
    """
    modeling = import_segment_anything().modeling
    cells, width = state["image_encoder.pos_embed"].shape[1], state["image_encoder.pos_embed"].shape[3]
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = _count(state, "image_encoder.blocks.")
    codes = [state[f"image_encoder.blocks.{number}.attn.rel_pos_h"] for number in range(depth)]
    everywhere = [number for number, code in enumerate(codes) if len(code) == 2 * cells - 1]
    out = state["image_encoder.neck.0.weight"].shape[0]
    encoder = modeling.ImageEncoderViT(
        img_size=cells * patch,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // codes[0].shape[1],
        mlp_ratio=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
        out_chans=out,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=min(len(code) + 1 for code in codes) // 2,
        global_attn_indexes=tuple(everywhere),
    )
    prompts = modeling.PromptEncoder(
        embed_dim=out,
        image_embedding_size=(cells, cells),
        input_image_size=(cells * patch, cells * patch),
        mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    )
    transformer = modeling.TwoWayTransformer(
        depth=_count(state, "mask_decoder.transformer.layers."),
        embedding_dim=out,
        num_heads=decoder_heads,
        mlp_dim=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
    )
    decoder = modeling.MaskDecoder(
        transformer_dim=out,
        transformer=transformer,
        num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        iou_head_depth=_count(state, "mask_decoder.iou_prediction_head.layers."),
        iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
    )
    network = modeling.Sam(encoder, prompts, decoder)
    network.load_state_dict(state)
    return network.eval()


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in state if name.startswith(prefix))


def import_segment_anything() -> ModuleType:
    """Import the package; it wants four functions of torchvision, which are lent to it where torchvision is missing or broken.

    Raises:
        ValueError: if the package is not installed.
    """
    with _torchvision():
        try:
            return importlib.import_module("segment_anything")
        except ModuleNotFoundError as error:
            raise ValueError(
                "source='segment_anything' needs the package segment-anything: pip install -c constraints.txt -e '.[sam]'"
            ) from error


@contextmanager
def _torchvision() -> Iterator[None]:
    """Lend the names, and take them back, so that other libraries go on seeing what is installed."""
    try:
        for name in ("torchvision.ops", "torchvision.transforms.functional"):  # no dependency of the house, so it is no import statement
            importlib.import_module(name)
    except (ImportError, RuntimeError):  # RuntimeError: a build for other hardware than torch's
        names = {
            "torchvision": {},
            "torchvision.ops": {},
            "torchvision.ops.boxes": {"batched_nms": _batched_nms, "box_area": _box_area},
            "torchvision.transforms": {},
            "torchvision.transforms.functional": {"resize": _resize, "to_pil_image": Image.fromarray},
        }
        for name, content in names.items():
            module = ModuleType(name)
            module.__dict__.update(content, __path__=[])
            sys.modules[name] = module
        try:
            yield
        finally:
            for name in names:
                del sys.modules[name]
    else:
        yield


def _batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress within each group: groups are moved so far apart that their boxes do not meet."""
    apart = idxs.to(boxes) * (boxes.max() + 1) if len(boxes) else idxs.to(boxes)
    return box_nms(boxes + apart[:, None], scores, iou_threshold)


def _box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


def reference_masks(network: Any, picture: np.ndarray, **settings: Any) -> list[dict[str, Any]]:
    """Return what the package's own generator returns for a picture [h w 3] of 8 bits."""
    return import_segment_anything().SamAutomaticMaskGenerator(network, **settings).generate(picture)
