"""The top-level config, and the one way in which a constructor becomes a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra_zen import make_custom_builds_fn
from omegaconf import MISSING

# A signature is the schema. "all" hands plain lists and dicts to constructors: diffusers cannot save omegaconf's.
full = make_custom_builds_fn(populate_full_signature=True, hydra_convert="all")

GROUPS = [{"trainer": "base"}, {"dataset": "scenes"}, {"model": "region_diffusion"}, {"previews": "panels"}, {"evaluation": None}]


@dataclass
class Config:
    """What a command line composes.

    Attributes:
        trainer: gen.training.trainer.Trainer
        dataset: a gen.data.region_data.RegionData
        model: a gen.training.trainer.Trainable
        previews: what is drawn while it trains
        evaluation: what is measured after training
        exp: the run's name; its folder is outputs/<exp>
        tags: for the tracker
        seed: of the weights, the data and the noise
    """

    defaults: list[Any] = field(default_factory=lambda: ["_self_", *GROUPS])
    trainer: Any = MISSING
    dataset: Any = MISSING
    model: Any = MISSING
    previews: Any = MISSING
    evaluation: Any = None
    exp: str = "run"
    tags: list[str] = field(default_factory=list)
    seed: int = 0


def merged(*overlays: dict[str, Any]) -> dict[str, Any]:
    """Merge overlays, key by key; the later one wins, also among the entries that their `defaults` choose."""
    result: dict[str, Any] = {}
    for overlay in overlays:
        for key, value in overlay.items():
            old = result.get(key)
            if key == "defaults":
                result[key] = [{group: entry} for group, entry in (_choices(old or []) | _choices(value)).items()]
            else:
                result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _choices(defaults: list[dict[str, Any]]) -> dict[str, Any]:
    return {group: entry for choice in defaults for group, entry in choice.items()}
