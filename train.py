"""Train a model: compose the config, build trainer, dataset and model, fit.

python train.py +experiment=demo_exp                        ten minutes on two CPU cores
python train.py +experiment=demo_exp +mode=tiny             the whole path in seconds
python train.py +experiment=demo_exp +mode=overfit          eight scenes
python -m accelerate.commands.launch --num_processes 2 train.py +experiment=demo_exp trainer.enable_dynamic_grad_accum=true
python train.py --help                                      every group, entry and key

The run's folder is outputs/<exp>; the same command again resumes it. SIGTERM, SIGUSR1 and SIGUSR2 ask it to write a checkpoint and stop.
Exit status: 0 done, 2 refused, 74 disk full, 75 stopped on request (start it again), 1 anything else.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf

from configs import build_store
from configs.hydra import main
from gen.artefact import naming_a_full_disk
from gen.data.region_data import RegionData
from gen.gallery import Previews
from gen.training.run_folder import folder_of, record_end
from gen.training.trainer import Trainable, Trainer


def train(
    trainer: Trainer,
    dataset: RegionData,
    model: Trainable,
    previews: Previews,
    evaluation: Callable | None,
    exp: str,
    zen_cfg: DictConfig,
) -> None:
    """Train in outputs/<exp>, then evaluate what was trained; the arguments are built in this order."""
    folder = folder_of(exp)
    config = OmegaConf.to_container(zen_cfg, resolve=True)
    trainer.fit(model, dataset, previews, folder=folder, config=config, seed=zen_cfg.seed)
    if os.environ.get("RANK", "0") == "0":
        with naming_a_full_disk(folder):
            if evaluation is not None:
                evaluation(folder / "pipeline", folder / "evaluation")
            record_end(folder, "finished", trainer.max_train_steps)


if __name__ == "__main__":
    main(train, build_store())
