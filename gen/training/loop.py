"""The training loop: one page, read from top to bottom."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import nn

from gen.artefact import ArtefactError, naming_a_full_disk, refuse_foreign, verify_folder, write_folder
from gen.run_files import write_text
from gen.sections import open_account, section
from gen.training.checkpoint import Checkpoints
from gen.training.interruption import Interrupted, StopRequest
from gen.training.micro_batch import in_micro_batches
from gen.training.preview import Previewer
from gen.training.profiling import StepProfiler
from gen.training.run_folder import RunRecord, record_end, refuse_another_config
from gen.training.sharding import UnusedParameters, accelerator_for, whole
from gen.training.state import TrainState, seed_of, trained_parameters
from gen.training.tracking import Stopwatch, Tracking
from gen.training.trainer import Batch, DataSource, PreviewFunction, Trainable, Trainer, TrainerError

logger = logging.getLogger(__name__)


def fit(
    trainer: Trainer,
    model: Trainable,
    dataset: DataSource,
    previews: PreviewFunction,
    *,
    folder: Path,
    config: dict[str, Any],
    seed: int,
) -> None:
    """Do what `Trainer.fit` says."""
    with StopRequest() as stop, naming_a_full_disk(folder):
        accelerator = accelerator_for(trainer, model, folder)
        logging.getLogger("gen").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
        refuse_another_config(folder, config)
        with RunRecord(folder, trainer.max_train_steps, writes=accelerator.is_main_process) as record:
            accelerator.wait_for_everyone()  # nobody reads a folder in which another run still writes
            state, prepared, optimizer = _initial_state(trainer, model, dataset, accelerator, seed)
            checkpoints = Checkpoints(folder / "state", trainer.checkpoints_total_limit, trainer.keep_checkpoints_every_n_steps)
            checkpoints.load_newest(state)
            if state.global_step >= trainer.max_train_steps:
                logger.info("%s: finished, %d of %d steps are done", folder, state.global_step, trainer.max_train_steps)
                _export_if_missing(state, accelerator, folder)
                if accelerator.is_main_process:
                    record_end(folder, "trained", state.global_step)
                accelerator.wait_for_everyone()
                return
            refuse_foreign(folder / "pipeline")
            checkpoints.free_space_or_raise(state)
            profiler = StepProfiler(trainer, accelerator.device, accelerator.process_index, folder)
            shown = dataset.validation_batch().to(accelerator.device)  # a missing picture is found now, not in step 500
            dataset = in_micro_batches(trainer, dataset, state, accelerator)
            accumulation = _accumulation(state, dataset, accelerator.num_processes)
            if accelerator.is_main_process:
                checkpoints.remove_leftovers()
            record.begin(config, state)
            accelerator.wait_for_everyone()
            try:
                step = _Step(trainer, dataset, accelerator, prepared, optimizer, state, folder, accumulation, stop)
                tracking = Tracking(accelerator, folder, config, state.global_step, trainer.max_train_steps)
                with closing(step), closing(tracking), closing(profiler), record.training():
                    _train(step, checkpoints, tracking, profiler, Previewer(previews, shown, folder / "previews"))
            except Interrupted:
                accelerator.wait_for_everyone()  # a launcher kills the others when the first has left
                raise


def _train(step: _Step, checkpoints: Checkpoints, tracking: Tracking, profiler: StepProfiler, previewer: Previewer) -> None:
    """Advance global step by global step to the last one, or to the one in which somebody asks to stop.

    Raises:
        Interrupted: when a checkpoint has been written because of that.
    """
    trainer, state, accelerator, folder = step.trainer, step.state, step.accelerator, step.folder
    with open_account(accelerator.device) as account:
        stopwatch = Stopwatch(account)
        while state.global_step < trainer.max_train_steps:
            profiler.before(state.global_step)
            metrics = step()
            stopwatch.add(state.effective_batch)
            last = state.global_step == trainer.max_train_steps
            with section("logging"):
                tracking.step(state.global_step)
                if last or state.global_step % trainer.log_every_n_steps == 0:
                    tracking.log(metrics | stopwatch.read(), state.global_step)
            if last or state.global_step % trainer.eval_every_n_steps == 0:
                _preview(state, previewer, accelerator, tracking)
            due = last or state.global_step % trainer.checkpointing_steps == 0
            if due or step.asked_to_stop:
                _checkpoint(state, checkpoints, accelerator, folder, export=due)
            if step.asked_to_stop and not last:
                reason = step.stop.signal_name or "a signal to another process"
                raise Interrupted(f"{folder}: stopped by {reason} after step {state.global_step}; the same command goes on from there")


def _initial_state(
    trainer: Trainer, model: Trainable, dataset: DataSource, accelerator: Accelerator, seed: int
) -> tuple[TrainState, nn.Module, AcceleratedOptimizer]:
    """Build the state of step 0 on the accelerator's device, and model and optimizer as the accelerator has prepared them."""
    assert isinstance(model, nn.Module)
    model.train()
    whole_model = copy.deepcopy(model) if accelerator.is_fsdp2 and accelerator.is_main_process else None
    model.to(accelerator.device)
    rate = trainer.scaled_learning_rate(accelerator.num_processes, dataset.train_batch_size)
    groups = model.parameter_groups(rate)
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=trainer.betas, weight_decay=trainer.weight_decay, fused=True)
    schedule = get_scheduler(
        trainer.lr_scheduler, optimizer, num_warmup_steps=trainer.lr_warmup_steps, num_training_steps=trainer.max_train_steps
    )
    if trainer.compile:
        model.compile()
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    parameters = [parameter for _, parameter in trained_parameters(model)]
    ema = EMAModel(parameters, decay=trainer.ema_decay, use_ema_warmup=True, inv_gamma=1.0, power=0.75, foreach=True)
    effective_batch = dataset.train_batch_size * trainer.accumulation(accelerator.num_processes) * accelerator.num_processes
    state = TrainState(model, optimizer, schedule, ema, accelerator.scaler, seed, effective_batch, whole_model=whole_model)
    return state, prepared, prepared_optimizer


def _accumulation(state: TrainState, dataset: DataSource, num_processes: int) -> int:
    """Return the true steps per global step that keep the run's effective batch, whatever the number of processes it was begun with.

    Raises:
        TrainerError: if there is no such number.
    """
    accumulation, rest = divmod(state.effective_batch, dataset.train_batch_size * num_processes)
    if rest:
        have = f"{num_processes} processes with dataset.train_batch_size={dataset.train_batch_size}"
        remedy = f"start a number of processes that divides {state.effective_batch // dataset.train_batch_size}"
        raise TrainerError(f"the run was begun with {state.effective_batch} samples a global step, which {have} cannot make; {remedy}")
    return accumulation


@dataclass
class _Step:
    """One global step: forwards, backwards, and one update."""

    trainer: Trainer
    dataset: DataSource
    accelerator: Accelerator
    prepared: nn.Module
    optimizer: AcceleratedOptimizer
    state: TrainState
    folder: Path
    accumulation: int
    stop: StopRequest

    def __post_init__(self) -> None:
        self.num_processes, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.asked_to_stop = False
        searches = self.accelerator.is_fsdp2 and not self.state.model.uses_all_parameters
        self.unused = UnusedParameters(self.accelerator, self.state.model) if searches else None
        self.batches: Iterator[Batch] = self.dataset.train_batches(
            seed=self.state.seed, rank=self.rank, num_processes=self.num_processes, start=self.state.position
        )

    def __call__(self) -> dict[str, float]:
        """Advance the state by one global step; return its metrics."""
        terms, seeds = self._accumulate_gradients()
        metrics = self._means(terms)
        metrics |= self._update(metrics, terms, seeds)
        self.state.global_step += 1
        self.state.true_step += self.accumulation
        self.state.position += self.state.effective_batch
        return metrics

    @section("logging")
    def _means(self, terms: dict[str, torch.Tensor]) -> dict[str, float]:
        """Return the means of the terms over all processes; find out whether any process was asked to stop."""
        asked = terms["loss"].new_tensor(float(self.stop.signal_name is not None))  # told along with the losses: all stop at the same step
        *means, asked_anywhere = self.accelerator.reduce(torch.stack([*terms.values(), asked]), reduction="mean").tolist()
        self.asked_to_stop = asked_anywhere > 0
        return dict(zip(terms, means, strict=True))

    @section("optimizer")
    def _update(self, metrics: dict[str, float], terms: dict[str, torch.Tensor], seeds: list[int]) -> dict[str, float]:
        """Clip the gradients and change the weights, unless something is not finite; return learning rate and gradient norm."""
        if self.unused is not None:
            self.unused.drop_gradients()
        _hold_back(self.optimizer, self.state.global_step)
        grad_norm = float(whole(self.accelerator.clip_grad_norm_(self.state.model.parameters(), self.trainer.max_grad_norm)))
        told = {"learning_rate": float(self.state.schedule.get_last_lr()[0]), "grad_norm": grad_norm}
        sound = math.isfinite(metrics["loss"]) and (math.isfinite(grad_norm) or self.state.scaler is not None)
        if not sound:
            self._record_nonfinite(metrics | told, terms, seeds)
        if sound or self.state.scaler is not None:  # fp16's scaler leaves a bad step out by itself and lowers its scale
            self.optimizer.step()
            if not self.optimizer.step_was_skipped:
                self.state.ema.step(parameter for _, parameter in trained_parameters(self.state.model))
        self.optimizer.zero_grad()
        self.state.schedule.step()
        return told

    def close(self) -> None:
        """End the loader's processes now: at the program's end they would be waited for."""
        if hasattr(self.batches, "close"):
            self.batches.close()

    def _accumulate_gradients(self) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Run this process's forwards and backwards; return its mean loss terms and its samples' seeds."""
        sums: dict[str, torch.Tensor] = {}
        seeds: list[int] = []
        block = self.state.position // self.dataset.train_batch_size + self.rank
        for micro_step in range(self.accumulation):
            with section("data"):
                batch = next(self.batches).to(self.accelerator.device)
            torch.manual_seed(seed_of(self.state.seed, "forward", block + micro_step * self.num_processes))
            last = micro_step == self.accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self.prepared):
                with section("forward"), self.accelerator.autocast():  # the model says what of it is "encode" and "decode"
                    losses = self.prepared(batch, self.state.global_step)
                with section("backward"):
                    self.accelerator.backward(losses.total / self.accumulation)
            for name, value in {"loss": losses.total, **losses.terms}.items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / self.accumulation
            seeds += batch.seeds.tolist()
        return sums, seeds

    def _record_nonfinite(self, metrics: dict[str, float], terms: dict[str, torch.Tensor], seeds: list[int]) -> None:
        """Write this process's samples to nonfinite/, and stop if the trainer says so."""
        path = self.folder / "nonfinite" / f"step_{self.state.global_step:08d}_rank_{self.rank}.json"
        own = {name: str(float(value)) for name, value in terms.items()}
        record = {"global_step": self.state.global_step, "position": self.state.position, "seeds": seeds, "terms_of_this_rank": own}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(record | {"mean": {name: str(value) for name, value in metrics.items()}}, indent=1))
        message = f"global step {self.state.global_step}: loss {metrics['loss']}, gradient norm {metrics['grad_norm']}; samples in {path}"
        if self.trainer.on_nonfinite == "stop":
            raise FloatingPointError(f"{message}. Stopped before the weights changed; trainer.on_nonfinite=skip goes on without such steps")
        logger.warning("%s; this step is skipped", message)


def _hold_back(optimizer: AcceleratedOptimizer, global_step: int) -> None:
    """Drop the gradients of groups that are not trained at this step: they are not clipped, and AdamW leaves their parameters alone."""
    for group in optimizer.param_groups:
        if not group.get("first_step", 0) <= global_step < (group.get("last_step") or math.inf):
            for parameter in group["params"]:
                parameter.grad = None


@section("preview")
def _preview(state: TrainState, previewer: Previewer, accelerator: Accelerator, tracking: Tracking) -> None:
    with state.averaged_model() as model, accelerator.autocast():
        if accelerator.is_main_process:
            tracking.log_images(previewer(state, model), state.global_step)
    accelerator.wait_for_everyone()


@section("checkpoint")
def _checkpoint(state: TrainState, checkpoints: Checkpoints, accelerator: Accelerator, folder: Path, *, export: bool) -> None:
    if export:
        _export(state, accelerator, folder)  # first: whoever finds the last checkpoint may rely on the last pipeline
    tensors = state.tensors()
    if accelerator.is_main_process:
        checkpoints.save(state, tensors)
    accelerator.wait_for_everyone()


def _export(state: TrainState, accelerator: Accelerator, folder: Path) -> None:
    with state.averaged_model() as model:
        if accelerator.is_main_process:
            write_folder(folder / "pipeline", model.save_pipeline)


def _export_if_missing(state: TrainState, accelerator: Accelerator, folder: Path) -> None:
    missing = None
    try:
        verify_folder(folder / "pipeline")
    except ArtefactError as error:
        missing = error
    accelerator.wait_for_everyone()  # nobody writes before all have looked
    if missing is not None:
        logger.info("%s; it is written again", missing)
        _export(state, accelerator, folder)
