"""The members of a sweep: those that Hydra's sweep grammar makes of a command, always the same ones."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString, Transformer, ValueType
from hydra.errors import HydraException

ROOT = Path(__file__).resolve().parents[1]
MAX_MEMBERS = 10_000
NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")  # needs no quotes in a path, a shell or an override


class SweepError(ValueError):
    """A sweep that cannot be done as it was asked for; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One training of a sweep.

    Attributes:
        name: its number, and the values that vary.
        exp: its run folder is outputs/<exp>.
        overrides: the words after train.py.
    """

    name: str
    exp: str
    overrides: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path("outputs", self.exp)


def members_of(words: Sequence[str], *, samples: int | None, seed: int) -> tuple[str, list[Member]]:
    """Expand a command line as Hydra does, the last key fastest.

    Args:
        words: overrides, of which some sweep. Choices and ranges are crossed; intervals are drawn together.
        samples: how many values are drawn from the intervals.
        seed: of the values drawn from intervals, and of `shuffle`.

    Returns:
        The sweep's id and its members.

    Raises:
        SweepError: if a word is not in Hydra's grammar, or the words make no sweep.
    """
    parser = OverridesParser.create()
    parsed = [_parsed(parser, word, seed) for word in words]
    sweep_id = _id_of(words, parsed, samples, seed)
    keys = [override.get_key_element() for override in parsed]
    for word, override, key in zip(words, parsed, keys, strict=True):
        if override.is_sweep_override() and keys.count(key) > 1:
            raise SweepError(f"{word}: {key} is given more than once, and only the last counts; give it once")
    intervals = [index for index, override in enumerate(parsed) if override.is_interval_sweep()]
    if samples is not None and not intervals:
        raise SweepError(f"--samples {samples}: no word is an interval; write for example 'trainer.learning_rate=interval(1e-4,1e-3)'")
    values = [_values(parser, word, override, samples, seed) for word, override in zip(words, parsed, strict=True)]
    axis = [intervals[0] if index in intervals else index for index in range(len(words))]
    axes = sorted(set(axis))
    if math.prod(len(values[index]) for index in axes) > MAX_MEMBERS:
        raise SweepError(f"{shlex.join(words)}: more than {MAX_MEMBERS} trainings; sweep over less")
    kept = [index for index, override in enumerate(parsed) if override.key_or_group != "exp"]
    members: dict[tuple[Any, ...], Member] = {}
    for numbers in itertools.product(*(range(len(values[index])) for index in axes)):
        at = dict(zip(axes, numbers, strict=True))
        chosen, meaning = zip(*(values[index][at[axis[index]]] for index in kept), strict=True) if kept else ((), ())
        varying = [word for index, word in zip(kept, chosen, strict=True) if len(values[index]) > 1]
        name = "_".join([f"{len(members):04d}", *map(_slug, varying)])[:80].rstrip("-_.")
        if meaning in members:
            raise SweepError(
                f"{shlex.join(chosen)}: {members[meaning].name} and {name} are the same training; sweep over it, or draw it, once"
            )
        exp = f"{sweep_id}/{name}"
        members[meaning] = Member(name=name, exp=exp, overrides=(*chosen, f"exp={exp}"))
    return sweep_id, list(members.values())


def _parsed(parser: OverridesParser, word: str, seed: int) -> Override:
    random.seed(f"{seed} {word}")  # Hydra shuffles with the global generator, lists while it parses
    try:
        return parser.parse_overrides([word])[0]
    except HydraException as error:
        raise SweepError(f"{word}: {str(error).split('See https')[0].strip()}") from error


def _id_of(words: Sequence[str], parsed: list[Override], samples: int | None, seed: int) -> str:
    """Return the name that the command line gives, else a function of the command: never of the clock."""
    named = [override for override in parsed if override.key_or_group == "exp"]
    if not named:
        return "sweep_" + hashlib.sha256(json.dumps([list(words), samples, seed]).encode()).hexdigest()[:8]
    if any(override.is_sweep_override() for override in named):
        raise SweepError("exp: names the sweep, so it cannot be swept; every member gets a name of its own below it")
    if any(override.is_delete() or override.value() is None for override in named):
        raise SweepError("exp: a sweep needs a name; write exp=NAME, or leave it out")
    name = str(named[-1].value())
    if not NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
        raise SweepError(f"exp={name}: a sweep's name has letters, digits, '-', '_', '.' and '/', and stays inside outputs/")
    return name


def _values(parser: OverridesParser, word: str, override: Override, samples: int | None, seed: int) -> list[tuple[str, Any]]:
    """Return the words that a word stands for, none of which sweeps, each with what it means."""
    key = override.get_key_element()
    if not override.is_sweep_override():  # a training would shuffle anew
        return [(f"{key}={override.get_value_element_as_str()}" if "shuffle(" in word else word, None)]
    if override.is_interval_sweep():
        return [(f"{key}={value}", float(value)) for value in _drawn(word, override.value(), samples, f"{seed} {key}")]
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return [(f"{key}={entry}", entry) for entry in _entries(word, override)]
    try:
        random.seed(f"{seed} {word}")  # ... and sweeps when they are listed
        elements = list(itertools.islice(override.sweep_iterator(), MAX_MEMBERS + 1))
    except (HydraException, ValueError) as error:
        raise SweepError(f"{word}: {error}") from error
    if not elements:
        raise SweepError(f"{word}: sweeps over nothing")
    return [(f"{key}={_text(parser, element)}", _meaning(element)) for element in elements]


def _meaning(element: Any) -> Any:
    """Return the same for values that make the same training: a field that holds numbers reads 1, 01 and '1' alike."""
    if isinstance(element, list):
        return tuple(map(_meaning, element))
    if isinstance(element, dict):
        return frozenset((key, _meaning(value)) for key, value in element.items())
    text = element.text if isinstance(element, QuotedString) else str(element)
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text) if kind(text) == kind(text) else text  # not a number is not equal to itself
    return text


def _text(parser: OverridesParser, element: Any) -> str:
    """Write a value so that Hydra reads the same value; its own writing loses the type of str(1,2), and the quotes of str('a)')."""
    text = Transformer.str(element)
    if not isinstance(element, str):
        return text
    try:
        same = parser.parse_override(f"key={text}").value() == element
    except HydraException:
        same = False
    return text if same else QuotedString(element, Quote.single).with_quotes()


def _drawn(word: str, interval: Any, samples: int | None, stream: str) -> Iterator[str]:
    """Draw from an interval: uniformly, or in its logarithm where it is tagged `log`; among integers if it was cast to int.

    A value depends on the seed, the key and its own number alone: another key, or more samples, leave it as it is.
    """
    if samples is None:
        raise SweepError(f"{word}: an interval has no values of its own; say with --samples how many to draw")
    low, high, log = interval.start, interval.end, "log" in interval.tags
    whole = isinstance(low, int)
    if interval.tags - {"log"}:
        raise SweepError(f"{word}: a tag other than 'log', which draws uniformly in the logarithm, means nothing here")
    if not -math.inf < low < high < math.inf or (log and low <= 0):
        raise SweepError(f"{word}: needs two finite numbers, the smaller one first" + (", both above 0" if log else ""))
    end = high + 1 if whole else high
    for number in range(samples):
        share = random.Random(f"{stream} {number}").random()
        value = low * (end / low) ** share if log else low + (end - low) * share
        yield str(min(math.floor(value), high)) if whole else str(min(max(float(f"{value:.6g}"), low), high))


def _entries(word: str, override: Override) -> list[str]:
    """Return the entries of a group that fit a glob."""
    groups = _groups()
    if override.key_or_group not in groups:
        raise SweepError(f"{word}: there is no group '{override.key_or_group}'; there are {', '.join(sorted(groups))}")
    names, glob = sorted(groups[override.key_or_group]), override.value()
    assert isinstance(glob, Glob)
    found = glob.filter(names)
    if not found:
        raise SweepError(f"{word}: fits none of {', '.join(names)}")
    return found


@cache
def _groups() -> dict[str, list[str]]:
    """Return the entries of every group; the configuration takes seconds to import, so its answer is kept until its source changes."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "region-latents")
    known = cache_folder / f"groups-{digest}.json"
    if known.exists():
        return json.loads(known.read_text())
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "configs.preflight", "--groups"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SweepError(f"glob(...): the groups cannot be listed\n{done.stderr.strip()}")
    with suppress(OSError):  # a home that cannot be written
        cache_folder.mkdir(parents=True, exist_ok=True)
        partial = known.with_name(f"{known.name}.{os.getpid()}")
        partial.write_text(done.stdout)
        partial.replace(known)
    return json.loads(done.stdout)


def _slug(word: str) -> str:
    """Shorten `model.width=64` to `width-64`, in characters that need no quotes."""
    key, _, value = word.partition("=")
    last = re.split(r"[./]", key.lstrip("+~"))[-1]
    bare = value.strip("[]{}'\"").replace("+", "")
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{last}-{bare}")
