"""What all tests share: no network, one thread, the repository's root, real photographs."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: it reads these once
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]


# One test of a minute, begun last, leaves all processes but one idle.
LONGEST = (
    "test_commands_run_in_the_order_of_the_readme",
    "test_a_failing_member_leaves_the_others_alone_and_resume_runs_only_what_is_missing",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.name not in LONGEST)


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data kept beside the repository, or where GEN_SHARED_DATA says; tests that need it are skipped without."""
    folder = Path(os.environ.get("GEN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set GEN_SHARED_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def photographs() -> dict[str, Image.Image]:
    """Photographs that scikit-image carries in its wheel."""
    import skimage.data

    return {name: Image.fromarray(np.asarray(getattr(skimage.data, name)())) for name in ("astronaut", "chelsea", "coffee", "rocket")}


@pytest.fixture(scope="session")
def stable_diffusion(tmp_path_factory) -> Path:
    """Write a toy-size folder in Stable Diffusion's layout."""
    from tests.models.toy_stable_diffusion import write_toy_stable_diffusion

    return write_toy_stable_diffusion(tmp_path_factory.mktemp("toy") / "stable_diffusion")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """Train three steps as the command line does, with a preview of each; return outputs/tiny, to be read only."""
    import sys

    from accelerate.state import AcceleratorState

    from configs.hydra import runnable
    from tests.one_step import composed
    from train import train

    words = ("+experiment=demo_exp", "+mode=tiny", "trainer.eval_every_n_steps=1", "tags=[a tag,another]")
    workplace = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(sys, "argv", [str(ROOT / "train.py"), *words])
        patch.setattr(sys.modules["__main__"], "__file__", sys.argv[0], raising=False)  # pytest's workers are no scripts
        runnable(train)(composed(*words))
    AcceleratorState._reset_state(reset_partial_state=True)
    return workplace / "outputs" / "tiny"
