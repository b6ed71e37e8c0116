"""Where the weights of promptable networks come from: checked at once, loaded at the first picture, once a process."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gen.artefact import ArtefactError
from gen.pretrained_folder import read_config

if TYPE_CHECKING:
    from gen.segmentation.sams.promptable import PromptableModel

Loader = Callable[[str, torch.device, torch.dtype, bool], "PromptableModel"]

_CONVERT = "python -c \"import torch, safetensors.torch as s; s.save_file(torch.load('{name}', weights_only=True), '{stem}.safetensors')\""


def refuse_bad_weights(
    weights: str, names: Mapping[str, str], kinds: Sequence[str] = (), file: bool = False, argument: str = "weights"
) -> None:
    """Refuse what cannot be a name of weights, without loading anything.

    Args:
        weights: a name of `names`, a folder, or a hub name.
        names: what is known by a short name.
        kinds: which networks it may be, as a folder's config.json calls them.
        file: they lie in a single .safetensors file instead of a folder.
        argument: what `weights` is called on the command line, for the message.

    Raises:
        ArtefactError: if it is a pickle, neither there nor a name, or a folder of another network.
    """
    path = Path(weights).expanduser()
    if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
        command = _CONVERT.format(name=path.name, stem=path.stem)
        raise ArtefactError(f"{argument}={weights}: is a pickle, which can run code; it is never loaded. Convert what you trust: {command}")
    there = path.is_file() if file else path.is_dir()
    hub_name = not file and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", weights)
    if weights not in names and not there and not hub_name:
        kinds = "a .safetensors file" if file else "a folder, a hub name"
        raise ArtefactError(f"{argument}={weights}: is not there; give {kinds}{' or one of ' if names else ''}{', '.join(names)}")
    if weights not in names and there and not file:
        kind = read_config(path / "config.json").get("model_type")
        if kind not in kinds:
            raise ArtefactError(f"{argument}={weights}: its config.json names {kind!r}; give a folder of {' or '.join(kinds)}")


def runs_on(device: str) -> torch.device:
    """Return the device that a name stands for; "auto" is a GPU where there is one, but in loader workers, which share none, the CPU.

    Raises:
        ValueError: if the device is unknown, not there, or out of this process's reach.
    """
    if device == "auto":
        in_worker = torch.utils.data.get_worker_info() is not None
        return torch.device("cuda" if torch.cuda.is_available() and not in_worker else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is unknown; use 'auto', 'cpu' or 'cuda'") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: this machine has no such device; use 'auto' or 'cpu'")
    if chosen.type == "cuda":
        try:
            torch.cuda.init()
        except RuntimeError as error:  # a process that was forked off one that uses the GPU
            reason = "a loader process cannot use the GPU that the training uses; use dataset.num_workers=0 or device=auto"
            raise ValueError(f"device={device!r}: {reason}") from error
    return chosen


def computes_in(dtype: str, device: torch.device) -> torch.dtype:
    """Return the type that a name stands for; "auto" is bf16 where the hardware multiplies it: there it is three times as fast.

    Raises:
        ValueError: if the type is unknown.
    """
    if dtype == "auto":
        capable = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_multiplies_bf16()
        return torch.bfloat16 if capable else torch.float32
    known = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if dtype not in known:
        raise ValueError(f"dtype={dtype!r} is unknown; use 'auto' or one of {', '.join(known)}")
    return known[dtype]


def _cpu_multiplies_bf16() -> bool:
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def loaded(loader: Loader, weights: str, device: str, dtype: str, compiled: bool) -> PromptableModel:
    """Return a network, the same object for the same arguments; two are kept."""
    where = runs_on(device)
    return _kept(loader, weights, where, computes_in(dtype, where), compiled)


@lru_cache(maxsize=2)
def _kept(loader: Loader, weights: str, device: torch.device, dtype: torch.dtype, compiled: bool) -> PromptableModel:
    with torch.random.fork_rng(devices=[]):  # some networks are first filled with random numbers, which no training should miss
        return loader(weights, device, dtype, compiled)
