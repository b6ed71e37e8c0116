"""Write tf.train.Examples with the protobuf library, and TFRecord files byte by byte: what the readers are compared with."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TYPES = descriptor_pb2.FieldDescriptorProto


def _example_class():
    """Build the class of tf.train.Example, as example.proto and feature.proto of TensorFlow define it."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    for name, kind in (("BytesList", _TYPES.TYPE_BYTES), ("FloatList", _TYPES.TYPE_FLOAT), ("Int64List", _TYPES.TYPE_INT64)):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=_TYPES.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate((("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), start=1):
        feature.field.add(name=name, number=number, type=_TYPES.TYPE_MESSAGE, type_name=f".tensorflow.{kind}", oneof_index=0, label=1)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_TYPES.TYPE_STRING, label=1)
    entry.field.add(name="value", number=2, type=_TYPES.TYPE_MESSAGE, type_name=".tensorflow.Feature", label=1)
    of_entry = ".tensorflow.Features.FeatureEntry"
    features.field.add(name="feature", number=1, type=_TYPES.TYPE_MESSAGE, type_name=of_entry, label=_TYPES.LABEL_REPEATED)
    file.message_type.add(name="Example").field.add(
        name="features", number=1, type=_TYPES.TYPE_MESSAGE, type_name=".tensorflow.Features", label=1
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


EXAMPLE = _example_class()


def example(**features) -> bytes:
    """Serialise features: lists of bytes, floats or integers; `__` in a name stands for `/`."""
    message = EXAMPLE()
    for name, values in features.items():
        feature = message.features.feature[name.replace("__", "/")]
        values = list(values)
        kind = "bytes_list" if isinstance(values[0], bytes) else "int64_list" if isinstance(values[0], int) else "float_list"
        getattr(feature, kind).value.extend(values)
    return message.SerializeToString(deterministic=True)


def slow_crc32c(data: bytes) -> int:
    """Return the CRC-32C bit by bit, as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> bytes:
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(record: bytes, checksum: bytes | None = None) -> bytes:
    """Return a record as a TFRecord file holds it; the checksum of the record is counted unless given."""
    length = struct.pack("<Q", len(record))
    return length + masked(slow_crc32c(length)) + record + (masked(slow_crc32c(record)) if checksum is None else checksum)


def write_records(path: Path, records: list[bytes], packed: bool = False) -> Path:
    """Write a TFRecord file; a packed one is gzipped, and its records' checksums, which nobody reads, are left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(framed(record, bytes(4) if packed else None) for record in records)
    path.write_bytes(gzip.compress(data, compresslevel=1) if packed else data)
    return path
