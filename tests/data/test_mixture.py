"""Mixture: every part's share of the stream, its items, labels and regions; its configuration, and what it refuses."""

from __future__ import annotations

import io as text_io
import itertools
import json
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra_zen import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from configs import preflight
from configs.checks import checked
from configs.hydra import main
from gen.data.augment import Augmentation, ViewTransform
from gen.data.image_folder import ImageFolder
from gen.data.mixture import Mixture
from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.data.scenes import Scenes
from gen.segmentation import GroundTruth, WholePicture
from tests.one_step import STORE, TINY, assert_trains_and_reloads, composed
from train import train

STILL = Augmentation(probability=0.0)
SHARED = {"resolution": 16, "source_augmentation": STILL, "target_augmentation": STILL, "num_regions": 3}
SIDE = 16


@dataclass(kw_only=True)
class Numbered(PictureData):
    """Pictures whose red tells their number and whose green tells their data set; one object of a known kind."""

    green: int = 0
    count: int = 3
    root: str = "."
    num_held_out: int = 0

    label_names = ("kind",)

    def entries(self):
        return list(range(self.count))

    def read(self, entry):
        label_map = torch.zeros(SIDE, SIDE, dtype=torch.long)
        label_map[2:9, 3:7] = 5
        return Picture(Image.new("RGB", (SIDE, SIDE), (entry, self.green, 0)), label_map, labels={"kind": {5: entry}})


@dataclass(kw_only=True)
class Overlapping(Numbered):
    """The same with two masks that overlap, and labels of another name."""

    label_names = ("size",)

    def read(self, entry):
        masks = torch.zeros(3, SIDE, SIDE, dtype=torch.bool)
        masks[1, 2:9, 3:7], masks[2, 4:6, 4:6] = True, True
        masks[0] = ~masks.any(0)
        picture = super().read(entry)
        return Picture(picture.image, masks, labels={"size": {1: 7, 2: 2}})


def numbered(**lengths: int) -> dict:
    return {name: partial(Numbered, green=i, count=count) for i, (name, count) in enumerate(lengths.items())}


def seen(batches) -> list[tuple[int, int]]:
    """Return (data set, number) of every sample."""
    red_green = torch.cat([batch.target.pixel_values[:, :2, 0, 0] for batch in batches])
    return [(green, red) for red, green in ((red_green + 1) * 127.5).round().long().tolist()]


def take(data, count, **arguments):
    return list(itertools.islice(data.train_batches(seed=3, **arguments), count))


@settings(deadline=None, max_examples=60)
@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=5), position=st.integers(0, 10**9))
def test_after_any_number_of_samples_every_part_has_had_its_share(weights, position):
    names = [f"part{i}" for i in range(len(weights))]
    mixture = Mixture(parts=numbered(**dict.fromkeys(names, 3)), weights=dict(zip(names, weights, strict=True)), **SHARED)
    turns = [mixture._turn(p) for p in range(position, position + 50)]
    visits = {part: dict.fromkeys(visit for owner, visit in turns if owner == part) for part in range(len(names))}
    for part, weight in enumerate(weights):
        numbers = list(visits[part])
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True, "visits follow one another"
        if numbers:
            first = next(p for p, turn in zip(range(position, position + 50), turns, strict=True) if turn == (part, numbers[0]))
            assert abs(numbers[0] - first * weight / sum(weights)) < max(2, len(weights)) + 1e-3


def test_shares_are_exact_and_every_part_is_passed_through_before_it_begins_again():
    mixture = Mixture(parts=numbered(a=5, b=3), weights={"a": 3.0}, train_batch_size=4, **SHARED)
    samples = seen(take(mixture, 30))
    assert all(Counter(part for part, _ in samples[i : i + 4]) == {0: 3, 1: 1} for i in range(0, 120, 4)), "each batch has three to one"
    for part, length in ((0, 5), (1, 3)):
        numbers = [number for owner, number in samples if owner == part]
        epochs = [numbers[i : i + length] for i in range(0, len(numbers) - length + 1, length)]
        assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1, "in another order each time"


def test_a_stream_continues_anywhere_whatever_the_workers_and_processes():
    make = partial(Mixture, parts=numbered(a=5, b=3, c=2), weights={"a": 2.5, "b": 0.7}, train_batch_size=2, **SHARED)
    whole = seen(take(make(), 12))
    assert {part for part, _ in whole} == {0, 1, 2}
    assert seen(take(make(), 5, start=14)) == whole[14:]
    assert seen(take(make(num_workers=2), 12)) == whole
    first, second = (take(make(), 6, rank=rank, num_processes=2) for rank in (0, 1))
    assert seen(batch for both in zip(first, second, strict=True) for batch in both) == whole
    order = ForkingPickler.loads(bytes(ForkingPickler.dumps(make().order(3))))
    assert [make().items([order(position)])[0].pixel_values[0, 0, 0] for position in range(4)] == [
        batch.target.pixel_values[i, 0, 0, 0] for batch in take(make(), 2) for i in range(2)
    ]


def test_a_batch_has_the_labels_of_all_parts_and_of_regions_of_every_kind():
    parts = numbered(plain=3) | {"overlapping": partial(Overlapping, green=1), "world": partial(Scenes, twin_probability=0.0)}
    mixture = Mixture(parts=parts, train_batch_size=3, **(SHARED | {"num_regions": 6}))
    batch = take(mixture, 1)[0]
    plain, overlapping, world = (batch.labels[name].tolist() for name in ("kind", "size", "shape"))
    order = [mixture._turn(position)[0] for position in range(3)]
    first, second, third = (order.index(part) for part in range(3))
    assert sorted(batch.labels) == ["colour", "kind", "material", "shape", "size"]
    assert plain[first][0] == -1 and plain[first][1] >= 0 and plain[second] == plain[third] == [-1] * 6
    assert overlapping[second] == [-1, 7, 2, -1, -1, -1] and overlapping[first] == [-1] * 6
    assert world[third][1] >= 0 and world[first] == world[second] == [-1] * 6
    masks = batch.source.regions.masks
    assert (masks[second, 1] & masks[second, 2]).sum() == 4
    assert batch.source.regions.valid[first].tolist() == [True, True, False, False, False, False]
    assert batch.captions[third] and not batch.captions[first]
    still = [ViewTransform()]
    only_plain = mixture.collate(mixture.items([0]), still, still, [0])
    assert sorted(only_plain.labels) == sorted(batch.labels), "whatever parts a batch has"


def test_one_name_for_different_things_is_told_apart():
    @dataclass(kw_only=True)
    class OtherKinds(Numbered):
        pass

    mixture = Mixture(parts=numbered(a=2, b=2) | {"c": partial(OtherKinds, green=2)}, **SHARED)
    assert sorted(mixture.items([0])[0].labels) == ["a_kind", "b_kind", "c_kind"]
    assert sorted(Mixture(parts=numbered(a=2, b=2), **SHARED).items([0])[0].labels) == ["kind"]


def test_validation_has_held_out_pictures_of_every_part_in_proportion():
    parts = {name: partial(made, num_held_out=4) for name, made in numbered(a=9, b=9).items()}
    mixture = Mixture(parts=parts, weights={"a": 3.0}, num_validation=4, train_batch_size=4, **SHARED)
    batch = mixture.validation_batch()
    held_out = set(seen([batch]))
    assert Counter(part for part, _ in held_out) == {0: 3, 1: 1}
    assert not held_out & set(seen(take(mixture, 20)))
    assert len(mixture.validation_items(100)) == 8


def test_overfitting_takes_the_first_few_of_every_part():
    mixture = Mixture(parts=numbered(a=9, b=9), overfit_items=4, num_validation=4, train_batch_size=4, **SHARED)
    assert set(seen([mixture.validation_batch()])) == set(seen(take(mixture, 5))) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_parts_keep_their_own_segmenters_unless_there_is_one_for_all():
    parts = numbered(a=2) | {"b": partial(Numbered, segmenter=WholePicture())}
    own = take(Mixture(parts=parts, train_batch_size=2, **SHARED), 1)[0]
    assert own.source.regions.valid.sum() == 1 + 2
    whole = take(Mixture(parts=parts, train_batch_size=2, segmenter=WholePicture(), **SHARED), 1)[0]
    assert whole.source.regions.valid.sum() == 2
    assert (whole.labels["kind"] == -1).all()
    paired = Mixture(parts={"world": partial(Scenes, twin_probability=1.0, segmenter=GroundTruth())}, **SHARED | {"num_regions": 6})
    assert take(paired, 1)[0].changed.any(), "a pair's target is cut by its part too"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parts": {}}, r"dataset\.parts is empty; name data sets: \+dataset/part@"),
        ({"weights": {"c": 1.0}}, r"dataset\.weights\.c=1\.0 weighs no part; dataset\.parts has a, b"),
        ({"weights": {"a": 0.0}}, r"dataset\.weights\.a=0\.0 is no weight above 0"),
        ({"weights": {"a": float("nan")}}, r"dataset\.weights\.a=nan is no weight above 0"),
        ({"resolution": 2}, r"^dataset\.resolution=2 is too small"),
        ({"parts": {"a": partial(ImageFolder, root="nowhere")}}, r"^dataset\.parts\.a\.root='nowhere' is not a folder"),
        ({"parts": {"a": partial(Numbered, fit="stretch")}}, r"dataset\.parts\.a\.fit='stretch' is unknown"),
    ],
)
def test_wrong_settings_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixture(**({"parts": numbered(a=2, b=2)} | SHARED | arguments))


COMMAND = ("dataset=mixture", "+dataset/part@dataset.parts.world=scenes", "+dataset/part@dataset.parts.mine=image_folder")


@pytest.fixture
def folder(tmp_path, photographs):
    for name, photograph in photographs.items():
        photograph.resize((96, 64)).save(tmp_path / f"{name}.png")
    return tmp_path


def configured(folder, *words):
    return composed(*COMMAND, f"dataset.parts.mine.root={folder}", "dataset.parts.mine.num_held_out=1", *words)


def test_parts_are_chosen_on_the_command_line(folder):
    words = ("dataset.weights={world: 3, mine: 1}", "dataset/segmenter@dataset.parts.mine.segmenter=classical", "dataset.resolution=32")
    data = instantiate(configured(folder, *words).dataset, _target_wrapper_=checked)
    assert [type(part).__name__ for part in data._data] == ["Scenes", "ImageFolder"]
    assert [type(part.segmenter).__name__ for part in data._data] == ["GroundTruth", "Classical"]
    assert [part.resolution for part in data._data] == [32, 32]
    batch = take(data, 1)[0]
    assert sum(not caption for caption in batch.captions) == 4, "one of four has no caption"
    every = instantiate(configured(folder, "dataset/segmenter=whole_picture").dataset, _target_wrapper_=checked)
    assert {type(part.segmenter).__name__ for part in every._data} == {"WholePicture"}


def test_every_data_set_is_also_a_part_without_the_shared_fields():
    alone, part = ({entry["name"] for entry in STORE if entry["group"] == group} for group in ("dataset", "dataset/part"))
    assert part == alone - {"mixture"}
    for name in sorted(part):
        found = composed("dataset=mixture", f"+dataset/part@dataset.parts.one={name}").dataset
        assert set(found.parts.one) & set(found) == {"_target_", "_convert_", "segmenter"}


def test_a_mixture_trains_a_step(folder, tmp_path):
    assert_trains_and_reloads(configured(folder, *TINY), tmp_path / "pipeline")


def test_preflight_builds_a_mixture(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    good = [*COMMAND, "+mode=tiny", f"dataset.parts.mine.root={folder}", "dataset.parts.mine.num_held_out=1"]
    bad = [*COMMAND, "+mode=tiny", "dataset.parts.mine.root=absent"]
    for words, code in ((good, 0), (bad, 2)):
        monkeypatch.setattr("sys.stdin", text_io.StringIO(json.dumps([words])))
        monkeypatch.setattr("sys.argv", ["preflight"])
        assert preflight.main() == code
        GlobalHydra.instance().clear()
    assert "dataset.parts.mine.root='absent' is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset=mixture"], "dataset.parts is empty"),
        ([*COMMAND], "dataset.parts.mine.root: has no value; give dataset.parts.mine.root="),
        ([*COMMAND, "dataset.parts.mine.rot=x"], "did you mean dataset.parts.mine.root?"),
        (
            [*COMMAND, "dataset.parts.mine.root=.", "dataset.parts.mine.fit=stretch"],
            "dataset.parts.mine.fit=stretch: Input should be 'crop' or 'pad'",
        ),
        (["dataset=mixture", "+dataset/part@dataset.parts.a=scene"], "Could not find 'dataset/part/scene'"),
    ],
)
def test_mistakes_on_the_command_line_are_answered_in_a_line(capsys, monkeypatch, tmp_path, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as stopped:
        main(train, STORE)
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert "Traceback" not in printed
