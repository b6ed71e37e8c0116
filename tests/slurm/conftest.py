"""The cluster that a module's tests share, and the folder that its jobs run in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.slurm.cluster import Cluster, ClusterError, missing_programs, running_cluster


def unavailable(reason: str) -> NoReturn:
    """Skip what needs SLURM; fail instead where it was promised to be there."""
    if os.environ.get("SLURM_TESTS_REQUIRED") == "1":
        pytest.fail(f"SLURM_TESTS_REQUIRED=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Start a cluster, and stand where a user of it would stand: in a folder of its own, with its commands."""
    missing = missing_programs()
    if missing:
        remedy = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
        unavailable(f"{', '.join(missing)} not found; {remedy}")
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(running_cluster())
        except ClusterError as error:
            unavailable(str(error))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in {**running.environment, "OMP_NUM_THREADS": "1"}.items():
            patch.setenv(name, value)
        patch.chdir(tmp_path_factory.mktemp("workplace"))
        yield running
