"""Every row of docs/options.md: the override builds the option at toy size, it trains a step, its pipeline reloads to equal pictures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.one_step import BACKBONE, SMALL_RESNET, STORE, TINY, TINY_STABLE_DIFFUSION, assert_trains_and_reloads, composed, toy_backbone

TABLE = Path(__file__).parents[1] / "docs" / "options.md"
ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` \|$", TABLE.read_text(), re.MULTILINE)
TOY = {
    "backbone=dinov2": toy_backbone("dinov2_with_registers"),
    "backbone=dinov3": toy_backbone("dinov3_vit"),
    "backbone=clip": toy_backbone("clip_vision_model"),
    "backbone=siglip": toy_backbone("siglip_vision_model"),
    "backbone=resnet": toy_backbone("resnet", SMALL_RESNET),
    "backbone=timm": [f"{BACKBONE}.weights=random", f"{BACKBONE}.name=resnet10t"],
}


@pytest.mark.parametrize("row", [overrides for _, overrides in ROWS], ids=[name.replace(" ", "_") for name, _ in ROWS])
def test_an_option_trains_a_step_and_its_pipeline_reloads(row, stable_diffusion, tmp_path):
    if "backbone=timm" in row and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: it needs a working torchvision")
    words = row.replace("STABLE_DIFFUSION", str(stable_diffusion)).replace("AUTOENCODER", str(stable_diffusion / "vae")).split(" ")
    toys = [word for part, overrides in TOY.items() if part in row for word in overrides]
    tiny = TINY_STABLE_DIFFUSION if "decoder=stable_diffusion" in row else TINY
    assert_trains_and_reloads(composed(*tiny, *words, *toys), tmp_path / "pipeline")


def test_the_table_names_every_entry_of_every_part():
    """A part that is added to a group needs its row."""
    entries = {f"{entry['group']}={entry['name']}" for entry in STORE if entry["group"] and entry["group"].startswith("model/")}
    assert sorted(entry for entry in entries if not any(entry in row for _, row in ROWS)) == []
