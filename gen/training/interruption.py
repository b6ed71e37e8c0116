"""Stopping on request: a signal is remembered, and the run ends at the next step boundary with a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

# SLURM and other schedulers send one of these before a time limit or a preemption; which one is the cluster's choice.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
REQUEUE_EXIT_CODE = 75  # sysexits.h: EX_TEMPFAIL, "the user is invited to retry"


class Interrupted(BaseException):
    """A run that was asked to stop has written a checkpoint; the same command continues it.

    Like KeyboardInterrupt no `Exception`: nothing went wrong, and whoever handles errors on the way shall not handle this.
    """


class StopRequest:
    """While it is entered, remember the signals that ask to stop instead of dying of them.

    Attributes:
        signal_name: the first signal that came, or None.
    """

    signal_name: str | None = None

    def __enter__(self) -> StopRequest:
        self._previous: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python cannot install handlers
            self._previous = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal_name = self.signal_name or signal.Signals(number).name
