"""Write docs/reference.md: every public name with its signature and docstring, read from the source without importing it.

python scripts/reference.py [--check]    # --check writes nothing and says whether the page is in step
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import griffe
import jinja2

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"


def page() -> str:
    """Fill scripts/reference.md.jinja, which says what stands where, from the docstrings."""
    whole = {"returns_multiple_items": False}  # Returns is one text, of any number of lines
    gen = griffe.load("gen", search_paths=[ROOT], docstring_parser="google", docstring_options=whole)
    places: dict[str, str] = {}  # a name as docstrings may write it -> as a reader writes it, which is its place on the page

    def found(name: str) -> griffe.Object:
        member = gen[name.removeprefix("gen.")]
        return member.final_target if member.is_alias else member

    def placed(name: str) -> str:
        short = name.rpartition(".")[2]
        places.update({name: name, short: name} | {f"{short}.{part}": f"{name}.{part}" for part in found(name).members})
        return name

    def linked(text: str, of: str | None = None) -> str:  # but what `of` itself takes and holds is no link
        own = [*found(of).members, *(item.name for item in getattr(found(of), "parameters", ()))] if of else []
        shown = places.keys() - own
        return re.sub(r"`([\w.]+)`", lambda word: f"[{word[0]}](#{places[word[1]]})" if word[1] in shown else word[0], text)

    def typed(annotation: object) -> str:  # a piece of code that links interrupt
        pieces = re.split(r"([A-Z]\w+)", str(annotation).replace("'", '"'))
        return "".join(linked(f"`{piece}`") for piece in pieces if piece).replace("``", "")

    def signature(name: str, width: int = 100) -> str:  # a longer one has a line for each argument
        line = (found(name).signature(name=name) or name).replace("'", '"')
        lines = re.sub(r", (?=\*|\w+: )", ",\n    ", line.replace("(", "(\n    ", 1))
        return line if len(line) <= width else re.sub(r"\)( -> .*)?$", r",\n)\1", lines)

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT / "scripts"), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"found": found, "placed": placed, "linked": linked, "typed": typed, "signature": signature}
    return re.sub(r"\n{3,}", "\n\n", environment.get_template("reference.md.jinja").render())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="end with status 1 if the page is not what would be written")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        raise SystemExit("docs/reference.md is not in step with the docstrings; run: python scripts/reference.py")
