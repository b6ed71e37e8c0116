"""Cases: held-out scenes, one edit of each, and the exact render of what the edit should have made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count as naturals
from itertools import islice

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen.editing.plan import Edit, EditPlan, Flip, Insert, Interpolate, Move, Remove, Resize, Swap, Turn
from gen.regions import Regions, cell_centres
from gen.scenes import SceneSpec, make_twin, render, rotation_period, sample_scene
from gen.scenes.camera import Pinhole
from gen.scenes.placement import Layout
from gen.scenes.sampler import DIFFICULTY
from gen.scenes.spec import ObjectSpec

OPERATIONS = (
    "reconstruct", "no_op", "move", "resize", "flip", "rotate", "remove", "swap", "insert", "move_two", "interpolate_look",
    "interpolate_frame",
)  # fmt: skip
SPLITS = ("simple", "unseen_pairs", "five_objects")  # presets of scenes; `simple` is what the models are trained on
# Of scenes; neither is trained or validated on. The first are for anybody to look at while a recipe is made; the second are scored by the
# benchmark and by the oracle's accuracy alone.
DEVELOPMENT_SEED, HELD_OUT_SEED = 2_000_003, 4_000_037
DONOR = "donor"  # the name of the other picture in a plan

_LEAST_VISIBLE = 0.6  # share of an edited object's amodal mask that has to be seen, before and after
_GREY_LEVEL = 2 / 255  # of 8 bits, in pictures in [-1, 1]
_PATH = (0.25, 0.5, 0.75)  # where the way between two frames has to be legal
_LEAST_TURN = 30 - 1e-6  # degrees
_TRIES = 20


@dataclass(frozen=True)
class Cases:
    """Held-out scenes, one edit of each, and the rendered truth of the edit.

    Region k of the source, of the truth and of the donor is `objects[k - 1]` of their specs; region 0 is the background.

    Attributes:
        operation: one of `OPERATIONS`.
        split: one of `SPLITS`.
        before: the scenes.
        after: what the edits should lead to.
        source: render of `before`, in [-1, 1].
        regions: the true regions of `source`.
        truth: render of `after`, in [-1, 1].
        truth_regions: the true regions of `truth`.
        empty: render of `after` without the edited objects.
        edited: numbers of the edited objects: e = 0 for reconstruct and no_op, 2 for swap and move_two, else 1.
        old_boxes: of the edited objects' amodal masks before the edit, (left, top, right, bottom) in [0, 1]; zeros where they are absent.
        new_boxes: the same after the edit.
        plans: what is asked, by the edits that a user makes. `Move` and `Resize` carry the box that is measured from an object's mask to
            its true box after the edit, perspective included.
        donor: the other picture of insert and interpolate, `DONOR` in the plans.
        donor_regions: its true regions.
        weight: of an interpolation, else 0.
    """

    operation: str
    split: str
    before: list[SceneSpec]
    after: list[SceneSpec]
    source: Float[Tensor, "b 3 h w"]
    regions: Regions
    truth: Float[Tensor, "b 3 h w"]
    truth_regions: Regions
    empty: Float[Tensor, "b 3 h w"]
    edited: list[tuple[int, ...]]
    old_boxes: Float[Tensor, "b e 4"]
    new_boxes: Float[Tensor, "b e 4"]
    plans: list[EditPlan]
    donor: Float[Tensor, "b 3 h w"] | None
    donor_regions: Regions | None
    weight: float = 0.0


def build_cases(
    operation: str,
    count: int,
    resolution: int,
    num_regions: int,
    split: str = "simple",
    seed: int = DEVELOPMENT_SEED,
    weight: float = 0.5,
) -> Cases:
    """Render `count` held-out scenes and what an edit of each should make; fewer cases are the first of more.

    A scene is passed over if no legal edit is found in a fixed number of tries, or if less than 60 % of an edited object's amodal mask is
    seen, before or after; for an interpolation after is its end, so that all weights have the same cases. So is one whose turned object
    would look as if it had been turned by less than 30 degrees.

    Args:
        operation: one of `OPERATIONS`. reconstruct: paint the latents as they are, with no picture to look at; no_op: an edit that changes
            nothing. flip mirrors an object in the vertical plane that holds the line of sight to it. The donor of insert shows the object
            alone, elsewhere, on another scene's floor; that of interpolate_look is the scene with the object in another colour, and that of
            interpolate_frame the scene with the object elsewhere: the truth mixes their rgb (sRGB), or their x and y, by `weight`.
        count: of scenes, at least 1.
        resolution: side of the pictures, in pixels.
        num_regions: n, background included.
        split: one of `SPLITS`.
        seed: of the scenes; the benchmark's are those of `HELD_OUT_SEED`.
        weight: of an interpolation, in [0, 1]: 0 is the source, 1 the donor.

    Raises:
        ValueError: if the operation or the split is unknown, a number is out of range, or `num_regions` is too small for a scene.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r} of cases; choose one of {', '.join(OPERATIONS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of cases; choose one of {', '.join(SPLITS)}")
    if count < 1 or not 0 <= weight <= 1:
        raise ValueError(f"count={count}, weight={weight} of cases is out of range; count must be at least 1, weight in [0, 1]")
    kept: list[_Proposal] = []
    scene_ids = naturals()
    while len(kept) < count:
        specs = (sample_scene(seed, scene_id, split) for scene_id in scene_ids)
        found = (proposal for spec in specs if (proposal := _PROPOSE[operation](spec, weight)) is not None)
        candidates = list(islice(found, count - len(kept)))
        kept += [proposal for proposal, seen in zip(candidates, _seen_enough(candidates, resolution), strict=True) if seen]
    return _rendered(operation, split, kept, resolution, num_regions, weight)


def clean_pixels(cases: Cases) -> Bool[Tensor, "b h w"]:
    """Mark the pixels that the truth leaves as they are: no channel differs by one grey level of 8 bits."""
    return (cases.source - cases.truth).abs().amax(1) < _GREY_LEVEL


def object_area(cases: Cases) -> Bool[Tensor, "b h w"]:
    """Mark the pixels whose centres lie in an edited object's old or new box."""
    height, width = cases.source.shape[-2:]
    points = cell_centres(height, width, cases.old_boxes.device)
    boxes = torch.cat([cases.old_boxes, cases.new_boxes], 1)[:, :, None]
    inside = ((points >= boxes[..., :2]) & (points < boxes[..., 2:])).all(-1).any(1)
    return inside.unflatten(-1, (height, width))


def shadow_area(cases: Cases) -> Bool[Tensor, "b h w"]:
    """Mark the pixels outside the edited objects' boxes that the truth changes: where a shadow lay, and where one falls."""
    return ~clean_pixels(cases) & ~object_area(cases)


@dataclass(frozen=True)
class _Proposal:
    """An edit of a scene that nobody has rendered yet.

    Attributes:
        before: the scene.
        after: what the edit should lead to.
        edited: numbers of the edited objects.
        donor: the other picture.
        end: where the edit leads at full weight; `after` for what has no weight.
    """

    before: SceneSpec
    after: SceneSpec
    edited: tuple[int, ...]
    donor: SceneSpec | None
    end: SceneSpec


def _nothing(spec: SceneSpec, weight: float) -> _Proposal:
    return _Proposal(spec, spec, (), None, spec)


def _twin_of(operation: str) -> Callable[[SceneSpec, float], _Proposal | None]:
    def propose(spec: SceneSpec, weight: float) -> _Proposal | None:
        twin = make_twin(spec, operation, spec.scene_id)
        if twin is None:
            return None
        edited = (twin.object_index, twin.other_index) if twin.other_index else (twin.object_index,)
        return _Proposal(twin.before, twin.after, edited, None, twin.after)

    return propose


def _visible_turn(spec: SceneSpec, weight: float) -> _Proposal | None:
    """Turn an object by an angle that its symmetry does not hide; a twin takes textured objects to have none."""
    proposal = _twin_of("rotate")(spec, weight)
    if proposal is None:
        return None
    period = rotation_period(proposal.before.objects[proposal.edited[0] - 1])
    return proposal if abs(math.remainder(_turned_degrees(proposal), period)) >= _LEAST_TURN else None


def _two_moves(spec: SceneSpec, weight: float) -> _Proposal | None:
    """Move one object, then another one: each move is legal when it is made, so that they can be made one by one too."""
    first = make_twin(spec, "move", spec.scene_id)
    for attempt in range(1, _TRIES):
        second = None if first is None else make_twin(first.after, "move", spec.scene_id + attempt)
        if first is not None and second is not None and first.object_index != second.object_index:
            return _Proposal(spec, second.after, (first.object_index, second.object_index), None, second.after)
    return None


def _insertion(spec: SceneSpec, weight: float) -> _Proposal | None:
    """Insert an object from a picture in which it stands alone, elsewhere and on the next scene's floor."""
    twin = make_twin(spec, "insert", spec.scene_id)
    if twin is None:
        return None
    others = [number for number in range(1, len(spec.objects) + 1) if number != twin.object_index]
    elsewhere = make_twin(_without(twin.after, others), "move", spec.scene_id)
    if elsewhere is None:
        return None
    floor = sample_scene(spec.seed, spec.scene_id + 1, spec.preset).floor
    return _Proposal(twin.before, twin.after, (twin.object_index,), replace(elsewhere.after, floor=floor), twin.after)


def _mixed_look(spec: SceneSpec, weight: float) -> _Proposal | None:
    twin = make_twin(spec, "recolour", spec.scene_id)
    if twin is None:
        return None
    old, new = (scene.objects[twin.object_index - 1] for scene in (twin.before, twin.after))
    rgb, second_rgb = _mixed_colours(old.rgb, new.rgb, weight), _mixed_colours(old.second_rgb, new.second_rgb, weight)
    mixed = replace(old if weight < 0.5 else new, rgb=rgb, second_rgb=second_rgb)
    return _Proposal(spec, _with(spec, twin.object_index, mixed), (twin.object_index,), twin.after, twin.after)


def _mixed_place(spec: SceneSpec, weight: float) -> _Proposal | None:
    twin = make_twin(spec, "move", spec.scene_id)
    if twin is None:
        return None
    layout = Layout(Pinhole.of(spec.camera), DIFFICULTY[spec.preset].hidden)
    number = twin.object_index
    old, new = (scene.objects[number - 1] for scene in (twin.before, twin.after))

    def between(share: float) -> SceneSpec:
        return _with(spec, number, replace(old, x=_mix(old.x, new.x, share), y=_mix(old.y, new.y, share)))

    if not all(layout.accepts(between(share).objects, number - 1) for share in _PATH):
        return None
    return _Proposal(spec, between(weight), (number,), twin.after, twin.after)


_PROPOSE: dict[str, Callable[[SceneSpec, float], _Proposal | None]] = {
    "reconstruct": _nothing,
    "no_op": _nothing,
    **{operation: _twin_of(operation) for operation in ("move", "resize", "flip", "remove", "swap")},
    "rotate": _visible_turn,
    "insert": _insertion,
    "move_two": _two_moves,
    "interpolate_look": _mixed_look,
    "interpolate_frame": _mixed_place,
}


def _mix(a: float, b: float, weight: float) -> float:
    return (1 - weight) * a + weight * b


def _mixed_colours(a: tuple[float, float, float], b: tuple[float, float, float], weight: float) -> tuple[float, float, float]:
    return _mix(a[0], b[0], weight), _mix(a[1], b[1], weight), _mix(a[2], b[2], weight)


def _with(spec: SceneSpec, number: int, item: ObjectSpec) -> SceneSpec:
    return replace(spec, objects=(*spec.objects[: number - 1], item, *spec.objects[number:]))


def _without(spec: SceneSpec, absent: Sequence[int]) -> SceneSpec:
    objects = tuple(replace(item, present=False) if k in absent else item for k, item in enumerate(spec.objects, 1))
    return replace(spec, objects=objects)


def _seen_enough(proposals: list[_Proposal], resolution: int) -> list[bool]:
    """Tell where enough of every edited object is seen, before the edit and at its end; absent objects need not be."""
    enough = [True] * len(proposals)
    for specs in ([proposal.before for proposal in proposals], [proposal.end for proposal in proposals]):
        rendering = render(specs, resolution)
        for row, proposal in enumerate(proposals):
            for number in proposal.edited:
                visible, amodal = (rendering.label_map[row] == number).sum(), rendering.amodal[row, number].sum()
                enough[row] &= bool(visible >= _LEAST_VISIBLE * amodal)
    return enough


def _rendered(operation: str, split: str, kept: list[_Proposal], resolution: int, num_regions: int, weight: float) -> Cases:
    before, after = [proposal.before for proposal in kept], [proposal.after for proposal in kept]
    edited = [proposal.edited for proposal in kept]
    source, truth = render(before, resolution), render(after, resolution)
    empty = [_without(spec, numbers) for spec, numbers in zip(after, edited, strict=True)]
    regions, truth_regions = (Regions.from_label_map(picture.label_map, num_regions) for picture in (source, truth))
    rows, columns = torch.arange(len(kept))[:, None], torch.tensor(edited, dtype=torch.long).reshape(len(kept), -1)
    old_boxes, new_boxes = source.boxes[rows, columns], truth.boxes[rows, columns]
    donors = [proposal.donor for proposal in kept if proposal.donor is not None]
    donor = render(donors, resolution) if donors else None
    donor_regions = None if donor is None else Regions.from_label_map(donor.label_map, num_regions)
    own = regions.boxes()[rows, columns]
    theirs = own if donor_regions is None else donor_regions.boxes()[rows, columns]
    edits = [_edits(operation, kept[i], own[i], theirs[i], new_boxes[i], weight) for i in range(len(kept))]
    return Cases(
        operation=operation,
        split=split,
        before=before,
        after=after,
        source=source.pixel_values,
        regions=regions,
        truth=truth.pixel_values,
        truth_regions=truth_regions,
        empty=render(empty, resolution).pixel_values,
        edited=edited,
        old_boxes=old_boxes,
        new_boxes=new_boxes,
        plans=[EditPlan(edit) for edit in edits],
        donor=None if donor is None else donor.pixel_values,
        donor_regions=donor_regions,
        weight=weight if operation.startswith("interpolate") else 0.0,
    )


def _edits(
    operation: str,
    proposal: _Proposal,
    own: Float[Tensor, "e 4"],
    theirs: Float[Tensor, "e 4"],
    new: Float[Tensor, "e 4"],
    weight: float,
) -> tuple[Edit, ...]:
    """Return what a user would ask for.

    Args:
        operation: of the cases.
        proposal: the edit.
        own: boxes of the edited objects' masks in the source.
        theirs: the same in the donor.
        new: the true boxes after the edit.
        weight: of an interpolation.
    """
    numbers = proposal.edited
    if not numbers:
        return ()
    if operation == "remove":
        return (Remove(numbers[0]),)
    if operation == "interpolate_look":
        return (Interpolate(numbers[0], DONOR, numbers[0], weight),)
    if operation == "insert":  # into the lowest free slot, which is the number of the object that is not there
        x, y = box_centre(new[0])
        return Insert(DONOR, numbers[0], x, y), box_edits(numbers[0], theirs[0], new[0])[1]
    first: dict[str, Callable[[], Edit]] = {
        "flip": lambda: Flip(numbers[0]),
        "rotate": lambda: Turn(numbers[0], _turned_degrees(proposal)),
        "swap": lambda: Swap(*numbers),
        "interpolate_frame": lambda: Interpolate(numbers[0], DONOR, numbers[0], weight),
    }
    if operation == "swap":  # the centres have traded places by then
        middle = own.unflatten(1, (2, 2)).mean(1).repeat(1, 2)
        own = own - middle + middle.flip(0)
    if operation == "interpolate_frame":
        own = torch.lerp(own, theirs, weight)
    carried = [edit for k, old, goal in zip(numbers, own, new, strict=True) for edit in box_edits(k, old, goal)]
    return (first[operation](), *carried) if operation in first else tuple(carried)


def box_edits(number: int, old: Float[Tensor, " 4"], new: Float[Tensor, " 4"]) -> tuple[Move, Resize]:
    """Return the edits that carry a region's box to another one.

    Args:
        number: of the region.
        old: (left, top, right, bottom) in [0, 1].
        new: the same.
    """
    (old_x, old_y), (new_x, new_y) = box_centre(old), box_centre(new)
    width, height = ((new[2:] - new[:2]) / (old[2:] - old[:2])).tolist()
    return Move(number, new_x - old_x, new_y - old_y), Resize(number, width, height)


def box_centre(box: Float[Tensor, " 4"]) -> tuple[float, float]:
    """Return (x, y) of the middle of a box (left, top, right, bottom)."""
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    return x, y


def _turned_degrees(proposal: _Proposal) -> float:
    old, new = (scene.objects[proposal.edited[0] - 1].yaw for scene in (proposal.before, proposal.after))
    return math.degrees(math.remainder(new - old, 2 * math.pi))
