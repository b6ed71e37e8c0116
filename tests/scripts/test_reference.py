"""docs/reference.md is in step with the docstrings, shows every public name, and its links lead somewhere."""

from __future__ import annotations

import ast
import re
import runpy
import shutil
import sys

import griffe
import pytest

import gen

INSIDE = ("gallery", "previews", "seen")  # modules of gen.gallery for the rest of it


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "reference.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def package(repository):
    return griffe.load("gen", search_paths=[repository], docstring_parser="google")


def run(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")


def test_the_page_is_in_step(repository, monkeypatch):
    run(repository / "scripts" / "reference.py", monkeypatch, "--check")


def test_a_page_that_is_not_in_step_is_told_and_mended(repository, page, tmp_path, monkeypatch):
    for folder in ("scripts", "docs"):
        (tmp_path / folder).mkdir()
    for name in ("reference.py", "reference.md.jinja"):
        shutil.copy(repository / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "gen").symlink_to(repository / "gen")
    script, copy = tmp_path / "scripts" / "reference.py", tmp_path / "docs" / "reference.md"
    copy.write_text(page.replace("Shift a region's centre", "Shift a centre"))
    with pytest.raises(SystemExit, match=r"docs/reference.md is not in step with the docstrings; run: python scripts/reference.py"):
        run(script, monkeypatch, "--check")
    run(script, monkeypatch)
    assert copy.read_text(encoding="utf-8") == page


def test_every_public_name_is_on_the_page(repository, page, package):
    edits = ast.parse((repository / "gen" / "editing" / "__init__.py").read_text(encoding="utf-8"))
    listed = next(node.value for node in edits.body if isinstance(node, ast.Assign))
    names = set(gen.__all__) - {"edits"} | {f"edits.{name}" for name in ast.literal_eval(listed) if name not in gen.__all__}
    for module in package["gallery"].modules.values():
        if module.name not in INSIDE:
            members = [member for member in module.members.values() if member.is_public and not member.is_alias]
            names |= {member.path for member in members if member.is_class or member.is_function}
    names |= {f"gen.gallery.{name}" for name in package["gallery"].exports}
    shown = re.findall(r'<a id="([\w.]+)">', page)
    assert names - set(shown) == set(), "name them in scripts/reference.md.jinja, or their module in INSIDE"
    assert len(shown) == len(set(shown))


def test_docstrings_are_shown_whole(page, package):
    """Words of Returns that stand before a colon or on a second line were once lost."""
    words = re.sub(r"\]\(#[^)]*\)|[\[\]`]", "", " ".join(page.split()))
    for signed in re.findall(r'^#+ <a id="([\w.]+)">', page, re.MULTILINE):
        docstring = package[signed.removeprefix("gen.")].docstring
        returned = docstring and re.search(r"\nReturns:\n(.*?)(\n\n|$)", docstring.value, re.DOTALL)
        if returned:
            assert re.sub(r"[\[\]`]", "", " ".join(returned[1].split())) in words, signed


def test_what_is_returned_is_told_to_its_end(page, package):
    """A second line is no second value, and words before a colon are no type."""
    for path in ("gallery.position_sweep.position_sweep", "gallery.mask_dropout.mask_dropout"):
        told = re.search(r"\n *Returns:\n(.+?)(\n\n|$)", package[path].docstring.value + "\n\n", re.DOTALL)
        assert told and " ".join(told[1].split()) in page, path


def test_links_lead_to_a_place_on_the_page_or_to_a_file(repository, page):
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    places = headings | set(re.findall(r'<a id="([\w.]+)">', page))
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert [link for link in links if link.startswith("#") and link[1:] not in places] == []
    assert [link for link in links if not link.startswith("#") and not (repository / "docs" / link).exists()] == []


def test_every_name_on_the_page_is_documented(page, package, caplog):
    """A class or function says what it is; where it has Args, they are its parameters, in their order; no section is misread."""
    for signed in re.findall(r'^#+ <a id="([\w.]+)">', page, re.MULTILINE):
        member = package[signed.removeprefix("gen.")]
        if member.is_class or member.is_function or "property" in member.labels:
            assert member.docstring and member.docstring.value, signed
            sections = {section.kind.value: section.value for section in member.docstring.parsed}
            documented = [item.name.lstrip("*") for item in sections.get("parameters", [])]
            taken = [item.name for item in member.parameters if item.name not in ("self", "cls")] if "parameters" in sections else []
            assert documented == taken, signed
    assert caplog.messages == []
