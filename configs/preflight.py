"""Check trainings before they are handed to a machine: python -m configs.preflight < trainings.json; reads no pretrained weights."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize
from hydra.errors import HydraException
from hydra_zen import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs import build_store
from configs.checks import checked
from configs.mistakes import explain, refuse_added_keys
from gen.training.run_folder import RunFolderError, folder_of, refuse_another_config


def main() -> int:
    """Read a JSON list of trainings, each a list of words as after train.py; print what they are, or what is wrong with them.

    With the option --groups, print instead every group of the command line with its entries.

    Returns:
        0 if all are right; standard output then holds, for each, its exp, folder and max_train_steps. 2 otherwise; standard error then
        holds a message for each that is wrong, with its number and its words.
    """
    store = build_store()
    store.add_to_hydra_store(overwrite_ok=True)
    if "--groups" in sys.argv[1:]:
        groups: dict[str, list[str]] = {}
        for entry in store:
            if entry["group"] and not entry["group"].startswith("hydra"):
                groups.setdefault(entry["group"], []).append(entry["name"])
        print(json.dumps(groups))
        return 0
    found: list[dict[str, Any]] = []
    mistakes: list[str] = []
    built: set[str] = set()
    for number, words in enumerate(json.load(sys.stdin)):
        try:
            found.append(_check(words, built))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            message = explain(error, words)
            if message is None:
                raise
            mistakes.append(f"{number}: {' '.join(words)}\n{message}")
    print("\n".join(mistakes), file=sys.stderr, end="\n" if mistakes else "")
    if not mistakes:
        print(json.dumps(found))
    return 2 if mistakes else 0


def _check(words: list[str], built: set[str]) -> dict[str, Any]:
    """Compose one training and build its parts; a model that reads pretrained weights, which may take minutes, is left out.

    Args:
        words: of the command line.
        built: the parts that were built before; what is built now is added.
    """
    with initialize(config_path=None, version_base="1.3"):
        config = compose("config", words)
    refuse_added_keys(config)
    folder = folder_of(config.exp)
    values: Any = OmegaConf.to_container(config, resolve=True)
    for group in ("trainer", "dataset", "model", "previews", "evaluation"):
        if values[group] is not None and json.dumps(values[group]) not in built:  # the members of a sweep share most of their parts
            _build(config, group)
            built.add(json.dumps(values[group]))
    _refuse_unwritable(folder)
    refuse_another_config(folder, values)
    return {"exp": config.exp, "folder": folder.as_posix(), "max_train_steps": config.trainer.max_train_steps}


def _build(config: DictConfig, group: str) -> None:
    """Build a part and forget it, unless it reads pretrained weights; a data set's segmenter reads its own at the first picture."""
    if group == "dataset" or not re.search(r'"weights": "(?!random")', json.dumps(OmegaConf.to_container(config[group], resolve=True))):
        instantiate(config[group], _target_wrapper_=checked)


def _refuse_unwritable(folder: Path) -> None:
    """Refuse a folder below something that is no folder, or that this user may not enter or write."""
    existing = folder.absolute()
    while not _exists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RunFolderError(f"{folder}: cannot be written, because of {existing}; start from a folder that can")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # of a folder above it, which is looked at next
        return False


if __name__ == "__main__":
    sys.exit(main())
