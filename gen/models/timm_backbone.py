"""TimmBackbone: a vision transformer or a ResNet from the timm library as an image backbone."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.nn as nn
from jaxtyping import Float
from torch import Tensor

from gen.models.pretrained_backbone import PretrainedBackbone, resolve_layers

if TYPE_CHECKING:
    from types import ModuleType

# What says where weights come from, or what we decide ourselves; the rest of timm's arguments describe a network.
_NOT_ARCHITECTURE = {
    *(
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "pretrained_model_args",
        "pretrained_strict",
        "checkpoint_path",
        "cache_dir",
    ),
    *("features_only", "feature_cls", "out_indices", "in_chans", "dynamic_img_size", "scriptable", "exportable", "no_jit", "pruned"),
}


class TimmBackbone(PretrainedBackbone):
    """Any vision transformer (EVA and DINOv3 among them) or ResNet that timm knows.

    Class and register tokens are dropped; the patches of every chosen layer pass the network's final layer norm (ResNet has none). Position
    embeddings are interpolated to the image's size. Layers after the last chosen one are left out. timm requires torchvision.

    Args:
        name: timm's name of the network, such as vit_small_patch14_dinov2.lvd142m or resnet50.a1_in1k.
        weights: "pretrained" takes timm's own from the model hub or its local cache; or a .safetensors file of the same network, as timm
            saves it; or "random" (None is the same).
        layers: which layers (of a ResNet: 0 is the stem, 1 to 4 are the stages) give a map, counted from 0, or from the end with -1, -2,
            ...; None is the last one.
        in_channels: 4 (RGB and what is known), or 6 with coordinates.
        architecture: what differs from the named network, such as {embed_dim: 384, depth: 6}.

    Source: Wightman 2019, github.com/huggingface/pytorch-image-models.
    """

    def __init__(
        self,
        name: str = "vit_small_patch14_dinov2.lvd142m",
        weights: str | None = "pretrained",
        layers: list[int] | None = None,
        in_channels: int = 4,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        network = _network(_timm(), name, weights, architecture or {})
        chosen = resolve_layers(layers, len(network.feature_info))
        network.prune_intermediate_layers(chosen)
        grids = network.feature_info
        multiple = network.patch_embed.patch_size[0] if hasattr(network, "patch_embed") else grids[chosen[-1]]["reduction"]
        super().__init__(network, (network.pretrained_cfg["mean"], network.pretrained_cfg["std"]), multiple, in_channels)
        self.layers, self.widths = chosen, [grids[layer]["num_chs"] for layer in chosen]
        self.config.update(weights=None, layers=chosen)

    @property
    def uses_all_parameters(self) -> bool:
        """Whether all of timm's many networks have no parts that these layers do without: nobody knows."""
        return False

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Run the network on an image whose RGB is normalised."""
        return self.network.forward_intermediates(image, indices=self.layers, norm=True, stop_early=True, intermediates_only=True)

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, or the stages without the stem."""
        if hasattr(self.network, "blocks"):
            return nn.ModuleList(self.network.blocks)
        return nn.ModuleList(self.network.get_submodule(f"layer{stage}") for stage in range(1, self.layers[-1] + 1))


def _timm() -> ModuleType:
    """Import timm.

    Raises:
        ValueError: if it, or the torchvision that it needs, is not there or does not work.
    """
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch raises RuntimeError
        raise ValueError(
            "model.region_encoder.backbone: TimmBackbone needs timm and a torchvision that fits the installed torch: `pip install "
            f"torchvision timm -c constraints.txt` on a machine with CUDA, or take TransformersBackbone ({error})"
        ) from error
    return timm


def _network(timm: ModuleType, name: str, weights: str | None, architecture: dict[str, Any]) -> Any:
    """Build a network and load its weights.

    Raises:
        ValueError: if timm has no such network, it is of another kind, or its weights cannot be found or do not fit.
    """
    place = "model.region_encoder.backbone"
    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models())) or "timm.list_models()"
        raise ValueError(f"{place}.name={name}: timm has no such network; it has {near}")
    if refused := sorted(_NOT_ARCHITECTURE & architecture.keys()):
        raise ValueError(f"{place}.architecture={architecture}: {', '.join(refused)} is no part of a network's architecture; leave it out")
    family = timm.models.model_entrypoint(name).__module__
    if family not in ("timm.models.vision_transformer", "timm.models.eva", "timm.models.resnet"):
        raise ValueError(f"{place}.name={name}: is no vision transformer and no ResNet but of {family}; take one of these")
    arguments = {**architecture} if family == "timm.models.resnet" else {**architecture, "dynamic_img_size": True}
    if weights is not None and weights != "random":
        arguments.update(pretrained=True, pretrained_cfg_overlay={"file": _weights_file(timm, name, weights)})
    try:
        return timm.create_model(name, **arguments)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{place}.name={name}, weights={weights}, architecture={architecture}: do not fit: {reason}") from error


def _weights_file(timm: ModuleType, name: str, weights: str) -> str:
    """Return the path of a safetensors file.

    Raises:
        ValueError: if there is none.
    """
    from huggingface_hub import hf_hub_download

    place = f"model.region_encoder.backbone.weights={weights}"
    if weights != "pretrained":
        if Path(weights).suffix != ".safetensors" or not Path(weights).is_file():
            raise ValueError(f"{place}: is no .safetensors file; give one, or pretrained, or random")
        return weights
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    if not repository:
        raise ValueError(f"{place}: timm has no safetensors weights of {name}; name one that has some (timm.list_pretrained())")
    try:
        return hf_hub_download(repository, "model.safetensors")
    except OSError as error:
        raise ValueError(
            f"{place}: {repository}/model.safetensors is neither on the model hub nor in its local cache; give a local .safetensors file, "
            f"or weights=random ({str(error).splitlines()[0]})"
        ) from error
