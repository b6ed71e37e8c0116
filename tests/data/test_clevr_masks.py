"""GzipRecords and ClevrMasks: DeepMind's file, record by record in any order; the copy is made once and whole; damage is named."""

from __future__ import annotations

import gzip
import threading

import numpy as np
import pytest
import torch

from gen.data.clevr_masks import FILE, ClevrMasks
from gen.data.formats import gzip_records
from gen.data.formats.gzip_records import GzipRecords
from tests.data.toy_tfrecords import example, framed, write_records
from tests.one_step import assert_trains_by_name

HEIGHT, WIDTH, ENTITIES = 240, 320, 11
SHAPES, COLOURS, MATERIALS, SIZES = [0, 2, 1, 3], [0, 8, 1, 5], [0, 1, 2, 1], [0, 1, 1, 2]


def scene(number: int):
    """Return the picture and the masks of a scene: background, two objects, and an object that nothing is seen of in scene 1."""
    masks = np.zeros((ENTITIES, HEIGHT, WIDTH), np.uint8)
    masks[1, 60:140, 100 + 10 * number : 160 + 10 * number] = 255
    masks[2, 120:200, 180:240] = 255
    if number != 1:
        masks[3, 20:40, 150:190] = 255
    masks[0] = 255 * (masks[1:].max(0) == 0)
    pixels = np.stack([60 * masks.argmax(0), np.full((HEIGHT, WIDTH), 20 * number), 255 - 60 * masks.argmax(0)], -1).astype(np.uint8)
    return pixels, masks


def single(values) -> list[bytes]:
    return [bytes([value]) for value in np.asarray(values, np.uint8).ravel().tolist()]


def clevr_example(number: int) -> bytes:
    """Serialise a scene as clevr_with_masks.py describes it: arrays of bytes are lists of strings of one byte each."""
    pixels, masks = scene(number)
    empty = [0] * (ENTITIES - 4)
    coordinates = np.zeros((ENTITIES, 3), np.float32)
    coordinates[1:4] = [[100, 100, 9.0], [200, 160, 11.0], [170, 30, 13.0]]
    return example(
        image=single(pixels),
        mask=single(masks),
        x=[0.5] * ENTITIES,
        y=[0.5] * ENTITIES,
        z=[0.7] * ENTITIES,
        pixel_coords=coordinates.ravel().tolist(),
        rotation=[45.0] * ENTITIES,
        size=single(SIZES + empty),
        material=single(MATERIALS + empty),
        shape=single(SHAPES + empty),
        color=single(COLOURS + empty),
        visibility=[1.0] * 4 + [0.0] * (ENTITIES - 4),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clevr_with_masks")
    # The writer's bit-by-bit checksums would take minutes for megabytes; gzip's own stand for those of the records.
    write_records(folder / FILE, [clevr_example(number) for number in range(3)], packed=True)
    return folder


class TestClevrMasks:
    def test_pictures_masks_and_labels_are_those_that_were_written(self, root):
        data = ClevrMasks(root=str(root), num_held_out=0)
        for number in (2, 0, 1):
            picture = data.pictures()[number]
            pixels, masks = scene(number)
            assert np.array_equal(np.asarray(picture.image), pixels)
            assert np.array_equal(picture.label_map.numpy(), masks.argmax(0))
            assert picture.labels == {
                "clevr_shape": {1: 1, 2: 0, 3: 2},
                "clevr_colour": {1: 7, 2: 0, 3: 4},
                "clevr_material": {1: 0, 2: 1, 3: 0},
                "clevr_size": {1: 0, 2: 0, 3: 1},
            }
            assert picture.depth == {1: -0.5, 2: 0.0, 3: 0.5}

    def test_a_batch(self, root):
        data = ClevrMasks(root=str(root), num_held_out=1, train_batch_size=2, num_workers=1, depth_probability=1.0, overfit_items=2)
        batch = next(data.train_batches(seed=0))
        red = ((batch.source.pixel_values[:, 0] + 1) * 127.5 / 60).round()
        for row, masks in enumerate(batch.source.regions.masks):
            inner = masks & (torch.nn.functional.max_pool2d((~masks).float()[None], 3, 1, 1)[0] == 0)
            assert all((red[row][inner[key]] == key).all() for key in range(6))
        assert batch.labels["clevr_colour"][:, 1:3].tolist() == [[7, 0], [7, 0]]
        assert torch.allclose(batch.target.pose.depth[:, 1:3], torch.tensor([-0.5, 0.0]))
        assert batch.source.rotations.isnan().all(), "the file has no cameras"
        assert len(data) == 2
        assert len(data.validation_items(8)) == 1

    def test_a_missing_file_is_named_with_the_way_to_get_it(self, tmp_path):
        with pytest.raises(ValueError, match=rf"holds no {FILE}; download it there with gcloud storage cp"):
            ClevrMasks(root=str(tmp_path))

    def test_another_data_set_is_named(self, tmp_path):
        write_records(tmp_path / FILE, [example(image=[b"png"])], packed=True)
        with pytest.raises(ValueError, match=r"record 0 of .*: feature 'image' does not hold \(240, 320, 3\) single bytes"):
            ClevrMasks(root=str(tmp_path), num_held_out=0).pictures()[0]


class TestGzipRecords:
    RECORDS = (b"one", b"", b"three" * 5000)

    @pytest.fixture
    def path(self, tmp_path):
        return write_records(tmp_path / "a.tfrecords", list(self.RECORDS), packed=True)

    def test_the_copy_is_made_once_and_is_the_same_stream(self, path):
        path.with_name("a.by_record.part").write_bytes(b"left by a process that was killed")
        first = GzipRecords(path)
        copy = path.with_name("a.by_record.tfrecords")
        assert gzip.decompress(copy.read_bytes()) == gzip.decompress(path.read_bytes())
        written = copy.stat().st_mtime_ns
        path.unlink()
        second = GzipRecords(path)
        assert copy.stat().st_mtime_ns == written
        for records in (first, second):
            assert [bytes(records[index]) for index in (2, 0, 1)] == [self.RECORDS[index] for index in (2, 0, 1)]
        assert sorted(file.name for file in path.parent.iterdir()) == ["a.by_record.lock", "a.by_record.npy", "a.by_record.tfrecords"]

    def test_of_several_that_come_at_once_one_copies(self, path, monkeypatch):
        calls = []
        read = gzip_records._framed_records
        monkeypatch.setattr(gzip_records, "_framed_records", lambda path: calls.append(path) or read(path))
        found = []
        threads = [threading.Thread(target=lambda: found.append(bytes(GzipRecords(path)[2]))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [self.RECORDS[2]] * 4
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda data: data[:-20], r"a.tfrecords is damaged, or not gzipped"),
            (lambda data: data[:30] + bytes([data[30] ^ 255]) + data[31:], r"a.tfrecords"),
            (lambda data: gzip.decompress(data), r"a.tfrecords is damaged, or not gzipped"),
            (lambda data: gzip.compress(gzip.decompress(data)[:-9]), r"a.tfrecords ends within a record"),
            (lambda data: gzip.compress(b"x" * 100), r"a.tfrecords is no TFRecord file"),
            (lambda data: b"", r"a.tfrecords holds no record"),
        ],
    )
    def test_a_damaged_file_is_named_and_leaves_no_copy(self, path, damage, message):
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(ValueError, match=message):
            GzipRecords(path)
        assert sorted(file.name for file in path.parent.iterdir()) == ["a.by_record.lock", "a.tfrecords"]

    def test_a_record_that_would_fill_the_memory_is_refused(self, path, monkeypatch):
        monkeypatch.setattr(gzip_records, "MAX_RECORD_BYTES", 1000)
        with pytest.raises(ValueError, match="has a record of 25000 bytes, more than the bound of 1000"):
            GzipRecords(path)

    def test_a_copy_that_was_changed_is_noticed(self, path):
        records = GzipRecords(path)
        copy, index = path.with_name("a.by_record.tfrecords"), path.with_name("a.by_record.npy")
        data = bytearray(copy.read_bytes())
        data[-6] ^= 1  # gzip's checksum of the last record
        copy.write_bytes(data)
        with pytest.raises(ValueError, match=r"record 2 of .* is damaged"):
            records[2]
        copy.write_bytes(data[:-1])
        with pytest.raises(ValueError, match=r"do not belong together; delete both"):
            GzipRecords(path)
        np.save(index, np.zeros((2, 2)))
        with pytest.raises(ValueError, match=r"do not belong together; delete both"):
            GzipRecords(path)
        index.write_bytes(b"")
        with pytest.raises(ValueError, match=r"a\.by_record\.npy cannot be read .*; delete it and .*a\.by_record\.tfrecords"):
            GzipRecords(path)
        copy.unlink()
        with pytest.raises(ValueError, match=r"record 1 of .* cannot be read any more .*; bring it back"):
            records[1]

    def test_a_member_that_unpacks_to_more_than_its_record_is_refused(self, path):
        GzipRecords(path)
        copy, index = path.with_name("a.by_record.tfrecords"), path.with_name("a.by_record.npy")
        copy.write_bytes(gzip.compress(framed(b"one") + bytes(5000)))
        np.save(index, np.array([copy.stat().st_size]))
        with pytest.raises(ValueError, match=r"record 0 of .* is damaged; delete the file"):
            GzipRecords(path)[0]


def test_one_training_step_by_name(root):
    assert_trains_by_name("clevr_masks", root, "dataset.num_held_out=1")
