"""The edit command: arguments in, a picture out; everything that can be refused is refused before the model is loaded."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from PIL import Image
from torch import Tensor

from gen.artefact import MANIFEST, ArtefactError, verify_folder
from gen.editing.editor import CutImage, edit_image, rehearse
from gen.editing.framing import frame_regions
from gen.editing.plan import OPERATIONS, EditPlan, from_json
from gen.editing.record import EDITED, KEY, EditRecord, PictureRecord, picture_sha256, read_record
from gen.regions import RegionPose
from image_utils.convert import to_tensor
from image_utils.draw import overlay_regions
from image_utils.io import load_image, load_label_map, save_image

Segment = Callable[[Tensor, None], Tensor]  # pixel_values [3 h w] -> label map [h w]
Segmenters = Mapping[str, Callable[[int], Segment]]  # by name: most objects -> segmenter

MAX_PLAN_BYTES = 1 << 20
LISTED_SIDE = 512  # pixels: small pictures are enlarged to about this, so that the numbers can be read


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's folder, checked but not loaded."""

    folder: Path
    sha256: str
    num_regions: int


def main(arguments: Sequence[str], segmenters: Segmenters, description: str) -> int:
    """Run the edit command.

    Args:
        arguments: of the command line, without the program's name.
        segmenters: the choices of --segmenter; the first is the default.
        description: shown by --help.

    Returns:
        0, or 2 if the input was refused; the reason is on stderr.
    """
    parser = _parser(segmenters, description)
    options = parser.parse_args(arguments)
    try:
        _run(options, segmenters)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _parser(segmenters: Segmenters, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--image", type=Path, required=True, help="the picture to edit")
    parser.add_argument("--out", type=Path, help="PNG to write")
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    parser.add_argument("--pipeline", type=Path, help="folder of a trained pipeline (default: the one that comes with the package)")
    parser.add_argument("--list", action="store_true", help="write the numbered regions to --out and print them as a table")
    parser.add_argument("--plan", type=Path, help="a plan as JSON, or a PNG that an edit was saved in: makes that picture again")
    parser.add_argument("--regions", type=Path, help="label map as PNG (default: NAME.mask.png beside the picture, if it is there)")
    parser.add_argument("--segmenter", choices=list(segmenters), help=f"cut the pictures without masks (default: {next(iter(segmenters))})")
    painting = parser.add_argument_group("painting")
    painting.add_argument("--prompt", help="a sentence as a second condition")
    painting.add_argument("--seed", type=int, help="of the noise; the same seed makes the same picture (default: 0)")
    painting.add_argument("--steps", type=int, dest="num_inference_steps", metavar="STEPS", help="of the sampler (default: 4)")
    painting.add_argument(
        "--refine", type=int, dest="refinement_steps", metavar="STEPS", help="optimise the picture's tokens first, 100 is much (default: 0)"
    )
    painting.add_argument("--guidance-scale", type=float, metavar="SCALE", help="1 is no guidance (default: 1)")
    painting.add_argument("--no-composite", action="store_false", dest="composite", default=None, help="keep the model's own surroundings")
    edits = parser.add_argument_group("edits, done in this order; positions are shares of the picture's longer side, from the top left")
    for name, kind in OPERATIONS.items():
        names = tuple(field.name.upper() for field in fields(kind))
        optional = any(field.default is not MISSING for field in fields(kind))
        shape: dict[str, Any] = (
            {"nargs": "+", "metavar": (names[0], " ".join(names[1:]))} if optional else {"nargs": len(names), "metavar": names}
        )
        edits.add_argument(f"--{name}", action=_AppendEdit, kind=kind, dest="edits", default=[], help=kind.__doc__, **shape)
    return parser


class _AppendEdit(argparse.Action):
    """Append an edit, built from its option's texts, to one list for all operations, so that the order is kept."""

    def __init__(self, *arguments: Any, kind: type, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.kind = kind

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        names, hints = [field.name for field in fields(self.kind)], get_type_hints(self.kind)
        needed = sum(field.default is MISSING for field in fields(self.kind))
        if not needed <= len(values) <= len(names):
            parser.error(f"{option}: {len(values)} values given, but it takes {' '.join(names).upper()}")
        arguments = {}
        for name, text in zip(names, values, strict=False):
            convert: Any = int if hints[name] is int else float if hints[name] in (float, float | None) else str
            try:
                arguments[name] = convert(text)
            except ValueError:
                parser.error(f"{option}: {name.upper()} must be {'a whole number' if convert is int else 'a number'}, not {text!r}")
        namespace.edits = [*namespace.edits, self.kind(**arguments)]


def _run(options: argparse.Namespace, segmenters: Segmenters) -> None:
    out = _destination(options)
    plan, record = _plan(options)
    images = {EDITED: load_image(options.image)} | {name: load_image(name) for name in plan.sources()}
    regions = _given_regions(options, images, record)
    pipeline = _pipeline(options.pipeline, record)
    for name, image in images.items():
        regions[name] = _cut(name, image, regions.get(name), options, segmenters, pipeline)
    if options.list:
        _list(images[EDITED], regions[EDITED], pipeline, out)
        return
    others = {name: CutImage(image, regions[name]) for name, image in images.items() if name != EDITED}
    rehearse(plan, CutImage(images[EDITED], regions[EDITED]), others, pipeline.num_regions)
    from gen.models.pipeline import RegionPipeline  # brings diffusers, which takes seconds

    result = edit_image(RegionPipeline.from_pretrained(pipeline.folder), images[EDITED], regions[EDITED], plan, others)
    used = {name: PictureRecord(picture_sha256(image), regions[name]) for name, image in images.items()}
    save_image(result.image, out, {KEY: EditRecord(plan, pipeline.folder.name, pipeline.sha256, used).to_text()})
    print(f"wrote {out}: {len(plan.edits)} edits, {float(result.changed.float().mean()):.0%} of the picture may have changed")


def _destination(options: argparse.Namespace) -> Path:
    """Return where to write, after a check that nothing gets lost there."""
    if options.out is None and not options.list:
        raise ValueError("--out is missing; give the PNG to write")
    out = options.out or Path(f"{options.image.stem}_regions.png")
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: pictures are written as PNG; give a name that ends in .png")
    if out.exists():
        if options.image.exists() and out.samefile(options.image):
            raise ValueError(f"--out {out} is the picture that is edited; give another name")
        if not options.overwrite:
            raise ValueError(f"--out {out} exists; give another name, or --overwrite to replace it")
    return out


def _plan(options: argparse.Namespace) -> tuple[EditPlan, EditRecord | None]:
    """Return the plan of the command line, and the record that it came from, if it came from a picture."""
    names = ("prompt", "seed", "num_inference_steps", "guidance_scale", "refinement_steps", "composite")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.plan is None:
        if not options.edits and not options.list and options.composite is None:
            raise ValueError(
                "nothing to do: give an edit such as --move, or --plan, or --list (--no-composite alone paints the picture anew)"
            )
        return EditPlan(tuple(options.edits), **given), None
    if options.edits or options.list:
        raise ValueError(f"--plan {options.plan} is given together with {'--list' if options.list else 'edits'}; give one of them")
    record = read_record(options.plan) if options.plan.suffix.lower() == ".png" else None
    return replace(record.plan if record else _read_plan(options.plan), **given), record


def _read_plan(path: Path) -> EditPlan:
    if not path.is_file():
        raise ValueError(f"plan {path} does not exist or is no file; give a plan as JSON, or a PNG that an edit was saved in")
    if path.stat().st_size > MAX_PLAN_BYTES:
        raise ValueError(f"plan {path} has {path.stat().st_size} bytes, more than the bound of {MAX_PLAN_BYTES}; is it a plan?")
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _given_regions(options: argparse.Namespace, images: Mapping[str, Image.Image], record: EditRecord | None) -> dict[str, Tensor]:
    """Return the label maps that need no segmenter: of --regions, of the record, or beside the pictures."""
    regions = {}
    for name, image in images.items():
        path = options.image if name == EDITED else Path(name)
        beside = path.with_suffix(".mask.png")
        if name == EDITED and options.regions is not None:
            regions[name] = _label_map(options.regions, image)
        elif options.segmenter is not None:
            continue
        elif record is not None:
            if picture_sha256(image) != record.pictures[name].sha256:
                raise ValueError(
                    f"{path} is not the picture that {options.plan} was made from, so the regions kept there do not fit; "
                    "give that picture, or --regions or --segmenter to cut this one"
                )
            regions[name] = record.pictures[name].label_map
        elif beside.exists():
            regions[name] = _label_map(beside, image)
    return regions


def _label_map(path: Path, image: Image.Image) -> Tensor:
    label_map = load_label_map(path)
    try:
        CutImage(image, label_map)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return label_map


def _pipeline(folder: Path | None, record: EditRecord | None) -> Pipeline:
    """Check the pipeline's files, and that a picture which is made again is made with the same one."""
    if folder is None:
        from gen.models.pipeline import shipped_folder

        chosen = shipped_folder()
    else:
        chosen = folder
    verify_folder(chosen)
    try:
        num_regions = int(json.loads((chosen / "model_index.json").read_text())["num_regions"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"{chosen / 'model_index.json'} does not describe a region pipeline ({error!r}); give another folder"
        ) from error
    found = hashlib.sha256((chosen / MANIFEST).read_bytes()).hexdigest()
    if record is not None and found != record.pipeline_sha256:
        difference = f"the picture was made with the pipeline {record.pipeline!r} ({record.pipeline_sha256[:12]}), and {chosen} is another"
        if folder is None:
            raise ValueError(f"{difference}; give it with --pipeline")
        print(f"note: {difference}; the result will differ", file=sys.stderr)
    return Pipeline(chosen, found, num_regions)


def _cut(
    name: str, image: Image.Image, label_map: Tensor | None, options: argparse.Namespace, segmenters: Segmenters, pipeline: Pipeline
) -> Tensor:
    """Return a picture's label map, from the segmenter if it has none yet; refuse more regions than the pipeline holds."""
    if label_map is None:
        segment = segmenters[options.segmenter or next(iter(segmenters))](pipeline.num_regions - 1)
        label_map = segment(to_tensor(image), None)
    largest = int(label_map.max())
    if largest >= pipeline.num_regions:
        raise ValueError(
            f"the regions of {name or options.image} are numbered up to {largest}, but the pipeline {pipeline.folder} holds "
            f"{pipeline.num_regions - 1} objects; merge some, or number them anew"
        )
    return label_map


def _list(image: Image.Image, label_map: Tensor, pipeline: Pipeline, out: Path) -> None:
    """Write the numbered regions and print them, positions as the edits take them."""
    regions = frame_regions(label_map, LISTED_SIDE, pipeline.num_regions)
    pose = RegionPose.from_regions(regions)
    print("region    area  centre         size")
    for number in regions.valid[0].nonzero()[:, 0].tolist():
        if number > 0:
            (x, y), (width, height) = pose.centre[0, number].tolist(), pose.size[0, number].tolist()
            share = float((label_map == number).float().mean())
            print(f"{number:>6}  {share:>6.1%}  {x:.3f}, {y:.3f}   {width:.3f} x {height:.3f}")
    save_image(overlay_regions(image, label_map, scale=max(1, LISTED_SIDE // max(image.size))), out)
    print(f"wrote {out}")
