"""No file, however bad, crashes, hangs or fills the memory: each gives a picture or a ValueError that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from image_utils.bounded import shown
from image_utils.io import load_image
from tests.image_utils.bad_pictures import BAD_ANIMATIONS, READABLE, bad_pictures

MEGABYTE = 1 << 20
MAX_EXTRA = 1024 * MEGABYTE
MAX_SECONDS = 60  # of the processor's time, whatever else the machine does
HANGS_AFTER = 110

# Walks the files under a limit on memory, so that a failure is an error of this process, never the machine's.
WALK = f"""
import json, resource, sys, time, warnings
from image_utils import io, video
warnings.simplefilter("ignore")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {2 * MAX_EXTRA},) * 2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
readers = dict(load_image=io.load_image, check_image=io.check_image, load_label_map=io.load_label_map,
               check_label_map=io.check_label_map, read_text=io.read_text, load_frames=lambda path: video.load_frames(path, 8))
outcomes = {{}}
for name, path in json.loads(sys.stdin.read()).items():
    for reader, read in readers.items():
        try:
            read(path)
            outcomes[f"{{reader}} {{name}}"] = None
        except ValueError as error:
            outcomes[f"{{reader}} {{name}}"] = str(error)
        except BaseException as error:
            outcomes[f"{{reader}} {{name}}"] = "CRASH " + repr(error)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(dict(outcomes=outcomes, extra=(peak - before) * 1024, seconds=time.process_time())))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return bad_pictures(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def walk(corpus, repository):
    files = json.dumps({name: str(path) for name, path in corpus.items()})
    done = subprocess.run(
        [sys.executable, "-c", WALK], input=files, capture_output=True, text=True, timeout=HANGS_AFTER, cwd=repository, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_every_file_gives_a_picture_or_is_refused_by_name(corpus, walk):
    assert len(walk["outcomes"]) == 6 * len(corpus)
    for call, message in walk["outcomes"].items():
        path = corpus[call.split(" ", 1)[1]]
        assert message is None or f"{shown(path)} " in message, f"{call!r}: {message}"
        assert message is None or message.isprintable(), "a message is one line that a terminal and a log can show"


def test_exactly_the_readable_ones_are_read(walk):
    for call, message in walk["outcomes"].items():
        reader, name = call.split(" ", 1)
        if reader == "load_image":
            assert (message is None) == (name in READABLE), f"{call!r}: {message}"
        if reader == "load_frames":
            assert (message is None) == (name in READABLE - BAD_ANIMATIONS), f"{call!r}: {message}"
        if reader == "check_image" and name in READABLE:
            assert message is None


def test_time_and_memory_stay_bounded(walk):
    assert walk["seconds"] < MAX_SECONDS
    assert walk["extra"] < MAX_EXTRA


def test_the_bound_counts_what_is_read_not_what_the_file_system_tells():
    """A file may grow while it is read; here is one that always has more bytes than its size."""
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("no /proc on this system")
    assert path.stat().st_size == 0
    with pytest.raises(ValueError, match="maps has too many bytes, more than the bound of 100;"):
        load_image(path, max_bytes=100)


def test_orientation_survives_resolutions_that_are_no_numbers(corpus):
    assert load_image(corpus["exif_infinite.jpg"]).size == (32, 48)
