"""Short answers to mistakes on the command line: which key, in which group, and the nearest valid one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError
from pydantic import ValidationError

from configs.store import Config
from gen.artefact import ArtefactError
from gen.data.mixture import PartError
from gen.training.run_folder import RunFolderError
from gen.training.trainer import TrainerError

NOISE = ("object_type=", "reference_type=", "full_key:", "To append", "Error merging override", "See https")


class UnknownKeyError(ValueError):
    """A key that `+` would have added and that nothing reads."""


def refuse_added_keys(config: DictConfig) -> None:
    """Refuse what `+key=value` added at the top: mostly a misspelt `+experiment` or `+mode`.

    Raises:
        UnknownKeyError: naming the key and the nearest group.
    """
    known = {field.name for field in fields(Config)}
    for key in map(str, config):
        if key not in known:
            nearest = difflib.get_close_matches(key, ["experiment", "mode", *known], n=1, cutoff=0.5)
            hint = f"; did you mean +{nearest[0]}=?" if nearest else ""
            raise UnknownKeyError(f"+{key}: the config has no key or group '{key}'{hint}")


def explain(error: Exception, words: Sequence[str]) -> str | None:
    """Answer whatever a command line, a run folder or a machine can have wrong; None if the program itself is broken.

    Args:
        error: what was raised while the config was composed, its parts were built, or the training was begun.
        words: of the command line, as after train.py.
    """
    if isinstance(error, InstantiationException):
        return _explain_instantiation(error, words)
    if isinstance(error, HydraException):
        return _explain_composition(error, words)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}: has no value; give {error.full_key}=..."
    if isinstance(error, UnknownKeyError | ArtefactError | RunFolderError | TrainerError):
        return str(error)
    return None


def _explain_composition(error: HydraException, words: Sequence[str]) -> str:
    """Answer an unknown key, group or entry, or a value of the wrong type."""
    cause = error.__cause__
    full_key = getattr(cause, "full_key", None)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and full_key:
        return _unknown_key(str(full_key), words)
    text = f"{error}\n{cause or ''}".split("Config search path")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(NOISE)]
    return ": ".join([full_key, *lines] if full_key else []) or "\n".join(lines)


def _explain_instantiation(error: InstantiationException, words: Sequence[str]) -> str | None:
    """Answer a value that a constructor refused; None if the constructor itself is broken."""
    cause = error.__cause__
    found = re.search(r"full_key: (\S+)", str(error))
    group = found.group(1) if found else ""
    if isinstance(cause, PartError) and isinstance(cause.__cause__, ValidationError):
        group, cause = cause.key, cause.__cause__
    if isinstance(cause, ValidationError):
        return "\n".join(_invalid(group, entry, words) for entry in cause.errors())
    return str(cause) if isinstance(cause, ValueError) else None


def _invalid(group: str, entry: Any, words: Sequence[str]) -> str:
    key = ".".join(str(part) for part in (group, *entry["loc"]) if part != "")
    if entry["type"].startswith("missing"):
        return f"{key}: has no value; give {key}=..."
    if entry["type"].startswith("unexpected"):
        return _unknown_key(key, words)
    return f"{key}={entry['input']}: {entry['msg']}"


def _unknown_key(full_key: str, words: Sequence[str]) -> str:
    """Name the group that lacks the key, and its nearest valid key."""
    *parents, key = full_key.split(".")
    config = _compose_choices(words)
    where = ".".join(parents)
    group = OmegaConf.select(config, where) if parents else config
    keys = sorted(str(name) for name in group if not str(name).startswith("_")) if isinstance(group, DictConfig) else []
    nearest = [".".join([*parents, name]) for name in difflib.get_close_matches(key, keys, n=1, cutoff=0.6)]
    elsewhere = [path for path in _paths(config) if path.split(".")[-1] == key]
    guesses = nearest or elsewhere
    hint = f"; did you mean {guesses[0]}?" if guesses else ""
    named = f"the group '{where}'" if where else "the config"
    return f"{full_key}: {named} has no key '{key}'{hint}" + (f"\n{named} has: {', '.join(keys)}" if keys else "")


def _compose_choices(words: Sequence[str]) -> DictConfig:
    """Compose again with only the chosen group entries of the command line: they decide which keys are valid."""
    choices = [word for word in words if re.fullmatch(r"\+?[\w/]+(@[\w.]+)?=[\w/]+", word)]
    GlobalHydra.instance().clear()
    with initialize(config_path=None, version_base="1.3"):
        try:
            return compose("config", choices)
        except ConfigCompositionException:  # the mistake is among the choices
            return compose("config")


def _paths(config: DictConfig, prefix: str = "") -> list[str]:
    """List every key, dotted."""
    found = []
    for name in map(str, config):
        found.append(f"{prefix}{name}")
        if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name):
            continue
        child = config[name]
        found += _paths(child, f"{prefix}{name}.") if isinstance(child, DictConfig) else []
    return found
