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
COMMANDS = ("gallery", "run_page")  # of gen.gallery: what scripts are made of, not what a notebook calls


def page() -> str:
    """Fill scripts/reference.md.jinja, which says what stands where, from the docstrings."""
    one_text = {"returns_multiple_items": False, "returns_named_value": False}  # else a second line would be a second value
    gen = griffe.load("gen", search_paths=[ROOT], docstring_parser="google", docstring_options=one_text)
    homes = [gen["editing.refine"], *(gen["gallery"][name] for name in sorted(gen["gallery"].modules) if name not in COMMANDS)]
    members = [member for home in homes for member in home.members.values() if not member.is_alias and member.is_public]
    members += [gen["regions.TensorFields"], gen["regions.concatenate"]]
    names = {member.path: member.path for member in members if member.is_class or member.is_function}
    names |= {f"gen.gallery.previews.{name}": f"gen.gallery.{name}" for name in gen["gallery"].exports}
    names |= {gen["editing"].members[name].target_path: f"edits.{name}" for name in gen["editing"].exports}
    names |= {gen.members[name].target_path: name for name in gen.exports}
    anchors = {key: name for path, name in names.items() for key in (path, name, path.rpartition(".")[2]) if key != "edits"}
    anchors |= {f"{name}.{part}": f"{name}.{part}" for path, name in names.items() for part in gen[path[4:]].members}
    gallery = [path for path in names if path.startswith("gen.gallery.")]
    gallery.sort(key=lambda path: 0 if ".panel." in path else 1 if str(getattr(gen[path[4:]], "returns", "")) == "Panel" else 2)

    def linked(text: str, of: griffe.Object | None = None) -> str:
        own = {*of.members, *(item.name for item in getattr(of, "parameters", ()))} if of else {}
        return re.sub(r"`([\w.]+)`", lambda it: f"[{it[0]}](#{anchors[it[1]]})" if it[1] in anchors and it[1] not in own else it[0], text)

    def typed(annotation: object) -> str:
        pieces = re.split(r"([A-Z]\w+)", str(annotation).replace("'", '"'))
        return linked("`" + "".join(f"``{piece}``" if piece in anchors else piece for piece in pieces) + "`").replace("``", "")

    def signature(member: griffe.Function | griffe.Class, name: str, width: int = 100) -> str:  # longer: a line an argument
        if len(line := (member.signature(name=name) or name).replace("'", '"')) <= width:
            return line
        return re.sub(r"\)( -> .*)?$", r",\n)\1", re.sub(r", (?=\*|\w+: )", ",\n    ", line.replace("(", "(\n    ", 1)))

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT / "scripts"), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"linked": linked, "typed": typed, "signature": signature}
    return re.sub(r"\n{3,}", "\n\n", environment.get_template("reference.md.jinja").render(gen=gen, names=names, gallery=gallery))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="end with status 1 if the page is not what would be written")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        raise SystemExit("docs/reference.md is not in step with the docstrings; run: python scripts/reference.py")
