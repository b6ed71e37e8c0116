"""The samples of a tar shard: where each begins and ends, from one walk over the headers, and the members of one, read by seek."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int64

logger = logging.getLogger(__name__)

_BLOCK = 512
_MAX_EXTENDED_HEADER = 1 << 20
_MAX_END = 1 << 20  # zeros at the end: writers fill up their last, large block
_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_RECORD = re.compile(rb"(\d{1,7}) ([^=\n]+)=")
_MEMBER = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)", re.DOTALL)

Spans = Int64[np.ndarray, "m 2"]


class DamagedShardError(ValueError):
    """A shard that is no tar, breaks off or is damaged; `spans` are the samples that are whole for sure."""

    def __init__(self, message: str, spans: Spans) -> None:
        super().__init__(message)
        self.spans = spans


@dataclass(frozen=True)
class Member:
    """One plain file in a shard.

    Attributes:
        start: where its header begins, in bytes; extended headers are part of it.
        key: its name up to the first dot, folders included: the same for all members of a sample.
        extension: the rest of the name, in lower case.
        content: where its content begins.
        size: of the content.
        end: where the next header begins.
    """

    start: int
    key: str
    extension: str
    content: int
    size: int
    end: int


def sample_spans(shard: Path, wanted: tuple[str, ...]) -> Spans:
    """Return where the samples of a shard begin and end, in bytes; samples without any of the wanted members are left out.

    What the walk over the headers finds is kept in the user's cache folder, by the shard's place, size and time of change.

    Args:
        shard: an uncompressed tar in which the members of a sample follow one another.
        wanted: extensions.

    Raises:
        DamagedShardError: if the shard cannot be walked to its end; names the place.
    """
    if not shard.is_file():
        raise DamagedShardError(f"shard {shard} does not exist or is no plain file; give shards that are", _as_spans([]))
    kept = _kept_at(shard, wanted)
    try:
        return _checked(np.load(kept, allow_pickle=False))
    except FileNotFoundError:
        logger.info("looking up the samples of %s", shard)
    except (OSError, ValueError, EOFError) as error:
        logger.warning("the samples of %s are looked up anew: %s", shard, error)
    spans = _walked(shard, wanted)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, spans)
        partial.replace(kept)
    except OSError as error:  # a home that cannot be written costs a walk at the next start
        logger.warning("the samples of %s are looked up at every start: %s", shard, error)
    return spans


def read_sample(shard: Path, span: tuple[int, int], bounds: dict[str, int]) -> tuple[str, dict[str, bytes]]:
    """Read the members of one sample that are asked for.

    Args:
        shard: that holds it.
        span: as `sample_spans` tells it.
        bounds: most bytes of a member, by the extensions that are read.

    Returns:
        The sample's key, and the contents by extension.

    Raises:
        ValueError: if a member is larger than its bound, or the shard is damaged here; names the shard and the place.
    """
    contents: dict[str, bytes] = {}
    key = ""
    try:
        with open(shard, "rb") as file:
            for member in _members(file, shard, *span):
                key = member.key
                bound = bounds.get(member.extension)
                if bound is None:
                    continue
                if member.size > bound:
                    raise ValueError(
                        f"shard {shard}: {key!r} has a {member.extension} of {member.size} bytes, more than the bound of {bound}"
                    )
                file.seek(member.content)
                contents[member.extension] = file.read(member.size)
    except OSError as error:
        raise ValueError(f"shard {shard} cannot be read any more ({error.strerror}); bring it back") from error
    return key, contents


def _walked(shard: Path, wanted: tuple[str, ...]) -> Spans:
    spans: list[tuple[int, int]] = []
    key, begin, chosen = "", 0, False
    try:
        with open(shard, "rb") as file:
            for member in _members(file, shard, 0, None):
                if member.key != key:
                    key, begin, chosen = member.key, member.start, False
                if chosen:
                    spans[-1] = (begin, member.end)
                elif member.extension in wanted:
                    chosen = True
                    spans.append((begin, member.end))
    except (OSError, ValueError) as error:
        message = f"shard {shard} cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
        raise DamagedShardError(message, _as_spans(spans[:-1] if chosen else spans)) from error
    return _as_spans(spans)


def _members(file: BinaryIO, shard: Path, start: int, end: int | None) -> Iterator[Member]:
    """Yield the plain files whose headers lie between two places; without an end, to the mark that ends an archive.

    Names are keys and never paths. Of extended headers only the name counts, so members end at 8 GiB; links and folders are passed over.
    """
    offset, first, long_name = start, start, ""
    while end is None or offset < end:
        info = _header(file, shard, offset)
        if info is None:
            return
        is_file = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
        size = info.size if is_file or info.type in _EXTENDED else 0
        content = offset + _BLOCK
        if not 0 <= size <= os.fstat(file.fileno()).st_size - content:
            raise _damaged(file, shard, offset, f"{info.name!r} of {size} bytes")
        offset = content + -(-size // _BLOCK) * _BLOCK
        if info.type in _EXTENDED:
            long_name = _long_name(file.read(min(size, _MAX_EXTENDED_HEADER)), info.type) or long_name
            continue
        named = _MEMBER.fullmatch(long_name or info.name)
        if is_file and named:
            yield Member(first, named[1], named[2].lower(), content, size, offset)
        first, long_name = offset, ""


def _header(file: BinaryIO, shard: Path, offset: int) -> tarfile.TarInfo | None:
    """Read the header at a place; None for the mark that ends an archive."""
    file.seek(offset)
    block = file.read(_BLOCK)
    whole = os.fstat(file.fileno()).st_size
    if block == bytes(_BLOCK) and whole - offset <= _MAX_END:
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise _damaged(file, shard, offset, str(error)) from error
    if info.type == tarfile.GNUTYPE_SPARSE:
        raise _damaged(file, shard, offset, "a sparse file")
    return info


def _long_name(content: bytes, kind: bytes) -> str:
    """Return the name that an extended header gives the next member; "" where it gives none."""
    name = content.split(b"\0")[0] if kind == tarfile.GNUTYPE_LONGNAME else b""
    offset = 0
    while kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE) and (record := _RECORD.match(content, offset)):
        offset += int(record[1])
        if offset <= record.end():
            break
        if record[2] == b"path":
            name = content[record.end() : offset - 1]
    return name.decode("utf-8", "surrogateescape")


def _damaged(file: BinaryIO, shard: Path, offset: int, what: str) -> ValueError:
    whole = os.fstat(file.fileno()).st_size
    where = f"at byte {offset} of {whole} ({what})"
    return ValueError(f"shard {shard} is damaged or breaks off {where}; give a whole tar, not compressed, whose end is marked")


def _kept_at(shard: Path, wanted: tuple[str, ...]) -> Path:
    status = os.stat(shard)
    told = repr((str(shard.resolve()), status.st_size, status.st_mtime_ns, wanted))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "region-latents", "shards")
    return folder / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.npy"


def _as_spans(spans: list[tuple[int, int]]) -> Spans:
    return np.array(spans, np.int64).reshape(-1, 2)


def _checked(spans: np.ndarray) -> Spans:
    if spans.dtype != np.int64 or spans.ndim != 2 or spans.shape[1] != 2:
        raise ValueError(f"the kept samples are {spans.dtype} {spans.shape}")
    return spans
