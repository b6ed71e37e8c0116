"""TFRecords, Example and CRC-32C: what the protobuf library and a byte-by-byte checksum say, and damage of every kind is named."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.data.formats.crc32c import crc32c, masked_crc32c
from gen.data.formats.tf_example import Example
from gen.data.formats.tfrecord import TFRecords
from tests.data.toy_tfrecords import EXAMPLE, example, framed, masked, slow_crc32c, write_records


class TestChecksum:
    def test_known_values(self):
        # RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
        assert crc32c(bytes(32)) == 0x8A9136AA
        assert crc32c(b"\xff" * 32) == 0x62A8AB43
        assert crc32c(bytes(range(32))) == 0x46DD794E
        assert crc32c(b"123456789") == 0xE3069283
        assert crc32c(b"") == 0

    @pytest.mark.parametrize("size", [1, 255, 256, 257, 4 * 4096 - 1, 4 * 4096, 4 * 4096 + 261])
    def test_lanes_join_to_the_checksum_of_all_bytes(self, size):
        data = np.random.default_rng(size).bytes(size)
        assert crc32c(data) == slow_crc32c(data)
        assert masked_crc32c(memoryview(data)).to_bytes(4, "little") == masked(slow_crc32c(data))


class TestRecords:
    def test_any_record_of_several_files_is_read_by_its_number(self, tmp_path):
        paths = [write_records(tmp_path / "a", [b"one", b"", b"three" * 1000]), write_records(tmp_path / "b", [b"four"])]
        records = TFRecords(paths)
        assert len(records) == 4
        assert [bytes(records[index]) for index in (3, 0, 2, 1, 2)] == [b"four", b"one", b"three" * 1000, b"", b"three" * 1000]
        assert records.name(3) == f"the record at byte 12 of {tmp_path / 'b'}"
        assert len(TFRecords([write_records(tmp_path / "empty", [])])) == 0

    def test_one_changed_bit_is_noticed(self, tmp_path):
        path = write_records(tmp_path / "a", [b"sound", b"x" * 3000])
        data = bytearray(path.read_bytes())
        data[-1000] ^= 4
        path.write_bytes(data)
        records = TFRecords([path])
        assert bytes(records[0]) == b"sound"
        with pytest.raises(ValueError, match=r"the record at byte 33 of .*a is damaged.*download the file again"):
            records[1]

    def test_a_length_that_lies_is_noticed_before_it_is_believed(self, tmp_path):
        path = tmp_path / "a"
        data = bytearray(framed(b"record"))
        data[5] = 200  # about 2^47 bytes
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a is no TFRecord file, or damaged: a length's checksum"):
            TFRecords([path])
        length = (1 << 47).to_bytes(8, "little")
        path.write_bytes(length + masked(slow_crc32c(length)) + b"record")
        with pytest.raises(ValueError, match=r"a ends within a record"):
            TFRecords([path])

    @pytest.mark.parametrize("left", [5, 12, 14, 20])
    def test_a_file_that_is_cut_off_is_named(self, tmp_path, left):
        path = tmp_path / "a"
        path.write_bytes(framed(b"record")[:left])
        with pytest.raises(ValueError, match=r"a ends within a record; download the file again"):
            TFRecords([path])

    def test_a_file_that_is_cut_off_later_is_named(self, tmp_path):
        path = write_records(tmp_path / "a", [b"first", b"second"])
        records = TFRecords([path])
        os.truncate(path, 25)
        with pytest.raises(ValueError, match=r"is damaged: its checksum"):
            records[1]
        for change in (path.unlink, path.touch):
            change()
            with pytest.raises(ValueError, match=r"the record at byte 12 of .*a cannot be read any more .*; bring it back"):
                records[0]


class TestExample:
    def test_features_of_all_kinds(self):
        message = Example(example(names=[b"a", b"", b"ccc"], sizes=[0.5, -2.25, 3.0, 4.0], instances__category=[3, -1, 2**62]), "record 7")
        assert [bytes(value) for value in message.byte_strings("names")] == [b"a", b"", b"ccc"]
        assert message.floats("sizes", 2, 2).tolist() == [[0.5, -2.25], [3.0, 4.0]]
        assert message.floats("sizes", -1).shape == (4,)
        assert message.integers("instances/category", 3).tolist() == [3, -1, 2**62]
        assert "names" in message
        assert "other" not in message

    @settings(max_examples=30)
    @given(
        st.dictionaries(
            st.text(max_size=5),
            st.one_of(
                st.lists(st.binary(max_size=5), min_size=1),
                st.lists(st.floats(width=32, allow_nan=False), min_size=1),
                st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
            ),
            max_size=5,
        )
    )
    def test_whatever_protobuf_writes_is_read(self, features):
        message = EXAMPLE()
        kinds = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
        for name, values in features.items():
            getattr(message.features.feature[name], kinds[type(values[0])]).value.extend(values)
        read = Example(message.SerializeToString(), "it")
        for name, values in features.items():
            if isinstance(values[0], bytes):
                assert [bytes(value) for value in read.byte_strings(name)] == values
            elif isinstance(values[0], float):
                assert read.floats(name, -1).tolist() == values
            else:
                assert read.integers(name, -1).tolist() == values

    def test_lists_that_are_not_packed_or_in_pieces(self):
        # Feature {float_list {value: 1.0 (fixed32), [2.0, 3.0] (packed)}} and {int64_list {value: 5 (varint), [6, 7] (packed)}}
        floats = bytes([0x0D]) + np.float32(1).tobytes() + bytes([0x0A, 8]) + np.array([2, 3], np.float32).tobytes()
        integers = bytes([0x08, 5, 0x0A, 2, 6, 7])
        data = b""
        for key, number, values in ((b"f", 2, floats), (b"i", 3, integers)):
            feature = bytes([number << 3 | 2, len(values)]) + values
            entry = bytes([0x0A, 1]) + key + bytes([0x12, len(feature)]) + feature
            data += bytes([0x0A, len(entry)]) + entry
        message = Example(bytes([0x0A, len(data)]) + data, "it")
        assert message.floats("f", 3).tolist() == [1, 2, 3]
        assert message.integers("i", 3).tolist() == [5, 6, 7]

    def test_arrays_of_single_bytes(self):
        values = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
        message = Example(example(mask=[bytes([value]) for value in values.flat], other=[b"ab", b"", b"c"]), "it")
        assert np.array_equal(message.single_bytes("mask", 5, 7), values)
        for key, shape in (("mask", (5, 8)), ("other", (3,))):
            with pytest.raises(ValueError, match=rf"it: feature '{key}' does not hold .* single bytes"):
                message.single_bytes(key, *shape)

    def test_what_is_asked_for_in_vain_is_named(self):
        message = Example(example(a=[b"x"], b=[1.0, 2.0]), "record 3 of f")
        with pytest.raises(ValueError, match=r"record 3 of f has no feature 'c', only a, b; is this another data set"):
            message.floats("c", 1)
        with pytest.raises(ValueError, match=r"feature 'a' holds bytes, not floats"):
            message.floats("a", 1)
        for shape in ((3,), (-1, 3), (0, -1)):
            with pytest.raises(ValueError, match=r"feature 'b' has 2 values where"):
                message.floats("b", *shape)

    @given(st.binary(max_size=60), st.integers(0, 200))
    def test_garbage_is_refused_and_never_crashes(self, noise, place):
        sound = example(names=[b"a", b"bc"], sizes=[1.0, 2.0], counts=[1, 300])
        for data in (noise, sound[: place % len(sound)], sound[: place % len(sound)] + noise):
            with contextlib.suppress(ValueError):
                message = Example(data, "it")
                message.byte_strings("names")
                message.floats("sizes", -1)
                message.integers("counts", -1)
