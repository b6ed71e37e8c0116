"""RegionData: what all datasets share, and the way from items to source / target batches."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gen.data.augment import Augmentation, ViewTransform, apply_transforms, relative_turn, view_coordinates
from gen.data.batch import RegionBatch, View
from gen.data.control import edges, outlines
from gen.data.item import Item, padding_planes, planes_to_regions, region_planes
from gen.data.pairs import relative_yaw, seen_camera, seen_rotations
from gen.regions import RegionPose
from gen.segmentation import Classical, GroundTruth, Segmenter, Superpixels
from image_utils import convert, io


@dataclass(kw_only=True)
class RegionData:
    """Base of every dataset: a subclass says how many items it has and what item `index` is.

    A subclass defines `__len__()`, `items(indices)` and `validation_items()`; everything here works for all of them.

    Attributes:
        resolution: side of the square pictures, in pixels.
        num_regions: n, the background included.
        train_batch_size: samples a process and forward pass.
        num_workers: loader processes; 0 loads in the training process.
        num_validation: pictures in a validation batch, `validation_image` included.
        segmenter: finds the regions of an item.
        source_augmentation: of what the encoder reads.
        target_augmentation: of what the decoder paints; drawn independently.
        validation_image: extra pictures to reconstruct at every evaluation.
        validation_prompt: their caption.
        overfit_items: train on the first n items only, unaugmented, and validate on them; 0 for all.
        depth_probability: share of the regions whose target pose also tells depth, where the data know it, in [0, 1].
        yaw_probability: the same of the turn about the vertical axis; which regions is drawn apart.
        control: the batch's conditioning pictures for a ControlNet: outlines of the target's regions, edges of its pixels, or none. The
            pictures of `validation_image` are conditioning pictures themselves.
        label_names: the targets that every item has; a class's own, no setting.
    """

    resolution: int = 64
    num_regions: int = 6
    train_batch_size: int = 16
    num_workers: int = 0
    num_validation: int = 8
    segmenter: Segmenter = field(default_factory=GroundTruth)
    source_augmentation: Augmentation = field(default_factory=Augmentation)
    target_augmentation: Augmentation = field(default_factory=Augmentation)
    validation_image: list[str] = field(default_factory=list)
    validation_prompt: str | None = None
    overfit_items: int = 0
    depth_probability: float = 0.0
    yaw_probability: float = 0.0
    control: Literal["none", "outlines", "edges"] = "none"

    label_names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name, least in (("resolution", 8), ("num_regions", 2), ("train_batch_size", 1), ("num_workers", 0), ("overfit_items", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"dataset.{name}={getattr(self, name)} is too small; it must be at least {least}")
        if len(self.validation_image) > self.num_validation:
            raise ValueError(
                f"dataset.validation_image lists {len(self.validation_image)} pictures, dataset.num_validation={self.num_validation}"
            )
        for name in ("depth_probability", "yaw_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"dataset.{name}={getattr(self, name)} is not a probability in [0, 1]")
        if self.control not in ("none", "outlines", "edges"):
            raise ValueError(f"dataset.control={self.control!r} is unknown; use 'none', 'outlines' or 'edges'")
        if isinstance(self.segmenter, Superpixels) and self.segmenter.num_segments >= self.num_regions:
            raise ValueError(
                f"dataset.segmenter.num_segments={self.segmenter.num_segments} elements and the background do not fit in "
                f"dataset.num_regions={self.num_regions}; set dataset.num_regions={self.segmenter.num_segments + 1}"
            )
        for path in self.validation_image:
            io.check_image(path)

    def __len__(self) -> int:
        raise NotImplementedError

    def items(self, indices: list[int]) -> list[Item]:
        """Return the items with these numbers, each of `resolution` x `resolution` pixels."""
        raise NotImplementedError

    def validation_items(self, count: int) -> list[Item]:
        """Return `count` held-out items, the same at every call."""
        raise NotImplementedError

    def order(self, seed: int) -> Callable[[int], int]:
        """Return what tells the item's number at every position of the stream: a pure function, whatever it keeps between calls."""
        return EpochOrder(self, seed)

    def epoch_order(self, length: int, seed: int) -> Int[Tensor, " m"]:
        """Return the first `length` items' numbers in the order of one epoch, which follows from the seed."""
        return torch.randperm(length, generator=torch.Generator().manual_seed(seed))

    def train_batches(self, *, seed: int, rank: int = 0, num_processes: int = 1, start: int = 0) -> Iterator[RegionBatch]:
        """Yield this process's batches without end, beginning at sample position `start`.

        The samples of a run form one stream; position p is item `order(seed)(p)`, and its augmentation and noise follow from (seed, p).
        Rank r takes each `num_processes`-th block of `train_batch_size` positions, so the stream is the same for any number of processes
        and a run can continue at any position.

        Args:
            seed: of the order and of all randomness.
            rank: of this process.
            num_processes: that share the stream.
            start: position of the first sample that any process takes now; a multiple of the blocks of all processes.
        """
        step = self.train_batch_size * num_processes
        if start % self.train_batch_size:
            raise ValueError(f"start={start} is not a multiple of train_batch_size={self.train_batch_size}")
        positions = _Positions(start + rank * self.train_batch_size, step, self.train_batch_size)
        loader = DataLoader(
            _Stream(self, seed), sampler=positions, batch_size=None, num_workers=self.num_workers,
            prefetch_factor=4 if self.num_workers else None, worker_init_fn=_begin_worker,
        )  # fmt: skip
        with _signals_held_back():
            batches = iter(loader)  # its processes begin with the signals blocked, until they know what to do about them
        yield from batches

    def validation_batch(self) -> RegionBatch:
        """Return the held-out batch, unaugmented: first the `validation_image` pictures, then items of the dataset."""
        items = [self._validation_picture(path) for path in self.validation_image]
        count = self.num_validation - len(items)
        items += self.items(list(range(min(count, self.overfit_items, len(self))))) if self.overfit_items else self.validation_items(count)
        identity = [ViewTransform()] * len(items)
        return self.collate(items, identity, identity, list(range(len(items))))

    def collate(self, items: list[Item], source: list[ViewTransform], target: list[ViewTransform], seeds: list[int]) -> RegionBatch:
        """Segment items and build the batch in which each is seen through its source and its target transform."""
        items = [self._segmented(item) for item in items]
        after = [item if item.target is None else self._segmented(item.target) for item in items]
        (pixels, planes, padding), (pixels_after, planes_after, padding_after) = self._planes(items), self._planes(after)
        changed = _changed_pixels(pixels, pixels_after)[:, None].long()
        turns = [relative_turn(s, t) for s, t in zip(source, target, strict=True)]
        flip, angle = torch.tensor([turn[0] for turn in turns]), torch.tensor([turn[1] for turn in turns])
        source_pixels, *source_planes = _transformed(pixels, [planes, padding], source)
        target_pixels, *target_planes = _transformed(pixels_after, [planes_after, padding_after, changed], target)
        source_regions = planes_to_regions(source_planes[0], self.num_regions, _only(source_planes[1]))
        target_regions = planes_to_regions(target_planes[0], self.num_regions, _only(target_planes[1]))
        pose = self._with_depth_and_yaw(RegionPose.from_regions(target_regions, flip, angle), items, after, source, seeds)
        periods = [torch.stack([_known(item.rotation_period, (self.num_regions,), -1) for item in side]) for side in (items, after)]
        return RegionBatch(
            source=self._view(source_pixels, source_regions, RegionPose.from_regions(source_regions), items, source),
            target=self._view(target_pixels, target_regions, pose, after, target),
            context=_transformed(pixels, [], target)[0],
            changed=target_planes[2][:, 0].bool(),
            seeds=torch.tensor(seeds),
            rotation_period=torch.maximum(*periods),
            captions=tuple(item.caption for item in after),
            labels=self._labels(items),
            control=self._control(target_pixels, target_regions.label_map(), after, target),
            camera=None if all(item.camera is None for item in items) else seen_camera(_stack_cameras(items), source, target),
            padding=_only(target_planes[1]),
        )

    def _labels(self, items: list[Item]) -> dict[str, Int[Tensor, "b n"]]:
        """Stack the targets of all names; extra validation pictures, and parts of a mixture, know fewer than others."""
        names = dict.fromkeys(name for item in items for name in item.labels)
        return {name: torch.stack([_known(item.labels.get(name), (self.num_regions,), -1) for item in items]) for name in names}

    def _planes(self, items: list[Item]) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b k h w"], Int[Tensor, "b p h w"]]:
        return torch.stack([item.pixel_values for item in items]), region_planes(items, self.num_regions), padding_planes(items)

    def _segmented(self, item: Item) -> Item:
        """Give an item the segmenter's regions; what the data know of each object is lost where those are not the data's own."""
        regions = self.segmenter(item.pixel_values, item.label_map)
        if item.label_map is not None and torch.equal(regions, item.label_map):
            return item
        found: dict = {"label_map": regions} if regions.ndim == 2 else {"masks": regions}
        labels = {name: torch.full_like(value, -1) for name, value in item.labels.items()}
        return replace(item, **found, labels=labels, rotations=None, rotation_period=None, depth=None)

    def _view(self, pixels: Tensor, regions: Regions, pose: RegionPose, items: list[Item], transforms: list[ViewTransform]) -> View:
        rotations = seen_rotations(self._rotations(items), transforms)
        return View(pixels, regions, pose, view_coordinates(transforms, *pixels.shape[-2:]), rotations)

    def _rotations(self, items: list[Item]) -> Float[Tensor, "b n 3 3"]:
        return torch.stack([_known(item.rotations, (self.num_regions, 3, 3), torch.nan) for item in items])

    def _with_depth_and_yaw(
        self, pose: RegionPose, items: list[Item], after: list[Item], source: list[ViewTransform], seeds: list[int]
    ) -> RegionPose:
        """Tell the depth and yaw of a share of the target's regions; which ones follows from the seeds, by a generator of its own."""
        draws = torch.tensor([[generator.random() for _ in range(2 * self.num_regions)] for generator in map(_pose_generator, seeds)])
        of_depth, of_yaw = draws.chunk(2, 1)
        if self.depth_probability:
            depth = torch.stack([_known(item.depth, (self.num_regions,), torch.nan) for item in after])
            pose = replace(pose, depth=torch.where(of_depth < self.depth_probability, depth, torch.nan))
        if self.yaw_probability:
            yaw = relative_yaw(self._rotations(items), self._rotations(after), source)
            pose = replace(pose, yaw=torch.where((of_yaw < self.yaw_probability)[..., None], yaw, torch.nan))
        return pose

    def _control(
        self, pixels: Float[Tensor, "b 3 h w"], label_maps: Int[Tensor, "b h w"], items: list[Item], transforms: list[ViewTransform]
    ) -> Float[Tensor, "b 3 h w"] | None:
        """Draw the target's conditioning pictures, or take those that the items came with."""
        if self.control == "none":
            return None
        pictures = outlines(label_maps) if self.control == "outlines" else edges(pixels)
        for i, item in enumerate(items):
            if item.control is not None:
                pictures[i] = _transformed(item.control[None], [], transforms[i : i + 1])[0][0]
        return pictures

    def _validation_picture(self, path: str) -> Item:
        image = io.load_image(path).resize((self.resolution, self.resolution))
        pixel_values = convert.to_tensor(image)
        label_map = Classical(max_regions=self.num_regions - 1)(pixel_values, None)
        return Item(pixel_values, label_map, self.validation_prompt or "", control=pixel_values)


class _Positions(Sampler):
    """Lists of the stream positions that one process takes, without end."""

    def __init__(self, first: int, step: int, block: int) -> None:
        self.first, self.step, self.block = first, step, block

    def __iter__(self) -> Iterator[list[int]]:
        position = self.first
        while True:
            yield list(range(position, position + self.block))
            position += self.step


class _Stream(Dataset):
    """Turn a list of stream positions into a batch; lives in the loader's worker."""

    def __init__(self, data: RegionData, seed: int) -> None:
        self.data, self.seed = data, seed
        self.order = data.order(seed)

    def __getitem__(self, positions: list[int]) -> RegionBatch:
        data = self.data
        indices = [self.order(position) for position in positions]
        generators = [random.Random(sample_seed(self.seed, position)) for position in positions]
        augmented = not data.overfit_items
        source = [data.source_augmentation.draw(g) if augmented else ViewTransform() for g in generators]
        target = [data.target_augmentation.draw(g) if augmented else ViewTransform() for g in generators]
        return data.collate(data.items(indices), source, target, [g.getrandbits(62) for g in generators])


class EpochOrder:
    """The item at every position of a stream: all items in the order of an epoch, then again in the order of the next."""

    def __init__(self, data: RegionData, seed: int) -> None:
        self.data, self.seed = data, seed
        self._epoch: tuple[int, Tensor] | None = None

    def __call__(self, position: int) -> int:
        """Return the item's number; the order of the epoch asked for last is kept."""
        length = min(self.data.overfit_items or len(self.data), len(self.data))
        epoch, place = divmod(position, length)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self.data.epoch_order(length, sample_seed(self.seed, -1 - epoch)))
        return int(self._epoch[1][place])


def sample_seed(seed: int, position: int) -> int:
    """Mix the run's seed and a stream position into one 62-bit number (splitmix64's finaliser)."""
    value = (seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & (2**64 - 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & (2**64 - 1)
    return (value ^ (value >> 31)) >> 2


def _changed_pixels(before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"]) -> Bool[Tensor, "b h w"]:
    """Mark the pixels that differ, and their neighbours: resampling mixes a pixel with the ones beside it."""
    differs = (before != after).any(1, keepdim=True).float()
    return F.max_pool2d(differs, 3, stride=1, padding=1)[:, 0].bool()


def _transformed(pixels: Tensor, planes: list[Tensor], transforms: list[ViewTransform]) -> list[Tensor]:
    """Apply one transform a sample to pictures and to lists of planes, and return them in the same order."""
    counts = [part.shape[1] for part in planes]
    pixels, moved = apply_transforms(pixels, torch.cat([pixels[:, :0].long(), *planes], 1), transforms)
    return [pixels, *moved.split(counts, 1)]


def _only(planes: Int[Tensor, "b k h w"]) -> Bool[Tensor, "b h w"] | None:
    """Return the plane of padding as a mask, None where there is none."""
    return planes[:, 0].bool() if planes.shape[1] else None


def _known(value: Tensor | None, shape: tuple[int, ...], unknown: float | int) -> Tensor:
    return torch.full(shape, unknown) if value is None else value


def _pose_generator(seed: int) -> random.Random:
    return random.Random(f"pose {seed}")


def _stack_cameras(items: list[Item]) -> Float[Tensor, "b 12"]:
    """Stack relative cameras; an item without one is its own target, seen by one camera, or else a pair of unknown cameras."""
    same, unknown = torch.eye(3, 4).flatten(), torch.full((12,), torch.nan)
    return torch.stack([(same if item.target is None else unknown) if item.camera is None else item.camera for item in items])


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Keep the signals that ask a run to stop waiting for a moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(worker: int) -> None:
    """Make a loader process deaf to signals that ask a run to stop: it trains until its step is done, and needs batches until then."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on a Mac
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_asks, daemon=True).start()


def _end_when_the_parent_asks() -> None:
    """Obey SIGTERM from the training process alone: a scheduler sends it to every process of a job."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
