"""PretrainedBackbone: an RGB network as an image backbone; TransformersBackbone takes it from the transformers library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gen.models.image_backbone import ImageBackbone, check_in_channels

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ModelType = Literal["dinov2", "dinov2_with_registers", "dinov3_vit", "clip_vision_model", "siglip_vision_model", "resnet"]

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class _Family:
    """A kind of network that we know how to read."""

    config: str
    model: str
    mean_std: tuple[Sequence[float], Sequence[float]]
    norm: str | None = None  # the layer norm after the last layer
    interpolates: bool = False  # asks to be told to interpolate its position embeddings


_FAMILIES: dict[str, _Family] = {
    "dinov2": _Family("Dinov2Config", "Dinov2Model", _IMAGENET, "layernorm"),
    "dinov2_with_registers": _Family("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel", _IMAGENET, "layernorm"),
    "dinov3_vit": _Family("DINOv3ViTConfig", "DINOv3ViTModel", _IMAGENET, "norm"),
    "clip_vision_model": _Family("CLIPVisionConfig", "CLIPVisionModel", _CLIP, "post_layernorm", True),
    "siglip_vision_model": _Family("SiglipVisionConfig", "SiglipVisionModel", _HALF, "post_layernorm", True),
    "resnet": _Family("ResNetConfig", "ResNetModel", _IMAGENET),
}
_WHOLE = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}  # image and text together: we take the image half
# What we decide ourselves, and what only transformers' own backbone classes read.
_NOT_OURS = ("num_channels", "vision_use_head", "stage_names", "out_features", "out_indices", "apply_layernorm", "reshape_hidden_states")


class PretrainedBackbone(ImageBackbone):
    """An RGB network that starts as it was trained: every channel beyond RGB enters through weights that are zero at first.

    An image whose sides are no multiples of the network's own is resized to the nearest multiple, bilinearly. Batch norms keep their
    statistics, so that what one picture gives does not depend on the others in its batch.

    Args:
        network: its first convolution takes normalised RGB.
        mean_std: of the network's training images, a number a channel, for RGB in [0, 1].
        multiple: pixels a side of the patches, or of the cells of the coarsest map.
        in_channels: 4 (RGB and what is known), or 6 with coordinates.
    """

    network: Any
    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, mean_std: tuple[Sequence[float], Sequence[float]], multiple: int, in_channels: int) -> None:
        super().__init__()
        check_in_channels(in_channels)
        self.in_channels, self.multiple = in_channels, multiple
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in mean_std)
        self.register_buffer("scale", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)
        path, conv = next((path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d))
        network.set_submodule(path, WidenedConv(conv, in_channels - 3))
        self.always_trained = frozenset({f"network.{path}.extra."})
        self.network = network
        self.train()

    def forward(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return the maps of the chosen layers."""
        size = [max(1, round(side / self.multiple)) * self.multiple for side in image.shape[-2:]]
        if size != list(image.shape[-2:]):
            image = F.interpolate(image, size, mode="bilinear")
        return self.maps(torch.cat([image[:, :3] * self.scale + self.shift, image[:, 3:]], 1))

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Run the network on an image whose RGB is normalised."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> PretrainedBackbone:
        """Set the mode of everything but batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class WidenedConv(nn.Module):
    """A convolution of RGB, plus one of the same geometry, zero at first, of all further channels.

    Args:
        rgb: the trained one.
        extra_channels: beyond RGB.
    """

    def __init__(self, rgb: nn.Conv2d, extra_channels: int) -> None:
        super().__init__()
        self.rgb = rgb
        self.extra = nn.Conv2d(extra_channels, rgb.out_channels, rgb.kernel_size, rgb.stride, rgb.padding, bias=False)  # type: ignore[arg-type]
        nn.init.zeros_(self.extra.weight)

    @property
    def weight(self) -> Tensor:
        """The trained weights, whose dtype networks ask for."""
        return self.rgb.weight

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d g2 g3"]:
        """Return the sum of both."""
        return self.rgb(image[:, :3]) + self.extra(image[:, 3:])


class TransformersBackbone(PretrainedBackbone):
    """DINOv2 (with or without registers), DINOv3, CLIP, SigLIP or ResNet, from a name, a folder, or with random weights.

    CLS and register tokens are dropped; the patches of every chosen layer pass the network's final layer norm (ResNet has none). Position
    embeddings are interpolated to the image's size. Layers after the last chosen one are left out.

    Args:
        weights: a name on the model hub, a local folder as transformers saves it (safetensors), or "random" (None is the same).
        model_type: the kind of network: needed with random weights, otherwise read from the weights' config.json.
        layers: which layers (of a ResNet: stages) give a map, counted from 0, or from the end with -1, -2, ...; None is the last one.
        in_channels: 4 (RGB and what is known), or 6 with coordinates.
        architecture: with random weights, what differs from transformers' defaults, such as {hidden_size: 384, num_hidden_layers: 6}.

    Source: Oquab et al. 2023, arXiv 2304.07193 (DINOv2); Darcet et al. 2023, arXiv 2309.16588 (registers); Simeoni et al. 2025, arXiv
    2508.10104 (DINOv3); Radford et al. 2021, arXiv 2103.00020 (CLIP); Zhai et al. 2023, arXiv 2303.15343 (SigLIP); He et al. 2015, arXiv
    1512.03385 (ResNet).
    """

    def __init__(
        self,
        weights: str | None = "facebook/dinov2-small",
        model_type: ModelType | None = None,
        layers: list[int] | None = None,
        in_channels: int = 4,
        architecture: dict[str, Any] | None = None,
    ) -> None:
        if weights is None or weights == "random":
            network, kind = _random_network(model_type, architecture or {})
        else:
            network, kind = _pretrained_network(weights, model_type, architecture)
        network = getattr(network, "vision_model", network)  # older transformers wrap CLIP's and SigLIP's once more
        family, config = _FAMILIES[kind], network.config
        blocks = next(module for module in network.modules() if isinstance(module, nn.ModuleList))
        chosen = resolve_layers(layers, len(blocks))
        del blocks[chosen[-1] + 1 :]
        if hasattr(network, "embeddings"):
            network.embeddings.mask_token = None  # stands for hidden patches in pre-training: it would never get a gradient
        if getattr(network, "use_head", False):
            network.use_head = False  # SigLIP's pooling: likewise
            del network.head
        for module in network.modules():
            if getattr(module, "num_channels", None) == 3:
                module.num_channels = in_channels  # some networks count the image's channels
        patch = 4 * 2 ** (chosen[-1] + config.downsample_in_first_stage) if kind == "resnet" else config.patch_size
        super().__init__(network, family.mean_std, patch, in_channels)
        self.layers, self.family = chosen, family
        self.widths = [config.hidden_sizes[layer] if kind == "resnet" else config.hidden_size for layer in chosen]
        # The folder says how to build the same network without its weights: it never downloads.
        self.config.update(weights=None, model_type=kind, layers=chosen, architecture=_described(config))

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Run the network on an image whose RGB is normalised."""
        options = {"interpolate_pos_encoding": True} if self.family.interpolates else {}
        states = self.network(image, output_hidden_states=True, **options).hidden_states
        chosen = [states[layer + 1] for layer in self.layers]
        if self.family.norm is None:
            return chosen
        norm = getattr(self.network, self.family.norm)
        rows, columns = (side // self.multiple for side in image.shape[-2:])
        return [norm(state)[:, -rows * columns :].mT.unflatten(-1, (rows, columns)) for state in chosen]

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers or stages."""
        return next(module for module in self.network.modules() if isinstance(module, nn.ModuleList))


def resolve_layers(layers: list[int] | None, count: int) -> list[int]:
    """Return the chosen layers counted from 0, in ascending order; None is the last one.

    Raises:
        ValueError: if the network has no such layer, or none is chosen.
    """
    chosen = [-1] if layers is None else list(layers)
    if not chosen or not all(-count <= layer < count for layer in chosen):
        raise ValueError(f"model.region_encoder.backbone.layers={layers}: choose from 0..{count - 1} (or -{count}..-1, from the end)")
    return sorted({layer % count for layer in chosen})


def _random_network(model_type: str | None, architecture: dict[str, Any]) -> tuple[PreTrainedModel, str]:
    """Build a network with random weights.

    Raises:
        ValueError: if there is no such type, or it has no such argument.
    """
    import transformers

    place = "model.region_encoder.backbone"
    if model_type not in _FAMILIES:
        raise ValueError(f"{place}.model_type={model_type}: random weights need one of {', '.join(_FAMILIES)}")
    config = getattr(transformers, _FAMILIES[model_type].config)()
    known = _described(config)
    unknown = sorted(architecture.keys() - known.keys())
    if unknown:
        raise ValueError(f"{place}.architecture={architecture}: a {model_type} has no {', '.join(unknown)}; it has {', '.join(known)}")
    config = _settled(type(config)(**{**known, **architecture}))
    return getattr(transformers, _FAMILIES[model_type].model)(config), model_type


def _pretrained_network(weights: str, model_type: str | None, architecture: dict[str, Any] | None) -> tuple[PreTrainedModel, str]:
    """Load a network by name or from a folder.

    Raises:
        ValueError: if it cannot be found, is of a kind that we do not know or not of the given kind, or lacks weights.
    """
    import transformers

    place = f"model.region_encoder.backbone.weights={weights}"
    if architecture:
        raise ValueError(f"{place}: pretrained weights bring their architecture; leave backbone.architecture out, or take weights=random")
    with _explained(place):
        found = str(transformers.PretrainedConfig.get_config_dict(weights)[0]["model_type"])
    kind = _WHOLE.get(found, found)
    if kind not in _FAMILIES or model_type not in (None, kind):
        raise ValueError(f"{place}: is a {found}, wanted is {model_type or 'one of ' + ', '.join(_FAMILIES)}")
    with _explained(place):
        config = _settled(getattr(transformers, _FAMILIES[kind].config).from_pretrained(weights))
        network, report = getattr(transformers, _FAMILIES[kind].model).from_pretrained(
            weights, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    if report["missing_keys"]:
        raise ValueError(f"{place}: lacks weights of a {kind}: {', '.join(sorted(report['missing_keys'])[:5])}; take whole weights")
    return network, kind


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Say in short what was looked for.

    Raises:
        ValueError: instead of what transformers raises where it finds nothing that it can read.
    """
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{place}: neither a folder nor, on the model hub or in its local cache, a model of that name with a config.json and "
            f"safetensors weights that can be read; give a local folder that has them, or weights=random with a model_type "
            f"({(str(error).splitlines() or [''])[0]})"
        ) from error


def _settled(config: PretrainedConfig) -> PretrainedConfig:
    """Turn off DINOv3's random changes of positions while training: randomness follows from the sample alone."""
    for name in ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale"):
        if hasattr(config, name):
            setattr(config, name, None)
    return config


def _described(config: PretrainedConfig) -> dict[str, Any]:
    """Return what makes this kind of network as JSON values: no path, no left-overs, nothing that could make transformers fetch code."""
    from transformers import PretrainedConfig

    values, own = config.to_dict(), type(config)().to_dict().keys() - PretrainedConfig().to_dict().keys() - set(_NOT_OURS)
    return {name: values[name] for name in values if name in own}
