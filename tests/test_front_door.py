"""What `from gen import ...` hands out: nothing heavy before it is used, typed, and shown by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import gen

TYPED = Path(__file__).parent / "typed_example.py"


def test_importing_gen_is_light(repository):
    """Only the standard library and gen itself are loaded until a name is used."""
    code = "import sys; before = set(sys.modules); import gen; dir(gen); print(*sorted(set(sys.modules) - before))"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    loaded = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert "gen" in loaded
    assert [name for name in loaded if name.split(".")[0] not in {"gen", *sys.stdlib_module_names}] == []


def test_completion_shows_the_public_names_and_all_of_them_are_there():
    assert dir(gen) == sorted(gen.__all__)
    assert all(getattr(gen, name) is not None for name in gen.__all__)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(AttributeError, match=r"module 'gen' has no attribute 'Latent'; it has LatentImage, .*, edits"):
        _ = gen.Latent


def test_a_script_that_uses_it_passes_the_type_checker(repository, tmp_path):
    """The example asserts the type of every call, and no expression in it may be Any; a misspelt name is found."""
    misspelt = tmp_path / "misspelt.py"
    misspelt.write_text("from gen import LatentPicture, edits\nedits.mov\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--no-error-summary", str(TYPED), str(misspelt)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    errors = done.stdout.splitlines()
    assert [error for error in errors if "misspelt.py" not in error] == []
    assert len(errors) == 2 and '"LatentPicture"' in errors[0] and '"mov"' in errors[1], done.stdout + done.stderr


def test_packages_say_that_they_are_typed(repository):
    assert (repository / "gen" / "py.typed").exists() and (repository / "image_utils" / "py.typed").exists()
