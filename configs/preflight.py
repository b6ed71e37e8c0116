"""Check trainings before they are handed to a machine: python -m configs.preflight < trainings.json; composes, builds no model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize
from hydra.errors import HydraException
from hydra_zen import instantiate
from omegaconf import OmegaConf
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
    found, mistakes = [], []
    for number, words in enumerate(json.load(sys.stdin)):
        try:
            found.append(_check(words))
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            message = explain(error, words)
            if message is None:
                raise
            mistakes.append(f"{number}: {' '.join(words)}\n{message}")
    print("\n".join(mistakes), file=sys.stderr, end="\n" if mistakes else "")
    if not mistakes:
        print(json.dumps(found))
    return 2 if mistakes else 0


def _check(words: list[str]) -> dict[str, Any]:
    """Compose one training and build all of it but the model, whose weights may take minutes to read."""
    with initialize(config_path=None, version_base="1.3"):
        config = compose("config", words)
    refuse_added_keys(config)
    folder = folder_of(config.exp)
    trainer = instantiate(config.trainer, _target_wrapper_=checked)
    instantiate(config.dataset, _target_wrapper_=checked)
    values: Any = OmegaConf.to_container(config, resolve=True)
    refuse_another_config(folder, values)
    _refuse_unwritable(folder)
    return {"exp": config.exp, "folder": folder.as_posix(), "max_train_steps": trainer.max_train_steps}


def _refuse_unwritable(folder: Path) -> None:
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise RunFolderError(f"{folder}: cannot be written, because of {existing.absolute()}; start from a folder that can")


if __name__ == "__main__":
    sys.exit(main())
