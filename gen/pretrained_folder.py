"""Folders of published weights, on this disk or from the hub: found, and their networks loaded whole or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gen.artefact import ArtefactError

_PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")


def pretrained_folder(weights: str, parts: Sequence[str], argument: str = "weights") -> Path:
    """Return the folder that a name stands for.

    Args:
        weights: a folder on this disk, or a hub name such as "stable-diffusion-v1-5/stable-diffusion-v1-5"; of a hub name only what the
            parts need is downloaded, and nothing if HF_HUB_OFFLINE is set.
        parts: subfolders that are wanted, e.g. "unet"; "" is the folder itself.
        argument: what `weights` is called on the command line, for the message.

    Raises:
        ArtefactError: if there is no such folder and the hub does not give one.
    """
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    prefixes = [f"{part}/" if part else "" for part in parts]
    endings = ("*.json", "merges.txt", "model*.safetensors", "diffusion_pytorch_model*.safetensors")
    wanted = [prefix + ending for prefix in prefixes for ending in endings]
    try:
        return Path(snapshot_download(weights, allow_patterns=wanted, ignore_patterns=["*.fp16*", "*.non_ema*"]))
    except (OSError, HfHubHTTPError, HFValidationError) as error:  # OSError: no network, or offline and not in the cache
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtefactError(
            f"{argument}={weights}: is no folder on this disk, and the hub does not give it ({reason}); fetch it where there is a network, "
            f"`hf download {weights}`, and give the folder"
        ) from error


def read_config(path: Path) -> dict[str, Any]:
    """Return a part's JSON config.

    Raises:
        ArtefactError: if it is missing or no JSON object.
    """
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); a folder of diffusers or transformers has it") from error
    if not isinstance(config, dict):
        raise ArtefactError(f"{path}: is not a JSON object")
    return config


def load_network(folder: Path, known: Mapping[str, Any]) -> Any:
    """Load a diffusers or transformers network whose weights fit it exactly, in fp32; nothing is unpickled.

    Both libraries would fill what is missing or has another shape with random numbers, and go on.

    Args:
        folder: with config.json and safetensors.
        known: the classes that it may be, by name; a folder of a single one need not name it.

    Raises:
        ArtefactError: if it is none of the classes, has no safetensors, or naming the first missing, superfluous and mismatched weights
            with their shapes.
    """
    config = read_config(folder / "config.json")
    name: Any = config.get("_class_name") or (next(iter(known)) if len(known) == 1 else None)
    if name not in known:
        raise ArtefactError(f"{folder}: its config.json names {name!r}; give a folder of {' or '.join(known)}")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            remedy = "which can run code and is never loaded; convert it with safetensors.torch.save_file"
            raise ArtefactError(f"{folder}: holds only {pickles[0]}, a pickle, {remedy}")
        raise ArtefactError(f"{folder}: holds no safetensors")
    try:
        network, found = known[name].from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,  # else diffusers stops at the first fault, with advice to ignore it
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtefactError(f"{folder}: cannot be loaded as {name} ({error})") from error
    own = network.state_dict()
    faults = [f"missing {key} {list(own[key].shape)}" for key in found["missing_keys"]]
    faults += [f"superfluous {key}" for key in found["unexpected_keys"]]
    faults += [f"{key} is {list(there)} where the architecture has {list(here)}" for key, there, here in found["mismatched_keys"]]
    if faults:
        more = f", and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ArtefactError(f"{folder}: does not fit {name}: {'; '.join(sorted(faults)[:5])}{more}")
    return network.float()
