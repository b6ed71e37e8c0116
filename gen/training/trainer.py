"""What a training is asked to do: the `trainer` config group, and the protocols of the model and the data it works on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from gen.losses import LossTerms

LrScheduler = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]


class TrainerError(ValueError):
    """Settings that do not fit the machine that shall train; the message holds both and the remedy."""


@runtime_checkable
class Batch(Protocol):
    """What the trainer knows of a batch: it can be moved, and its samples have seeds that identify them."""

    seeds: Tensor

    def to(self, device: Any) -> Any:
        """Return the batch on `device`."""


@runtime_checkable
class DataSource(Protocol):
    """What the trainer knows of a dataset.

    Attributes:
        train_batch_size: samples of one batch; the trainer makes a copy with less where it has to.
    """

    train_batch_size: int

    def train_batches(self, *, seed: int, rank: int, num_processes: int, start: int) -> Iterator[Any]:
        """Yield for ever the batches of one process.

        Args:
            seed: everything random about a sample follows from it and the sample's position.
            rank: takes the blocks rank, rank + num_processes, ... of `train_batch_size` samples each, counted from `start`.
            num_processes: how many processes share the samples.
            start: position of the first sample of rank 0.
        """

    def validation_batch(self) -> Any:
        """Return the batch that previews show, the same at every call."""


@runtime_checkable
class PreviewFunction(Protocol):
    """What draws previews of a pipeline; the trainer only hands it to the model."""

    def __call__(self, pipeline: Any, batch: Any, num_inference_steps: int) -> dict[str, Any]:
        """Return PIL images by name."""


@runtime_checkable
class Trainable(Protocol):
    """What the trainer knows of a model, which is also a `torch.nn.Module`.

    Attributes:
        uses_all_parameters: whether every trained parameter has a gradient after every backward. If not, processes have to find those that
            have none, which costs time.
    """

    uses_all_parameters: bool

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        """Return the optimizer's groups: the parameters to train, and what differs from the defaults.

        A group may say `first_step` and `last_step`: the global steps between which it is trained (the first included, the last not).
        """

    def forward(self, batch: Any, global_step: int) -> LossTerms:
        """Return the loss of a batch, a mean over its samples; random numbers come from torch's global generator."""

    def preview(self, batch: Any, previews: PreviewFunction) -> dict[str, Any]:
        """Return PIL images by name that show what the model can do by now: those of `previews`, for a model that has a pipeline."""

    def save_pipeline(self, folder: Path) -> None:
        """Write all that is needed to use the model into an empty folder."""


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Train a model: one frozen value, the schema of the config group `trainer`.

    A **global step** is one optimizer update over all processes; a **true step** is one forward over all processes.

    Attributes:
        max_train_steps: global steps.
        learning_rate: before the two `scale_lr_*` options.
        lr_scheduler: one of diffusers' schedules, over global steps.
        lr_warmup_steps: global steps.
        weight_decay: of AdamW.
        betas: of AdamW.
        max_grad_norm: gradients are clipped to this norm.
        gradient_accumulation_steps: true steps per global step.
        enable_dynamic_grad_accum: multiply the accumulation by `reference_num_processes` / processes, so that the effective batch stays.
        reference_num_processes: the number of processes that `gradient_accumulation_steps` was chosen for.
        scale_lr_gpus_grad_accum: multiply the learning rate by processes x accumulation.
        scale_lr_batch_size: multiply the learning rate by `train_batch_size`.
        mixed_precision: of the forward; weights, optimizer and loss stay in fp32.
        distributed: how several processes share the work: ddp, where each holds the whole model, or fsdp, where each holds a part of the
            weights, gradients, moments and averages (FSDP2). The mathematics is the same, and so are checkpoints and pipelines; a run may
            change between them. One process holds everything either way.
        auto_micro_batch: before the first step try whether the memory holds `train_batch_size` samples, else half of them, and so on, and
            accumulate as many forwards more, so that the effective batch stays. What was found is kept when the run is resumed.
        compile: run the model through torch.compile; the first step then takes minutes on a CPU.
        ema_decay: largest decay of the averaged weights; it warms up as 1 - (1 + step)^(-3/4), so short runs have a useful average.
        log_with: a tracker beside `metrics.jsonl`; wandb runs offline where there is no key.
        log_every_n_steps: global steps between two lines of `metrics.jsonl`.
        eval_every_n_steps: global steps between two previews.
        checkpointing_steps: global steps between two checkpoints; one is always written at the end.
        checkpoints_total_limit: the newest so many checkpoints are kept, besides the marked ones: those that hold a file named `keep`.
        keep_checkpoints_every_n_steps: those of every so many global steps are marked.
        on_nonfinite: a loss or gradient that is not finite stops the run, or its step is skipped; its samples are recorded either way.
        profile: global steps to profile, the first included, the last not.
        profile_with: PyTorch's profiler writes its files into profile/ of the run folder; nsys marks the steps for Nsight Systems, which
            `scripts/accelerate_nsys_profile.sh` starts.

    Raises:
        ValueError: naming the field that is out of range.
    """

    max_train_steps: int = 10_000
    learning_rate: float = 1e-4
    lr_scheduler: LrScheduler = "constant_with_warmup"
    lr_warmup_steps: int = 100
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    max_grad_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    enable_dynamic_grad_accum: bool = False
    reference_num_processes: int = 1
    scale_lr_gpus_grad_accum: bool = False
    scale_lr_batch_size: bool = False
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    distributed: Literal["ddp", "fsdp"] = "ddp"
    auto_micro_batch: bool = False
    compile: bool = False
    ema_decay: float = 0.9999
    log_with: Literal["wandb", "tensorboard"] | None = None
    log_every_n_steps: int = 10
    eval_every_n_steps: int = 500
    checkpointing_steps: int = 500
    checkpoints_total_limit: int = 2
    keep_checkpoints_every_n_steps: int | None = None
    on_nonfinite: Literal["stop", "skip"] = "stop"
    profile: tuple[int, int] | None = None
    profile_with: Literal["torch", "nsys"] = "torch"

    def __post_init__(self) -> None:
        at_least_one = ("max_train_steps", "gradient_accumulation_steps", "reference_num_processes", "log_every_n_steps")
        for name in (*at_least_one, "eval_every_n_steps", "checkpointing_steps", "checkpoints_total_limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"trainer.{name}={getattr(self, name)}: must be at least 1")
        marked = self.keep_checkpoints_every_n_steps
        if marked is not None and (marked < 1 or marked % self.checkpointing_steps):
            remedy = f"must be a multiple of trainer.checkpointing_steps={self.checkpointing_steps}, or null"
            raise ValueError(f"trainer.keep_checkpoints_every_n_steps={marked}: {remedy}")
        for name in ("learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"trainer.{name}={getattr(self, name)}: must be above 0")
        for name in ("lr_warmup_steps", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"trainer.{name}={getattr(self, name)}: must not be below 0")
        if self.profile is not None and not 0 <= self.profile[0] < self.profile[1] <= self.max_train_steps:
            remedy = f"give [FIRST,LAST] with 0 <= FIRST < LAST <= trainer.max_train_steps={self.max_train_steps}"
            raise ValueError(f"trainer.profile=[{self.profile[0]},{self.profile[1]}]: {remedy}")
        if self.log_with is not None and find_spec(self.log_with) is None:
            raise ValueError(
                f"trainer.log_with={self.log_with}: that package is not installed; pip install -c constraints.txt -e '.[tracking]'"
            )
        if self.auto_micro_batch and self.distributed == "fsdp":
            raise ValueError(
                "trainer.auto_micro_batch=true with trainer.distributed=fsdp: processes that share a model compute it together, so one that"
                " ran out of memory alone would leave the others waiting; set dataset.train_batch_size to what fits, or distributed=ddp"
            )
        for name, value in (("ema_decay", self.ema_decay), ("betas", self.betas[0]), ("betas", self.betas[1])):
            if not 0 <= value < 1:
                raise ValueError(f"trainer.{name}={getattr(self, name)}: must lie in [0, 1)")

    def accumulation(self, num_processes: int) -> int:
        """Return the true steps per global step with so many processes.

        Raises:
            TrainerError: if dynamic accumulation cannot keep the effective batch.
        """
        if not self.enable_dynamic_grad_accum:
            return self.gradient_accumulation_steps
        total = self.gradient_accumulation_steps * self.reference_num_processes
        if total % num_processes:
            product = (
                f"gradient_accumulation_steps={self.gradient_accumulation_steps} x reference_num_processes={self.reference_num_processes}"
            )
            remedy = f"start a number of processes that divides {total}"
            raise TrainerError(f"trainer.enable_dynamic_grad_accum: {product} does not divide by {num_processes} processes; {remedy}")
        return total // num_processes

    def scaled_learning_rate(self, num_processes: int, train_batch_size: int) -> float:
        """Return the learning rate after the two `scale_lr_*` options."""
        rate = self.learning_rate
        if self.scale_lr_gpus_grad_accum:
            rate *= num_processes * self.accumulation(num_processes)
        if self.scale_lr_batch_size:
            rate *= train_batch_size
        return rate

    def fit(
        self, model: Trainable, dataset: DataSource, previews: PreviewFunction, *, folder: Path, config: dict[str, Any], seed: int
    ) -> None:
        """Train `model`; called again with the same arguments it resumes, or says that the run is finished.

        Args:
            model: its weights are replaced by the newest whole checkpoint's, if there is one.
            dataset: where batches come from.
            previews: draws what the pipeline can do, every `eval_every_n_steps`.
            folder: the record of this run: config.json, metrics.jsonl, state/, previews/, pipeline/, profile/.
            config: what made the model and the data, JSON values; a folder that holds a run with another one is refused.
            seed: of the data and of every random number in training.

        Raises:
            RunFolderError: if the folder holds a run with another config, or another process trains in it.
            TrainerError: if the settings do not fit the processes or their devices.
            DiskFullError: if the disk cannot hold what is written; the checkpoints that were there still are.
            Interrupted: if SIGTERM, SIGUSR1 or SIGUSR2 came; a checkpoint was written at the next step boundary.
            FloatingPointError: if a loss is not finite and `on_nonfinite` is "stop".
        """
        from gen.training.loop import fit  # accelerate and diffusers take seconds to import, `train.py --help` must not

        fit(self, model, dataset, previews, folder=Path(folder), config=config, seed=seed)
