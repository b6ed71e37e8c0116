"""WebShards: shards as the webdataset library writes them, read by seek, resumed anywhere; and shards that are damaged."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.formats import tar_samples
from gen.data.web_shards import WebShards
from gen.segmentation import GroundTruth
from tests.one_step import TINY, assert_trains_and_reloads, composed

STILL = Augmentation(probability=0.0)
SIDE = 24


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, kind, lossless=True)
    return content.getvalue()


def sample(number: int) -> dict:
    """Return a sample whose red tells its number; objects 3 and 7 stand in columns of their own."""
    picture = np.full((SIDE, SIDE, 3), number, np.uint8)
    label_map = np.zeros((SIDE, SIDE), np.uint8)
    label_map[:, 4:10], label_map[4:20, 14:18] = 3, 7
    return {"__key__": f"group/{number:06d}", "png": encoded(picture), "seg.png": encoded(label_map), "txt": f"number {number}"}


@pytest.fixture
def shards(tmp_path):
    """Ten samples in three shards of 4, 4 and 2."""
    folder = tmp_path / "shards"
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "train-%06d.tar"), maxcount=4, verbose=0) as writer:
        for number in range(10):
            writer.write(sample(number))
    return folder


def web_shards(root, **settings) -> WebShards:
    shared = {"num_held_out": 0, "resolution": SIDE, "train_batch_size": 2, "source_augmentation": STILL, "target_augmentation": STILL}
    return WebShards(root=str(root), **(shared | settings))


def numbers(batches) -> list[int]:
    red = torch.cat([batch.target.pixel_values[:, 0, 0, 0] for batch in batches])
    return ((red + 1) * 127.5).round().long().tolist()


def take(data, count, **arguments):
    return list(itertools.islice(data.train_batches(seed=3, **arguments), count))


def test_pictures_regions_and_captions_are_those_written(shards):
    data = web_shards(shards)
    assert len(data) == 10
    for number, item in enumerate(data.items(list(range(10)))):
        assert ((item.pixel_values + 1) * 127.5).round().unique().tolist() == [number]
        assert item.caption == f"number {number}"
        assert item.label_map.unique(return_counts=True)[1].tolist() == [SIDE * SIDE - 6 * SIDE - 64, 6 * SIDE, 64]
    assert data.pictures()[5].name == "train-000001.tar: group/000005"
    batch = take(data, 1)[0]
    assert batch.source.regions.valid.tolist() == [[True, True, True, False, False, False]] * 2
    assert [f"number {number}" for number in numbers([batch])] == list(batch.captions)


def test_an_epoch_has_every_sample_once_and_takes_shards_window_by_window(shards):
    data = web_shards(shards, window=1)
    epochs = numbers(take(data, 10))
    first, second = epochs[:10], epochs[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    for epoch in (first, second):
        in_shards = [number // 4 for number in epoch]
        assert len(list(itertools.groupby(in_shards))) == 3, "with a window of one shard, each is finished before the next"
    together = numbers(take(web_shards(shards, window=3), 5))
    assert len(list(itertools.groupby(number // 4 for number in together))) > 3
    assert sorted(together) == list(range(10))


def test_a_stream_continues_anywhere_whatever_the_workers_and_processes(shards):
    whole = numbers(take(web_shards(shards, window=2), 12))
    assert numbers(take(web_shards(shards, window=2, num_workers=2), 12)) == whole
    assert numbers(take(web_shards(shards, window=2), 5, start=14)) == whole[14:]
    first, second = (take(web_shards(shards, window=2), 6, rank=rank, num_processes=2) for rank in (0, 1))
    assert numbers(batch for both in zip(first, second, strict=True) for batch in both) == whole


def test_held_out_samples_are_not_trained_on_and_overfitting_takes_the_first(shards):
    data = web_shards(shards, num_held_out=3)
    held_out = [item.caption for item in data.validation_items(5)]
    trained = {f"number {number}" for number in numbers(take(data, 20))}
    assert len(held_out) == 3
    assert len(trained) == 7
    assert not trained & set(held_out)
    assert set(numbers(take(web_shards(shards, overfit_items=3), 6))) == {0, 1, 2}


def test_shards_by_name(shards):
    assert len(web_shards(f"{shards}/train-{{000001..000002}}.tar")) == 6
    assert len(web_shards(f"{shards}/train-000000.tar")) == 4
    with pytest.raises(ValueError, match=r"train-000003\.tar does not exist or is no plain file"):
        web_shards(f"{shards}/train-{{000000..000003}}.tar")


def test_the_headers_are_walked_once(shards, monkeypatch):
    first = web_shards(shards)
    monkeypatch.setattr(tar_samples, "_walked", None)
    again = web_shards(shards)
    assert np.array_equal(first._places, again._places)
    monkeypatch.undo()


def test_a_shard_that_was_made_anew_and_a_damaged_memory_are_walked_again(shards, tmp_path, caplog):
    assert len(web_shards(shards)) == 10
    with webdataset.TarWriter(str(shards / "train-000002.tar")) as writer:
        for number in range(3):
            writer.write(sample(number))
    assert len(web_shards(shards)) == 11
    for kept in Path(tmp_path / "cache").rglob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert len(web_shards(shards)) == 11
    assert "looked up anew" in caplog.text


def add(tar: tarfile.TarFile, name: str, content: bytes, **more) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_links_folders_and_other_files_are_passed_over(tmp_path, kind):
    """Names of more than 100 characters or beyond ASCII have extended headers, which belong to their sample."""
    deep = "folder/" * (18 if kind == tarfile.USTAR_FORMAT else 20) + ("ä\nb" if kind == tarfile.PAX_FORMAT else "a")
    picture, other = sample(5), sample(6)
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as tar:
        add(tar, "folder", b"", type=tarfile.DIRTYPE)
        add(tar, "failed.json", b"{}")
        add(tar, f"{deep}.PNG", picture["png"], mtime=1.5)
        add(tar, f"{deep}.json", json.dumps({"caption": " deep ", "width": 3}).encode())
        add(tar, f"{deep}.mp4", bytes(3000))
        add(tar, "._b.png", b"of a Mac")
        add(tar, "link.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "../../b.png", other["png"])
        add(tar, "../../b.mask.png", other["seg.png"])
    items = web_shards(tmp_path).items([0, 1])
    assert [item.caption for item in items] == ["deep", ""]
    assert items[1].label_map.unique().tolist() == [0, 1, 2]
    assert numbers(take(web_shards(tmp_path, overfit_items=2), 1)) in ([5, 6], [6, 5])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "cache"]


def test_it_trains_a_step(shards, tmp_path):
    words = ("dataset=web_shards", f'dataset.root="{shards}/train-{{000000..000002}}.tar"', "dataset.num_held_out=2")
    assert_trains_and_reloads(composed(*TINY, *words), tmp_path / "pipeline")


class TestBadShards:
    def cut(self, shards, keep: int) -> None:
        path = shards / "train-000001.tar"
        path.write_bytes(path.read_bytes()[:keep])

    def test_one_that_breaks_off_is_named_or_kept_up_to_there(self, shards, caplog):
        starts = web_shards(shards)._places[4:8, 0].tolist()
        for keep, left in ((starts[3] + 2000, 3), (starts[3], 2), (starts[0] + 600, 0), (100, 0)):  # the last may have lost its mask
            self.cut(shards, keep)
            with pytest.raises(ValueError, match=r"train-000001\.tar is damaged or breaks off at byte \d+ of \d+ .*on_bad_file=skip"):
                web_shards(shards)
            with caplog.at_level(logging.WARNING):
                assert len(web_shards(shards, on_bad_file="skip")) == 6 + left
            assert f"{left} samples are kept" in caplog.text

    def test_zeros_in_the_middle_of_a_header_are_found(self, shards):
        path = shards / "train-000000.tar"
        content, start = bytearray(path.read_bytes()), int(web_shards(shards)._places[2, 0])
        content[start + 124 : start + 136] = b"77777777777\0"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"damaged or breaks off at byte {start} "):
            web_shards(shards)

    def test_a_shard_that_went_away_or_changed_is_named(self, shards):
        data = web_shards(shards)
        path = shards / "train-000001.tar"
        path.write_bytes(bytes(reversed(path.read_bytes())))
        with pytest.raises(ValueError, match=r"train-000001\.tar is damaged"):
            data.items([5])
        path.unlink()
        with pytest.raises(ValueError, match=r"train-000001\.tar cannot be read any more \(No such file"):
            data.items([5])

    def test_what_is_no_plain_tar_is_refused(self, tmp_path):
        with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
            add(tar, "a.png", sample(1)["png"])
        with pytest.raises(ValueError, match=r"a\.tar is damaged.*not compressed"):
            web_shards(tmp_path)
        for root, message in (
            ("https://x/a.tar", "is an address"),
            ("pipe:cat a.tar", "is an address"),
            (tmp_path / "no", "names no shard"),
        ):
            with pytest.raises(ValueError, match=message):
                web_shards(root)
        with pytest.raises(ValueError, match=r"dataset\.window=0 is too small"):
            web_shards(tmp_path, window=0)

    def test_a_file_of_zeros_after_the_first_samples_is_no_end(self, shards):
        """What is left of a download into a file that was made at its full size."""
        path = shards / "train-000001.tar"
        content = path.read_bytes()
        start = int(web_shards(shards)._places[6, 0])
        path.write_bytes(content[:start] + bytes(3 << 20))
        with pytest.raises(ValueError, match=rf"train-000001\.tar is damaged or breaks off at byte {start} "):
            web_shards(shards)
        path.write_bytes(content + bytes(1 << 19))
        assert len(web_shards(shards)) == 10

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "a.tar")
        with pytest.raises(ValueError, match=r"a\.tar does not exist or is no plain file"):
            web_shards(tmp_path)

    def test_a_negative_size_ends_the_walk(self, tmp_path):
        info = tarfile.TarInfo("a.png")
        info.size = -1024
        (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        with pytest.raises(ValueError, match="-1024 bytes"):
            web_shards(tmp_path)

    @pytest.mark.parametrize(
        ("extension", "content", "message"),
        [
            ("png", b"no picture", r"bad\.tar: b cannot be read"),
            ("seg.png", encoded(np.zeros((3, 5), np.uint8)), r"b \(label map\) is 5x3 pixels but the picture is 24x24"),
            ("seg.png", encoded(np.zeros((24, 24, 3), np.uint8)), "is a picture in mode RGB"),
            ("json", b"{", r"bad\.tar: b\.json is no JSON"),
            ("json", b"[" * 200_000, r"bad\.tar: b\.json is no JSON"),
            ("txt", bytes(2 << 20), r"'b' has a txt of 2097152 bytes, more than the bound of 1048576"),
        ],
    )
    def test_a_bad_member_is_named_or_its_sample_replaced_by_the_next(self, tmp_path, extension, content, message):
        whole = {key: value for key, value in sample(4).items() if key in ("png", "seg.png")}
        with tarfile.open(tmp_path / "bad.tar", "w") as tar:
            for key, files in (("a", whole), ("b", whole | {extension: content}), ("c", whole)):
                for kind, data in files.items():
                    add(tar, f"{key}.{kind}", data)
        with pytest.raises(ValueError, match=message):
            web_shards(tmp_path, segmenter=GroundTruth()).items([0, 1, 2])
        assert len(web_shards(tmp_path, on_bad_file="skip").items([0, 1, 2])) == 3
