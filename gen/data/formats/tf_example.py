"""Example: the features of one serialised tf.train.Example; of a large one only those that are asked for are decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, UInt8

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # protobuf's wire types
_KINDS = {1: "bytes", 2: "floats", 3: "integers"}  # the fields of tf.train.Feature


class Example:
    """A serialised tf.train.Example, its features found but not decoded.

    The messages: `Example {1: Features}`, `Features {1: map<string, Feature>}`, `Feature {1: BytesList, 2: FloatList, 3: Int64List}`,
    each list `{1: repeated value}`, packed or not. Encoding: https://protobuf.dev/programming-guides/encoding
    """

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        """Find the features.

        Args:
            data: the message; it must outlive this object.
            name: where it is from, for messages.

        Raises:
            ValueError: if the bytes are no such message.
        """
        self.name = name
        self._data = memoryview(data)
        self._features: dict[str, tuple[int, int]] = {}
        for features in self._fields((0, len(data)), 1):
            for entry in self._fields(features, 1):
                key = b"".join(bytes(self._data[slice(*span)]) for span in self._fields(entry, 1))
                for value in self._fields(entry, 2):
                    self._features[key.decode("utf-8", errors="replace")] = value

    def __contains__(self, key: str) -> bool:
        return key in self._features

    def byte_strings(self, key: str) -> list[memoryview]:
        """Return the values of a feature of bytes, without copying them.

        Raises:
            ValueError: if there is no such feature or it is of another kind.
        """
        return [self._data[slice(*span)] for chunk in self._list(key, 1) for span in self._fields(chunk, 1)]

    def single_bytes(self, key: str, *shape: int) -> UInt8[np.ndarray, "..."]:
        """Return a feature whose values are strings of one byte each, as DeepMind's data sets store arrays.

        Raises:
            ValueError: if there is no such feature, or it has another number of values or longer ones.
        """
        # Every value takes three bytes: its key, its length (1), itself. There may be a million of them.
        data = b"".join(self._data[slice(*chunk)] for chunk in self._list(key, 1))
        values = np.frombuffer(data, np.uint8)
        if values.size != 3 * math.prod(shape) or not (values[0::3] == 0x0A).all() or not (values[1::3] == 1).all():
            raise ValueError(f"{self.name}: feature {key!r} does not hold {shape} single bytes; is this another data set?")
        return values[2::3].reshape(shape)

    def floats(self, key: str, *shape: int) -> Float[np.ndarray, "..."]:
        """Return a feature of floats; one side of the shape may be -1.

        Raises:
            ValueError: if there is no such feature, it is of another kind, or its values do not fill the shape.
        """
        parts = [self._data[slice(*span)] for chunk in self._list(key, 2) for span in self._fields(chunk, 1, _FOUR_BYTES)]
        return self._shaped(np.frombuffer(b"".join(parts), "<f4"), key, shape)

    def integers(self, key: str, *shape: int) -> Int[np.ndarray, "..."]:
        """Return a feature of integers; one side of the shape may be -1. Not meant for millions of values.

        Raises:
            ValueError: as `floats` does.
        """
        values = []
        for chunk in self._list(key, 3):
            for start, stop in self._fields(chunk, 1, _VARINT):
                while start < stop:
                    value, start = self._varint(start, stop)
                    values.append(value - (1 << 64) if value >> 63 else value)
        return self._shaped(np.array(values, np.int64), key, shape)

    def _shaped(self, values: np.ndarray, key: str, shape: tuple[int, ...]) -> np.ndarray:
        known = math.prod(side for side in shape if side != -1)
        if values.size % known if -1 in shape and known else values.size != known:
            raise ValueError(f"{self.name}: feature {key!r} has {values.size} values where {shape} are expected; is this another data set?")
        return values.reshape(shape)

    def _list(self, key: str, kind: int) -> list[tuple[int, int]]:
        """Return where the list of a feature is; in several pieces if its writer chose so, in none if it is empty."""
        if key not in self._features:
            known = ", ".join(sorted(self._features))
            raise ValueError(f"{self.name} has no feature {key!r}, only {known or 'none'}; is this another data set?")
        chunks = list(self._fields(self._features[key], kind))
        others = [name for number, name in _KINDS.items() if number != kind and any(self._fields(self._features[key], number))]
        if others:
            raise ValueError(f"{self.name}: feature {key!r} holds {others[0]}, not {_KINDS[kind]}; is this another data set?")
        return chunks

    def _fields(self, span: tuple[int, int], wanted: int, plain: int = _LENGTH) -> Iterator[tuple[int, int]]:
        """Yield where the contents of a message's fields of one number are; unknown ones are skipped.

        Args:
            span: of the message.
            wanted: the number.
            plain: wire type of a value that is not packed; those of a length are always accepted.
        """
        place, stop = span
        while place < stop:
            tag, place = self._varint(place, stop)
            number, kind = tag >> 3, tag & 7
            start = place
            if kind == _VARINT:
                _, place = self._varint(place, stop)
            elif kind == _LENGTH:
                length, start = self._varint(place, stop)
                place = start + length
            elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
                place += 4 if kind == _FOUR_BYTES else 8
            else:
                raise self._damaged()
            if place > stop:
                raise self._damaged()
            if number == wanted:
                if kind not in (plain, _LENGTH):
                    raise self._damaged()
                yield start, place

    def _varint(self, place: int, stop: int) -> tuple[int, int]:
        """Return a number of seven bits a byte, and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if place >= stop:
                break
            byte = self._data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, place
        raise self._damaged()

    def _damaged(self) -> ValueError:
        return ValueError(f"{self.name} is damaged, or no tf.train.Example; download the file again")
