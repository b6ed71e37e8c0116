"""The tests that are skipped without timm, run with the timm that `scripts/test` keeps apart."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

APART = Path(sys.prefix) / "timm"


@pytest.mark.timm
def test_what_needs_timm_passes_with_timm(repository):
    if importlib.util.find_spec("timm") is not None:
        pytest.skip("timm is installed: its tests run like all others")
    if not (APART / "timm").is_dir():
        pytest.skip(f"no timm in {APART}; scripts/test puts it there")
    tests = ["tests/models/test_timm_backbone.py", "tests/test_options.py", "-k", "timm"]
    command = [sys.executable, str(repository / "tests" / "timm_apart" / "run.py"), str(APART), "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=repository, env=os.environ | {"PYTHONPATH": str(repository)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 20 and "any_ViT_or_ResNet_of_timm" not in done.stdout, done.stdout
