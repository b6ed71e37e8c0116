"""Interpolation: one object becomes another in even steps, everything else fixed."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from gen.editing.latent_image import LatentImage
from gen.editing.operations import Mixed, interpolate
from gen.editing.painting import EditedPixels
from gen.gallery.panel import NothingToShowError, Panel, Sampling, outlined, shown, subject, within_picture
from gen.gallery.unchanged import psnr_elsewhere
from image_utils.grid import image_grid

UNSEEN = 1e-5  # a weight that nobody sees, so that the model paints the object at weight 0, too


def interpolation(
    picture: LatentImage,
    region: int,
    other: LatentImage,
    other_region: int,
    num_frames: int = 9,
    what: Mixed = "both",
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
) -> Panel:
    """Paint an object on its way to another one, which may be the same object in another frame of a clip.

    Distances are root mean squares over the pixels that some step of the way may change. They say whether it goes evenly: `monotone_share`
    is the share of steps that lead away from the first picture and towards the last one, `largest_step_over_mean` tells a jump.

    Args:
        picture: in which it happens.
        region: what changes.
        other: may be `picture` itself; from the same pipeline.
        other_region: what it becomes.
        num_frames: pictures on the way, both ends included, at least 2.
        what: is mixed: "look" keeps the object where it is, "pose" keeps what it looks like.
        sampling: how it is painted.

    Returns:
        The strip between the two pictures; one row of figures a step; an animation there and back.

    Raises:
        ValueError: if there are fewer than two pictures, or `interpolate` refuses the regions.
    """
    if num_frames < 2:
        raise ValueError(f"num_frames={num_frames}: a way has two ends; give at least 2")
    weights = [k / (num_frames - 1) for k in range(num_frames)]
    mixed = [interpolate(picture.latents, region, other.latents, other_region, max(weight, UNSEEN), what) for weight in weights]
    painted = picture.paint_pixels(*mixed, **vars(sampling))
    images = picture.at_full_size(painted)
    from_first, to_last, steps = _distances(picture, painted)
    table = [
        {"weight": weight, "from_first_percent": a, "to_last_percent": b, "step_percent": step}
        for weight, a, b, step in zip(weights, from_first, to_last, [0.0, *steps], strict=True)
    ]
    onward = [from_first[k] < from_first[k + 1] and to_last[k] > to_last[k + 1] for k in range(num_frames - 1)]
    figures = {
        "monotone_share": sum(onward) / len(onward),
        "largest_step_over_mean": max(steps) * len(steps) / max(sum(steps), 1e-6),
        "psnr_elsewhere_db": float(psnr_elsewhere(picture, painted).mean()),
    }
    ends = [outlined(picture, region), outlined(other, other_region)]
    strip = [ends[0], *map(shown, images), ends[1]]
    captions = [f"weight {row['weight']:.2f}\n{row['from_first_percent']:.1f} % / {row['to_last_percent']:.1f} %" for row in table]
    sheet = image_grid([strip], captions=[["from", *captions, "to"]], title=f"{_TITLES[what]}: {_MEASURED}")
    frames = [shown(image, 256) for image in images]
    return Panel(sheet, figures, [*frames, *frames[-2:0:-1]], table)


_TITLES = {"both": "look and pose mixed", "look": "look mixed, pose kept", "pose": "pose mixed, look kept"}
_MEASURED = "the distance from the first picture / to the last one, in % of the range from black to white"


def another_look(picture: LatentImage, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Let an object take the look of the one in its picture whose tokens are farthest from its own, where it is.

    Raises:
        NothingToShowError: if the picture has no second object.
    """
    region = subject(picture)
    if len(picture.objects) < 2:
        raise NothingToShowError("the picture has one object; an interpolation needs a second one, of this picture or of another")
    tokens = picture.latents.tokens[0].flatten(1)
    farthest = max(picture.objects, key=lambda other: float((tokens[other] - tokens[region]).norm()))
    return interpolation(picture, region, picture, farthest, what="look", sampling=sampling)


def another_frame(picture: LatentImage, later: LatentImage, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Bring the object that moves farthest to where and how it is in another frame, in which it has the same number.

    Raises:
        NothingToShowError: if no object is in both.
    """
    both = [region for region in picture.objects if region in later.objects]
    if not both:
        raise NothingToShowError("no object has the same number in both frames; number the regions alike")
    way = later.latents.pose.centre[0] - picture.latents.pose.centre[0]
    region = max(both, key=lambda number: float(way[number].norm()))
    return interpolation(picture, region, later, region, sampling=sampling)


def _distances(picture: LatentImage, painted: EditedPixels) -> tuple[list[float], list[float], list[float]]:
    """Return the distance of every picture from the first one and to the last one, and of each from the one before, in %."""
    area = within_picture(picture, painted.changed.any(0))
    images = within_picture(picture, painted.pixel_values)

    def percent(difference: Float[Tensor, "b 3 h w"]) -> list[float]:
        squares = (difference.square().mean(1) * area).sum((1, 2)) / area.sum().clamp_min(1)
        return (50 * squares.sqrt()).tolist()

    return percent(images - images[:1]), percent(images - images[-1:]), percent(images[1:] - images[:-1])
