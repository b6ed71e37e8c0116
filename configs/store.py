"""The top-level config, and the one way in which a constructor becomes a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra_zen import make_custom_builds_fn
from omegaconf import MISSING

# A signature is the schema. "all" hands plain lists and dicts to constructors: diffusers cannot save omegaconf's.
full = make_custom_builds_fn(populate_full_signature=True, hydra_convert="all")

GROUPS = [{"trainer": "base"}, {"dataset": "scenes"}, {"model": "small"}, {"evaluation": None}]


@dataclass
class Config:
    """What a command line composes.

    Attributes:
        trainer: gen.training.trainer.Trainer
        dataset: a gen.data.region_data.RegionData
        model: a gen.training.trainer.Trainable
        evaluation: what is measured after training
        exp: the run's name; its folder is outputs/<exp>
        tags: for the tracker
        seed: of the weights, the data and the noise
    """

    defaults: list[Any] = field(default_factory=lambda: ["_self_", *GROUPS])
    trainer: Any = MISSING
    dataset: Any = MISSING
    model: Any = MISSING
    evaluation: Any = None
    exp: str = "run"
    tags: list[str] = field(default_factory=list)
    seed: int = 0
