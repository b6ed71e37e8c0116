"""The stream of batches: a function of (seed, position), whatever the processes and workers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from PIL import Image

from gen.data.augment import ViewTransform
from gen.data.scenes import Scenes
from image_utils import io


def same(first, second) -> bool:
    return (
        torch.equal(first.source.pixel_values, second.source.pixel_values)
        and torch.equal(first.target.pixel_values, second.target.pixel_values)
        and torch.equal(first.seeds, second.seeds)
        and first.captions == second.captions
    )


def take(data: Scenes, count: int, **arguments) -> list:
    return list(itertools.islice(data.train_batches(seed=3, **arguments), count))


def scenes(**changes) -> Scenes:
    return Scenes(**({"resolution": 32, "train_batch_size": 2, "num_scenes": 5} | changes))


def test_two_processes_share_the_stream_of_one():
    one = take(scenes(), 4)
    first, second = (take(scenes(), 2, rank=rank, num_processes=2) for rank in (0, 1))
    assert all(same(*pair) for pair in zip(one, [first[0], second[0], first[1], second[1]], strict=True))


def test_a_stream_continues_at_any_position_also_in_the_next_epoch():
    whole = take(scenes(), 6)  # 12 positions: more than two epochs of 5
    assert all(same(*pair) for pair in zip(whole[4:], take(scenes(), 2, start=8), strict=True))


def test_loader_workers_change_nothing():
    assert all(same(*pair) for pair in zip(take(scenes(), 3), take(scenes(num_workers=2), 3), strict=True))


def test_source_and_target_draw_independently():
    batch = take(scenes(train_batch_size=16, num_scenes=100, twin_probability=0.0), 1)[0]
    differ = (batch.source.pixel_values != batch.target.pixel_values).flatten(1).any(1)
    assert 4 <= int(differ.sum()) < 16


def test_context_equals_target_where_nothing_changed():
    data = scenes(train_batch_size=8, num_scenes=100, twin_probability=1.0)
    batch = take(data, 1)[0]
    unchanged = ~batch.changed[:, None].expand_as(batch.context)
    assert torch.equal(batch.context[unchanged], batch.target.pixel_values[unchanged])
    assert 0 < batch.changed.float().mean() < 0.6


def test_validation_scenes_are_never_trained_on():
    data = scenes(num_scenes=20, num_validation=4, train_batch_size=20)
    trained = take(data, 1)[0].target.pixel_values
    held_out = data.validation_batch().source.pixel_values
    assert not any(torch.equal(a, b) for a in trained for b in held_out)


def test_overfitting_trains_on_the_first_items_unaugmented():
    data = scenes(overfit_items=2, num_validation=2)
    batch, validation = take(data, 1)[0], data.validation_batch()
    assert torch.equal(batch.source.pixel_values, batch.target.pixel_values)
    assert torch.equal(batch.source.pixel_values.sum(0), validation.source.pixel_values.sum(0))


def test_labels_are_kept_beside_pictures_that_have_none(tmp_path):
    io.save_image(Image.new("RGB", (32, 32)), tmp_path / "a.png")
    batch = scenes(num_validation=3, validation_image=[str(tmp_path / "a.png")]).validation_batch()
    assert sorted(batch.labels) == ["colour", "material", "shape"]
    for values in batch.labels.values():
        assert (values[0] == -1).all()
        assert (values[1:, 1] >= 0).all()


def test_a_missing_validation_image_is_refused_before_training():
    with pytest.raises(ValueError, match="nowhere.png"):
        scenes(validation_image=["nowhere.png"])


def test_the_cameras_of_a_pair_that_tells_none_are_unknown_beside_pairs_that_do():
    data = scenes(twin_probability=0.0, view_probability=1.0)
    told, pair = data.items([0, 1])
    items = [told, replace(pair, camera=None), replace(pair, camera=None, target=None)]
    camera = data.collate(items, [ViewTransform()] * 3, [ViewTransform()] * 3, [0, 1, 2]).camera
    assert torch.equal(camera[0], told.camera)
    assert camera[1].isnan().all()
    assert torch.equal(camera[2], torch.eye(3, 4).flatten()), "a single picture is its own target"
