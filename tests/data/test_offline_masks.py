"""The offline pass: every picture once, broken ones named, shards the same however they were made, and read back as they were."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from gen.artefact import ArtefactError
from gen.data.image_folder import ImageFolder
from gen.data.mixture import Mixture
from gen.data.offline_masks import Share, segment_data_set
from gen.data.scenes import Scenes
from gen.run_files import hold
from gen.segmentation import Classical, GroundTruth, WholePicture
from gen.segmentation.cached import Cached
from gen.segmentation.mask_cache import shard_summary
from image_utils import io
from image_utils.convert import to_tensor

pytest.importorskip("pyarrow")


@pytest.fixture
def folder(tmp_path, photographs) -> Path:
    """Four small photographs of different sizes, one with a mask, and two broken files."""
    root = tmp_path / "photos"
    for number, (name, image) in enumerate(photographs.items()):
        io.save_image(image.resize((60, 40 + number)), root / f"{name}.png")
    io.save_label_map(torch.tensor([[0, 9], [4, 0]]).repeat_interleave(20, 0).repeat_interleave(30, 1), root / "astronaut.mask.png")
    (root / "cut.png").write_bytes((root / "coffee.png").read_bytes()[:500])
    (root / "text.jpg").write_text("no picture")
    return root


def rendered(count: int, segmenter=None, **arguments) -> Scenes:
    return Scenes(num_scenes=count, resolution=16, num_validation=2, twin_probability=0.0, segmenter=segmenter or Classical(), **arguments)


def written(out: Path) -> dict[str, bytes]:
    """Return every file of the shards, and the settings."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.*") if path.suffix in (".parquet", ".json")}


def test_every_picture_of_a_folder_is_cut_at_its_own_size_and_broken_ones_are_named(folder, tmp_path, caplog):
    data = ImageFolder(root=str(folder), segmenter=GroundTruth(fallback=Classical()), num_held_out=2, on_bad_file="skip")
    with caplog.at_level(logging.WARNING):
        outcome = segment_data_set(data, tmp_path / "masks", shard_size=4)
    assert (outcome.pictures, outcome.made) == (6, 6)
    assert [line.split(":")[0] for line in outcome.broken] == ["entry 3", "entry 5"]
    assert "cut.png" in outcome.broken[0]
    assert "text.jpg" in outcome.broken[1]
    assert all(any(line in message for message in caplog.messages) for line in outcome.broken)
    names = [row[0] for number in (0, 1) for row in shard_summary(tmp_path / "masks", number)]
    assert names == ["astronaut.png", "chelsea.png", "coffee.png", "entry 3", "rocket.png", "entry 5"]
    cached = Cached(str(tmp_path / "masks"))
    counted = 0
    for name in names:
        if name.endswith(".png"):
            pixel_values = to_tensor(io.load_image(folder / name))
            truth = io.load_label_map(folder / "astronaut.mask.png") if name == "astronaut.png" else Classical()(pixel_values)
            assert torch.equal(cached(pixel_values), truth)
            counted += len(truth.unique()) - 1
    assert outcome.regions == counted
    assert outcome.sheet is not None
    assert io.load_image(outcome.sheet).width > 4 * 180
    assert "6 pictures" in str(outcome)
    assert "2 broken" in str(outcome)


def test_a_data_set_trains_on_its_cached_masks(folder, tmp_path):
    data = ImageFolder(root=str(folder), segmenter=Classical(), num_held_out=1, on_bad_file="skip", train_batch_size=2, num_validation=1)
    segment_data_set(data, tmp_path / "masks")
    again = ImageFolder(
        root=str(folder),
        segmenter=Cached(str(tmp_path / "masks")),
        num_held_out=1,
        on_bad_file="skip",
        train_batch_size=2,
        num_validation=1,
    )
    for one, other in zip(data.train_batches(seed=0), again.train_batches(seed=0), strict=False):
        assert torch.equal(one.source.regions.masks, other.source.regions.masks)
        assert torch.equal(one.target.pixel_values, other.target.pixel_values)
        break
    assert torch.equal(data.validation_batch().target.regions.masks, again.validation_batch().target.regions.masks)


def test_rendered_scenes_are_cut_with_their_targets_and_their_validation_scenes(tmp_path):
    data = Scenes(num_scenes=6, resolution=16, num_validation=2, twin_probability=1.0)
    outcome = segment_data_set(data, tmp_path, shard_size=5)
    names = [row[0] for number in (0, 1) for row in shard_summary(tmp_path, number)]
    pairs = [item.target is not None for item in data.items(list(range(6)))]
    assert any(pairs)
    expected = [name for i, pair in enumerate(pairs) for name in (f"entry {i}", f"entry {i} (target)")[: 1 + pair]]
    assert names == [*expected, "entry 6", "entry 7"]
    assert outcome.pictures == len(names)
    cached = Cached(str(tmp_path))
    for item in data.items(list(range(6))) + data.validation_items(2):
        for seen in (item, item.target):
            if seen is not None:
                assert torch.equal(cached(seen.pixel_values), seen.label_map)


def test_shares_and_loader_processes_and_interruptions_change_no_byte(tmp_path):
    whole, shared, resumed = tmp_path / "whole", tmp_path / "shared", tmp_path / "resumed"
    assert segment_data_set(rendered(38), whole, shard_size=6).made == 40
    outcomes = [segment_data_set(rendered(38, num_workers=2 * (index == 1)), shared, 6, Share(index, 3)) for index in (1, 2, 0)]
    assert [outcome.made for outcome in outcomes] == [12, 12, 16]
    assert [outcome.pictures for outcome in outcomes] == [12, 12, 16]
    assert sorted(path.name for path in shared.glob("*.png")) == [f"contact_sheet-{index}-of-3.png" for index in range(3)]
    assert written(whole) == written(shared)
    together = segment_data_set(rendered(38), shared, 6)
    assert (together.pictures, together.made, together.regions) == (40, 0, sum(outcome.regions for outcome in outcomes))
    shutil.copytree(whole, resumed)
    shutil.rmtree(resumed / "shard-000002")
    (resumed / "shard-000004" / "masks.parquet").write_bytes(b"cut short")
    untouched = (resumed / "shard-000003" / "masks.parquet").stat().st_ino
    assert segment_data_set(rendered(38), resumed, shard_size=6).made == 12
    assert written(resumed) == written(whole)
    assert (resumed / "shard-000003" / "masks.parquet").stat().st_ino == untouched
    assert segment_data_set(rendered(38), resumed, shard_size=6).made == 0


def test_a_damaged_shard_of_another_share_does_not_stop_this_one(tmp_path):
    segment_data_set(rendered(6), tmp_path, 4)
    (tmp_path / "shard-000001" / "masks.parquet").write_bytes(b"cut short")
    assert segment_data_set(rendered(6), tmp_path, 4, Share(0, 2)).made == 0
    assert segment_data_set(rendered(6), tmp_path, 4, Share(1, 2)).made == 4


def test_a_picture_that_was_replaced_since_is_named(folder, tmp_path):
    data = ImageFolder(root=str(folder), segmenter=Classical(), num_held_out=0, on_bad_file="skip")
    segment_data_set(data, tmp_path / "masks", 4)
    io.save_image(io.load_image(folder / "coffee.png").rotate(180), folder / "rocket.png")
    with pytest.raises(ValueError, match=r"rocket\.png: has changed since .* remove .*shard-000001 and run again"):
        segment_data_set(data, tmp_path / "masks", 4)


def test_what_differs_from_the_masks_that_are_there_is_said(tmp_path):
    segment_data_set(rendered(4), tmp_path)
    segment_data_set(rendered(4, train_batch_size=3, num_workers=1), tmp_path)  # how batches are made changes no mask
    for data, size, difference in (
        (rendered(5), 1000, "data.entries: 6 there, 7 now"),
        (rendered(4, scene_seed=1), 1000, "data.scene_seed: 0 there, 1 now"),
        (rendered(4, Classical(contrast=9.0)), 1000, r"segmenter.contrast: 18.0 there, 9.0 now"),
        (rendered(4, WholePicture()), 1000, r"segmenter.class: .*Classical\" there, .*WholePicture\" now"),
        (rendered(4), 7, "shard_size: 1000 there, 7 now"),
    ):
        with pytest.raises(ArtefactError, match=difference):
            segment_data_set(data, tmp_path, size)


def test_two_processes_do_not_work_on_one_share(tmp_path):
    """The lock of another process is asked for, so the other one must be another."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        tmp_path.joinpath("masks").mkdir()
        lock = hold(tmp_path / "masks" / ".share-0-of-2.lock")
        os.write(writer, b"held")
        os.read(os.pipe()[0], 1) if lock else None
        os._exit(0)
    try:
        assert os.read(reader, 4) == b"held"
        with pytest.raises(ValueError, match=rf"process {child} .* works on share 0/2 already"):
            segment_data_set(rendered(4), tmp_path / "masks", 2, Share(0, 2))
        assert segment_data_set(rendered(4), tmp_path / "masks", 2, Share(1, 2)).made == 2
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_segmenter_that_fails_stops_the_pass_and_names_the_picture(folder, tmp_path, num_workers):
    data = ImageFolder(root=str(folder), segmenter=GroundTruth(), num_held_out=0, on_bad_file="skip", num_workers=num_workers)
    with pytest.raises(ValueError, match=r"^chelsea\.png: a picture came without a label map"):
        segment_data_set(data, tmp_path / "masks")
    assert segment_data_set(replace(data, segmenter=Classical()), tmp_path / "masks").made == 6  # the mistake left nothing in the way


def test_of_two_settings_that_begin_together_the_first_shard_decides(tmp_path):
    """A second task comes with other settings while the first one has not written a shard."""

    @dataclass(frozen=True)
    class Late(Classical):
        def __call__(self, pixel_values, label_map=None):
            if not (tmp_path / "shard-000001").exists():
                segment_data_set(rendered(4), tmp_path, 3, Share(1, 2))
            return super().__call__(pixel_values, label_map)

    with pytest.raises(ArtefactError, match=r"segmenter\.class: .*Classical\" there, .*Late\" now"):
        segment_data_set(rendered(4, Late()), tmp_path, 3, Share(0, 2))
    assert not (tmp_path / "shard-000000").exists()


def test_nothing_readable_makes_no_sheet(tmp_path, folder):
    data = ImageFolder(root=str(folder), num_held_out=0, on_bad_file="skip")
    for path in folder.iterdir():
        path.write_bytes(b"")
    outcome = segment_data_set(data, tmp_path / "masks")
    assert (outcome.pictures, len(outcome.broken), outcome.sheet) == (6, 6, None)


def test_a_share_without_shards_does_nothing(tmp_path):
    outcome = segment_data_set(rendered(4), tmp_path, 1000, Share(1, 2))
    assert (outcome.pictures, outcome.made, outcome.sheet) == (0, 0, None)


@pytest.mark.parametrize("text", ["", "1", "1/", "/2", "2/2", "-1/2", "a/b", "0/0", "1/2/3"])
def test_shares_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"is not i/n"):
        Share.parse(text)
    assert Share.parse("3/8") == Share(3, 8)


def test_a_mixture_is_referred_to_its_parts(tmp_path):
    scenes = partial(Scenes, num_scenes=4, twin_probability=0.0)
    with pytest.raises(ValueError, match=r"segment its parts \(one, two\)"):
        segment_data_set(Mixture(parts={"one": scenes, "two": scenes}), tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_a_shard_size_below_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="shard_size=0"):
        segment_data_set(rendered(4), tmp_path, 0)
