"""Accelerate remembers the process's first settings; every test here starts without them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _fresh_accelerate(monkeypatch):
    from accelerate.state import AcceleratorState

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
