"""Sections: every moment is counted once, for the innermost; nothing is heard that nobody listens for."""

from __future__ import annotations

import threading
from time import perf_counter, sleep

import pytest
import torch

from gen import sections
from gen.sections import open_account, section

CPU = torch.device("cpu")


def test_a_moment_counts_for_the_innermost_section():
    begin = perf_counter()
    with open_account(CPU) as account:
        with section("outer"):
            sleep(0.02)
            with section("inner"):
                sleep(0.03)
            with section("inner"):
                sleep(0.03)
        sleep(0.05)  # belongs to nobody
        seconds = account.read()
    assert list(seconds) == ["outer", "inner"]
    assert seconds["outer"] >= 0.02
    assert seconds["inner"] >= 0.06
    assert sum(seconds.values()) <= perf_counter() - begin - 0.05


def test_a_reading_begins_anew_and_cuts_the_open_section_in_two():
    with open_account(CPU) as account:
        with section("logging"):
            sleep(0.2)
            first = account.read()
            sleep(0.01)
        second = account.read()
        assert account.read() == {}
    assert first["logging"] >= 0.2
    assert 0.01 <= second["logging"] < 0.2


def test_an_account_that_nobody_reads_stays_small_and_exact(monkeypatch):
    monkeypatch.setattr(sections, "_MAX_TURNS", 10)
    with open_account(CPU) as account:
        for _ in range(20):
            with section("a"), section("b"):
                sleep(0.002)
                assert len(account._turns) <= 10
        seconds = account.read()
    assert seconds["b"] >= 0.04
    assert seconds["a"] < seconds["b"]


def test_a_section_ends_with_its_exception_and_a_decorated_function_keeps_its_value():
    @section("failing")
    def fail() -> None:
        raise FloatingPointError

    @section("sound")
    def add(a: int, b: int) -> int:
        return a + b

    with open_account(CPU) as account:
        with pytest.raises(FloatingPointError):
            fail()
        sleep(0.05)
        assert add(1, b=2) == 3
        seconds = account.read()
    assert set(seconds) == {"failing", "sound"}
    assert seconds["failing"] < 0.05


def test_other_threads_are_not_heard_and_nobody_is_once_the_account_is_closed():
    def load() -> None:
        with section("loader"):
            sleep(0.01)

    with open_account(CPU) as account:
        with section("data"):
            thread = threading.Thread(target=load)
            thread.start()
            thread.join()
        assert list(account.read()) == ["data"]
    load()
    assert account.read() == {}


def test_sections_are_in_the_trace_while_a_profiler_runs():
    with torch.profiler.profile() as profiler, section("encode"):
        torch.ones(3).sum()
    with section("decode"):
        pass
    names = {event.key for event in profiler.key_averages()}
    assert "encode" in names
    assert "decode" not in names


@pytest.mark.gpu
def test_a_device_counts_its_work_for_the_section_that_asked_for_it():
    """The program is out of `work` long before the device is."""
    matrix = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    begin = perf_counter()
    with open_account(matrix.device) as account:
        with section("work"):
            for _ in range(50):
                matrix = matrix @ matrix * 1e-3
        handed_over = perf_counter() - begin
        with section("wait"):
            sleep(0.001)
        seconds = account.read()
    assert seconds["work"] > handed_over
    assert sum(seconds.values()) <= perf_counter() - begin
