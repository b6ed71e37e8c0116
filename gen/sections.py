"""Sections: the named parts of a step, heard by an account of seconds, by PyTorch's profiler and by Nsight.

Sections may lie in one another. An account counts every moment once, for the innermost section that is open, so what the sections of a step
took never adds up to more than the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch

_MAX_TURNS = 4096  # an account that nobody reads stays small
_NOTHING = nullcontext()


class Account:
    """Seconds by section since the last reading: of the wall clock, or on a CUDA device of the device's own.

    A device works behind the program, which only hands out work. So an event is handed to it wherever a section begins or ends, and nobody
    waits for it before the account is read: what a section took is the time between two events, the device's idling included.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._open: list[str] = []
        self._turns: list[tuple[str | None, Any]] = []  # what ended there, and when
        self._seconds: dict[str, float] = {}

    @contextmanager
    def count(self, name: str) -> Iterator[None]:
        """Count what happens inside for `name`, but for the sections that lie in it."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def read(self) -> dict[str, float]:
        """Return the seconds of every section since the last reading; one that is open is counted up to now."""
        self._turn()
        self._settle(len(self._turns) - 1)
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _turn(self) -> None:
        """Note that what has been going on ends here."""
        now: Any = torch.cuda.Event(enable_timing=True) if self._on_cuda else perf_counter()
        if self._on_cuda:
            now.record()
        self._turns.append((self._open[-1] if self._open else None, now))
        if len(self._turns) > _MAX_TURNS:
            self._settle(_MAX_TURNS // 2)  # the older ones: a device has long reached them

    def _settle(self, count: int) -> None:
        """Add up the time between the first `count + 1` turns, and keep the last of them: the next time begins there."""
        for (_, begin), (name, end) in pairwise(self._turns[: count + 1]):
            if self._on_cuda:
                end.synchronize()
            if name is not None:
                seconds = begin.elapsed_time(end) / 1000 if self._on_cuda else end - begin
                self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        del self._turns[:count]


_ACCOUNT: ContextVar[Account | None] = ContextVar("account", default=None)


@contextmanager
def open_account(device: torch.device) -> Iterator[Account]:
    """Let an account hear the sections of this thread; those of other threads, a loader's for example, happen beside the step."""
    account = Account(device)
    token = _ACCOUNT.set(account)
    try:
        yield account
    finally:
        _ACCOUNT.reset(token)


@contextmanager
def section(name: str) -> Iterator[None]:
    """Name what happens inside, or in the function that this decorates; next to free where nobody listens."""
    account = _ACCOUNT.get()
    traced = torch.profiler.record_function(name) if torch.autograd._profiler_enabled() else _NOTHING
    ranged = torch.cuda.nvtx.range(name) if torch.cuda.is_initialized() else _NOTHING
    counted = account.count(name) if account is not None else _NOTHING
    with traced, ranged, counted:
        yield
