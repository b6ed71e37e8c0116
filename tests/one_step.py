"""One training step of any configuration at toy size, and the pipeline that comes out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra_zen import instantiate

from configs import build_store
from configs.checks import checked
from gen.models.pipeline import RegionPipeline
from gen.models.tiny import tiny_region_diffusion

STORE = build_store()
STORE.add_to_hydra_store(overwrite_ok=True)
ConfigStore.__deepcopy__ = lambda self, memo: self  # Hydra copies it for every composition, which only reads it: half of the time
TINY = ("+mode=tiny", "dataset.train_batch_size=2")
# The tiny mode's U-Net is the small decoder; where Stable Diffusion's is chosen, this is what stays of the mode.
TINY_STABLE_DIFFUSION = (
    "dataset.resolution=32", "dataset.train_batch_size=2", "dataset.num_validation=2", "dataset.num_workers=0", "model.preview_steps=2",
    "model.region_encoder.width=32", "model.decoder.cross_attention_dim=32",
)  # fmt: skip

BACKBONE = "model.region_encoder.backbone"
SMALL_VIT = "{hidden_size:32,num_hidden_layers:2,num_attention_heads:2,image_size:32,patch_size:8}"
SMALL_RESNET = "{embedding_size:16,hidden_sizes:[16,32],depths:[1,1],layer_type:basic}"


def toy_backbone(model_type: str, architecture: str = SMALL_VIT) -> list[str]:
    """Return the overrides that build a pretrained backbone's class small, with random weights."""
    return [f"{BACKBONE}.weights=random", f"{BACKBONE}.model_type={model_type}", f"{BACKBONE}.architecture={architecture}"]


def composed(*overrides: str) -> Any:
    """Compose a configuration as the command line does."""
    GlobalHydra.instance().clear()
    with initialize(config_path=None, version_base="1.3"):
        return compose("config", list(overrides))


def assert_trains_by_name(name: str, root: Path, *overrides: str) -> None:
    """Build a data set as `dataset=NAME dataset.root=ROOT` does, and train a toy-size model on one of its batches."""
    config = composed(f"dataset={name}", f"dataset.root={root}", "dataset.resolution=32", "dataset.train_batch_size=2", *overrides)
    dataset = instantiate(config.dataset, _target_wrapper_=checked)
    model = tiny_region_diffusion(resolution=32, num_regions=config.dataset.num_regions)
    batch = next(iter(dataset.train_batches(seed=0)))
    assert batch.source.regions.valid[:, 1:].any(), "at least one object"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = model.decoder.unet.conv_out.weight.detach().clone()
    loss = model(batch).total
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert not torch.equal(before, model.decoder.unet.conv_out.weight)
    assert len(dataset.validation_batch()) >= 1


def assert_trains_and_reloads(config: Any, folder: Path) -> None:
    """Build model and data, train one step, export the pipeline, and compare pictures of the exported and the reloaded one."""
    torch.manual_seed(0)
    dataset = instantiate(config.dataset, _target_wrapper_=checked)
    model = instantiate(config.model, _target_wrapper_=checked)
    groups = model.parameter_groups(1e-3)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(len(group["params"]) for group in groups) == len(trained)
    before = {name: parameter.detach().clone() for name, parameter in trained.items()}
    losses = model(next(iter(dataset.train_batches(seed=0))), global_step=0)
    losses.total.backward()
    torch.optim.AdamW(groups).step()
    assert losses.total.isfinite()
    assert any(not torch.equal(value, trained[name]) for name, value in before.items())
    model.eval().save_pipeline(folder)
    batch = dataset.validation_batch()
    assert torch.allclose(paint(model.pipeline(), batch), paint(RegionPipeline.from_pretrained(folder), batch), atol=1e-4)


def paint(pipeline: RegionPipeline, batch: Any) -> torch.Tensor:
    """Reconstruct a batch from its latents, with a control picture where the pipeline reads one."""
    latents = pipeline.encode(batch.source.pixel_values, batch.source.regions)
    control = batch.control if pipeline.controlnet is not None else None
    generator = torch.Generator().manual_seed(0)
    return pipeline.decode(latents, prompt=list(batch.captions), control=control, num_inference_steps=2, generator=generator)
