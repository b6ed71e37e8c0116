"""How Hydra runs a task here: no folders or log files of its own, and short answers to mistakes on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import hydra_zen
import torch
from hydra import compose, initialize
from hydra.conf import HydraConf, JobConf
from hydra.errors import HydraException
from hydra_zen import ZenStore
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf

from configs.checks import checked
from configs.mistakes import explain, refuse_added_keys
from gen.artefact import DiskFullError
from gen.training.interruption import REQUEUE_EXIT_CODE, Interrupted
from gen.training.run_folder import folder_of

HELP = """python train.py [+experiment=E] [+mode=M] [group=entry] [group.key=value] ...

The run's folder is outputs/<exp>; the same command again resumes it.

  python train.py +experiment=demo_exp
  python train.py +experiment=demo_exp +mode=overfit
  python -m accelerate.commands.launch --num_processes 1 train.py +experiment=demo_exp trainer.eval_every_n_steps=10 exp=mine tags='[a,b]'

Groups and their entries:

{groups}

Keys and their values with this command line:

{config}"""
DISK_FULL_EXIT_CODE = 74
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}},
    "root": {"level": "WARNING", "handlers": ["console"]},
}


def add_to(store: ZenStore) -> None:
    """Add Hydra's own settings."""
    store(LOGGING, group="hydra/job_logging", name="plain")
    here = {"run": {"dir": "."}, "sweep": {"dir": "outputs/.multirun", "subdir": "."}}
    store(here, group="hydra/output", name="none", package="hydra")
    chosen = {"output": "none", "job_logging": "plain", "hydra_logging": "none"}
    rest = {"launcher": "basic", "sweeper": "basic", "help": "default", "hydra_help": "default", "callbacks": None, "env": "default"}
    defaults = [{group: entry} for group, entry in (chosen | rest).items()]
    store(HydraConf(defaults=defaults, output_subdir=None, job=JobConf(name="train", chdir=False)))


def main(task: Callable, store: ZenStore) -> None:
    """Compose the config that the command line asks for, build its parts in the order of `task`'s arguments, and call `task`.

    A mistake on the command line, a run folder of another run and a damaged artefact end the program with a short message and exit
    status 2, a full disk with 74 (EX_IOERR), a run that was asked to stop with 75 (EX_TEMPFAIL: start it again); everything else keeps
    its traceback.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints and exits before the messages below can be made
    store.add_to_hydra_store(overwrite_ok=True)
    try:
        if {"--help", "-h"} & set(sys.argv):
            print(_help(store, [word for word in sys.argv[1:] if word not in ("--help", "-h")]))
            return
        runnable(task).hydra_main(config_name="config", config_path=None, version_base="1.3")
    except Interrupted as error:
        print(error, file=sys.stderr)
        sys.exit(REQUEUE_EXIT_CODE)
    except (HydraException, MissingMandatoryValue, ValueError) as error:
        message = explain(error, sys.argv[1:])
        if message is None:
            raise
        print(message, file=sys.stderr)
        sys.exit(DISK_FULL_EXIT_CODE if isinstance(error, DiskFullError) else 2)


def runnable(task: Callable) -> hydra_zen.wrapper.Zen:
    """Wrap `task` so that it can be called with a composed config: its arguments are built in order and checked."""
    return hydra_zen.zen(task, pre_call=_prepare, instantiation_wrapper=checked)


def _help(store: ZenStore, overrides: list[str]) -> str:
    """Return what `--help` prints; Hydra's own copies every entry once for every group, which takes seconds."""
    groups: dict[str, list[str]] = {}
    for entry in store:
        if entry["group"] and not entry["group"].startswith("hydra"):
            overlay = "+" if entry["group"] in ("experiment", "mode") else ""
            groups.setdefault(overlay + entry["group"], []).append(entry["name"])
    with initialize(config_path=None, version_base="1.3"):
        config = OmegaConf.to_yaml(compose("config", overrides))
    return HELP.format(groups="\n".join(f"{group}: {', '.join(names)}" for group, names in groups.items()), config=config)


def _prepare(config: DictConfig) -> None:
    """Refuse what no constructor would see; make the initial weights, which are drawn after this, a function of the seed."""
    refuse_added_keys(config)
    folder_of(config.exp)
    torch.manual_seed(config.seed)
