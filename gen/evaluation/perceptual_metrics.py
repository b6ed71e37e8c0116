"""How alike pictures look to published networks: LPIPS, CLIP and DINO similarity; refused, never replaced, where weights are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gen.artefact import ArtefactError
from gen.pretrained_folder import load_network, pretrained_folder, read_config
from image_utils.convert import to_pil

_BATCH = 32
_LPIPS_SMALLEST = 32  # pixels that its networks' strides and poolings leave something of
_UNCHANGED = 1e-5  # length of a change of unit vectors that is rounding
_DINO = {  # model_type -> transformers' class
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
}


@dataclass(frozen=True)
class Comparison:
    """What metrics compare; each takes what it needs and refuses where that is None.

    Attributes:
        images: edited pictures, in [-1, 1].
        truth: what they should be, in [-1, 1].
        source: what they were before the edit, in [-1, 1].
        caption: what each edited picture should show.
        source_caption: what each source shows.
    """

    images: Float[Tensor, "b 3 h w"]
    truth: Float[Tensor, "b 3 h w"] | None = None
    source: Float[Tensor, "b 3 h w"] | None = None
    caption: list[str] | None = None
    source_caption: list[str] | None = None


@runtime_checkable
class PerceptualMetric(Protocol):
    """One figure a picture.

    Attributes:
        name: in tables.
        unit: with its range and its better end.
    """

    name: str
    unit: str

    def __call__(self, comparison: Comparison) -> Float[Tensor, " b"]:
        """Return the figure of every picture.

        Raises:
            ValueError: if the comparison lacks what the metric needs.
        """
        ...


class Lpips:
    """The learned distance between edited pictures and the truth.

    Args:
        weights: a .safetensors file of the whole `lpips.LPIPS(net=network)`.
        network: "alex", "vgg" or "squeeze", as the weights were trained.
        device: where it runs.

    Raises:
        ArtefactError: if the file is missing or does not fit.
        ValueError: if the package lpips, or the torchvision that it needs, is missing, or it has no such network.

    Source: Zhang et al. 2018, arXiv 1801.03924, equation 1.
    """

    name = "LPIPS"
    unit = "distance, from 0 (identical); lower is more alike"

    def __init__(self, weights: str | Path, network: str = "alex", device: torch.device | str = "cpu") -> None:
        if network not in ("alex", "vgg", "squeeze"):
            raise ValueError(f"network={network!r} of LPIPS: choose alex, vgg or squeeze")
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ArtefactError(
                f"{path}: no such file, so there is no LPIPS; where there is a network write it with: import lpips; from safetensors.torch "
                f"import save_model; save_model(lpips.LPIPS(net='{network}'), 'lpips_{network}.safetensors')"
            )
        self.device = torch.device(device)
        self._network: Any = _lpips(path, network).to(self.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, comparison: Comparison) -> Float[Tensor, " b"]:
        """Return the distances between images and truth.

        Raises:
            ValueError: if there is no truth, or the pictures are smaller than the network can look at.
        """
        images, truth = comparison.images, _needed(comparison, "truth", self.name)
        if min(images.shape[-2:]) < _LPIPS_SMALLEST:
            size = "x".join(str(side) for side in images.shape[-2:])
            raise ValueError(f"LPIPS of pictures of {size} pixels: it needs {_LPIPS_SMALLEST} a side at least; compare larger pictures")
        parts = zip(images.split(_BATCH), truth.split(_BATCH), strict=True)
        pairs = ([part.float().clamp(-1, 1).to(self.device) for part in pair] for pair in parts)
        return torch.cat([self._network(*pair, normalize=False).flatten().cpu() for pair in pairs])  # its own range is [-1, 1]


class Clip:
    """CLIP's embeddings of pictures and texts, as vectors of length 1; called with pictures it is a feature extractor.

    Pictures are rounded to 8 bits and then resized, cropped and normalised by the image processor that the folder describes.

    Args:
        weights: folder as transformers saves it (config, image processor, tokenizer, safetensors), or hub name.
        device: where it runs.

    Raises:
        ArtefactError: if a part cannot be found or does not fit, naming it.

    Source: Radford et al. 2021, arXiv 2103.00020.
    """

    def __init__(self, weights: str | Path = "openai/clip-vit-large-patch14", device: torch.device | str = "cpu") -> None:
        from transformers import AutoTokenizer, CLIPModel

        folder = pretrained_folder(str(weights), ("",), "weights of CLIP")
        _check_kind(folder, ("clip",))
        self.device, self._processor = torch.device(device), _image_processor(folder)
        self._network: Any = load_network(folder, {"CLIPModel": CLIPModel}).to(self.device).eval().requires_grad_(False)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"{folder}: has no tokenizer that can be read ({_first_line(error)}); copy the whole folder") from error
        words, wanted = len(self._tokenizer), self._network.config.text_config.vocab_size
        if not 2 < words <= wanted:  # without its files transformers gives one of the special tokens alone, and no error
            raise ArtefactError(f"{folder}: its tokenizer has {words} tokens where the text encoder has {wanted}; copy the whole folder")

    @torch.inference_mode()
    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f"]:
        """Return the embeddings of pictures in [-1, 1]."""
        embedded = [self._network.get_image_features(part).pooler_output for part in _model_inputs(self._processor, images, self.device)]
        return F.normalize(torch.cat(embedded).float(), dim=-1).cpu()

    @torch.inference_mode()
    def texts(self, captions: list[str]) -> Float[Tensor, "b f"]:
        """Return the embeddings of texts, cut to CLIP's context."""
        length = self._network.config.text_config.max_position_embeddings
        tokens = self._tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt").to(self.device)
        return F.normalize(self._network.get_text_features(**tokens).pooler_output.float(), dim=-1).cpu()


class Dino:
    """The class token of DINOv2 (with or without registers) or DINOv3, as vectors of length 1: a feature extractor.

    Pictures are rounded to 8 bits and then resized, cropped and normalised by the image processor that the folder describes.

    Args:
        weights: folder as transformers saves it (config, image processor, safetensors), or hub name.
        device: where it runs.

    Raises:
        ArtefactError: if a part cannot be found or does not fit, naming it.

    Source: Oquab et al. 2023, arXiv 2304.07193; Simeoni et al. 2025, arXiv 2508.10104.
    """

    def __init__(self, weights: str | Path = "facebook/dinov2-base", device: torch.device | str = "cpu") -> None:
        import transformers

        folder = pretrained_folder(str(weights), ("",), "weights of DINO")
        name = _DINO[_check_kind(folder, tuple(_DINO))]
        self.device, self._processor = torch.device(device), _image_processor(folder)
        self._network: Any = load_network(folder, {name: getattr(transformers, name)}).to(self.device).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f"]:
        """Return the class tokens of pictures in [-1, 1]."""
        tokens = [self._network(part).last_hidden_state[:, 0] for part in _model_inputs(self._processor, images, self.device)]
        return F.normalize(torch.cat(tokens).float(), dim=-1).cpu()


class ClipImageSimilarity:
    """Cosine between the CLIP embeddings of the edited picture and of the truth."""

    name = "CLIP image"
    unit = "cosine, -1 to 1 (identical); higher is more alike"

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def __call__(self, comparison: Comparison) -> Float[Tensor, " b"]:
        """Compare images and truth."""
        return _cosine(self.clip(comparison.images), self.clip(_needed(comparison, "truth", self.name)))


class ClipTextSimilarity:
    """Cosine between the CLIP embeddings of the edited picture and of the caption that describes it ("CLIP out").

    The plain cosine: neither scaled by 100 or 2.5, nor cut at 0 as CLIPScore is (Hessel et al. 2021, arXiv 2104.08718).
    """

    name = "CLIP out"
    unit = "cosine, -1 to 1; higher fits the caption better"

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def __call__(self, comparison: Comparison) -> Float[Tensor, " b"]:
        """Compare images and caption."""
        return _cosine(self.clip(comparison.images), self.clip.texts(_needed(comparison, "caption", self.name)))


class ClipDirectionalSimilarity:
    """Cosine between how the picture changed and how its caption changed, in CLIP's space of unit vectors.

    Source: Gal et al. 2021, arXiv 2108.00946 (StyleGAN-NADA), equation 2.
    """

    name = "CLIP directional"
    unit = "cosine, -1 to 1; higher changed as the captions did; 0 for a picture that did not change"

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def __call__(self, comparison: Comparison) -> Float[Tensor, " b"]:
        """Compare the change from source to images with that from source caption to caption; 0 where the picture did not change.

        Raises:
            ValueError: if something is missing, or a caption is the same as its source's.
        """
        source, before, after = (_needed(comparison, part, self.name) for part in ("source", "source_caption", "caption"))
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            if one == other:
                raise ValueError(f"{self.name} of picture {number}: both captions are {one!r}, which is no change; leave this picture out")
        change = self.clip(comparison.images) - self.clip(source)
        cosine = F.cosine_similarity(change, self.clip.texts(after) - self.clip.texts(before), dim=-1)
        return torch.where(change.norm(dim=-1) < _UNCHANGED, 0.0, cosine)


class DinoSimilarity:
    """Cosine between the DINO class tokens of the edited picture and of the truth."""

    name = "DINO image"
    unit = "cosine, -1 to 1 (identical); higher is more alike"

    def __init__(self, dino: Dino) -> None:
        self.dino = dino

    def __call__(self, comparison: Comparison) -> Float[Tensor, " b"]:
        """Compare images and truth."""
        return _cosine(self.dino(comparison.images), self.dino(_needed(comparison, "truth", self.name)))


def _needed(comparison: Comparison, part: str, metric: str) -> Any:
    """Return a part of a comparison.

    Raises:
        ValueError: if it is not there.
    """
    value = getattr(comparison, part)
    if value is None:
        raise ValueError(f"{metric}: the comparison has no {part}; give Comparison({part}=...)")
    return value


def _cosine(features: Float[Tensor, "b f"], others: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
    return (features * others).sum(-1).clamp(-1, 1)


def _lpips(path: Path, network: str) -> Any:
    """Build the package's network with weights from a safetensors file; nothing is downloaded.

    Raises:
        ArtefactError: if the weights do not fit.
        ValueError: if the package cannot be imported.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        import lpips
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch raises RuntimeError
        raise ValueError(
            "LPIPS needs the package lpips and a torchvision that fits the installed torch: `pip install torchvision lpips -c "
            f"constraints.txt` on a machine with CUDA, or take DinoSimilarity ({error})"
        ) from error
    model = lpips.LPIPS(net=network, pretrained=False, pnet_rand=True, verbose=False)
    try:
        load_model(model, path, strict=True)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ArtefactError(f"{path}: does not fit lpips.LPIPS(net='{network}'): {reason}") from error
    return model


def _check_kind(folder: Path, kinds: tuple[str, ...]) -> str:
    """Return a folder's model type.

    Raises:
        ArtefactError: if it is none of `kinds`.
    """
    found = read_config(folder / "config.json").get("model_type")
    if found not in kinds:
        raise ArtefactError(f"{folder}: its config.json names model_type {found!r}; give a folder of {' or '.join(kinds)}")
    return str(found)


def _image_processor(folder: Path) -> Any:
    """Read how pictures are made a model's inputs; always by way of PIL, so that figures do not depend on torchvision being there.

    Raises:
        ArtefactError: if the folder does not say it, or the processor needs a package that is not there.
    """
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError, ImportError) as error:
        raise ArtefactError(
            f"{folder}: has no image processor that can be read ({_first_line(error)}); it needs the model's own preprocessor_config.json, "
            "and torchvision where that processor knows nothing else"
        ) from error


def _model_inputs(processor: Any, images: Float[Tensor, "b 3 h w"], device: torch.device) -> list[Tensor]:
    """Return batches of what the model takes."""
    pictures = [to_pil(image) for image in images]
    batches = [pictures[start : start + _BATCH] for start in range(0, len(pictures), _BATCH)]
    return [processor(batch, return_tensors="pt").pixel_values.to(device) for batch in batches]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
