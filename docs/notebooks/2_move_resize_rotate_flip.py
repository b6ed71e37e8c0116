# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
"""
# Move, resize, rotate, flip

A picture is held as latents, some for each region: *what* it is (tokens) and *where* it is (a pose: centre, size, angle, flip). An
edit changes the numbers of a pose and leaves the tokens as they are; the decoder paints what the numbers say. A moved object takes four
lines:
"""

# %%
from gen import LatentImage, RegionPipeline, edits

pipeline = RegionPipeline.from_pretrained()
picture = LatentImage.open(pipeline, "../examples/table.png")
moved = picture.paint(edits.move(picture.latents, region=4, dx=-0.2, dy=0.27))

# %% [markdown]
# The picture is a rendered scene of 64 x 64 pixels that the weights were not trained on, shown enlarged. Shifts are shares of its side,
# x to the right and y down. The ball takes little of its shadow along, because a shadow belongs to the floor:
# [Remove and fill in](3_remove_and_fill_in.ipynb) looks into that.

# %%
from gen.gallery.panel import shown
from image_utils.grid import image_grid

image_grid([[picture.numbered(), shown(picture.image, 256), shown(moved, 256)]], column_labels=["regions", "before", "4 moved"])

# %% [markdown]
# ## What did not change
#
# Where the object was, where it is, and a margin for its shadow: an edit may change these pixels and no others. The others are put back
# bit for bit after painting. With `composite=False` one sees all that the model painted itself; the numbers for both stand below. What
# differs from the picture before is hottest at a quarter of the range from black to white.

# %%
from gen.evaluation.image_metrics import psnr
from gen.gallery.unchanged import difference_map, largest_difference_outside
from image_utils.convert import to_tensor


def psnr_inside(first, second, mask):
    """PSNR in dB of two pictures, of the pixels in the mask."""
    return float(psnr(to_tensor(first)[None], to_tensor(second)[None], mask[None])[0])


latents = edits.move(picture.latents, region=4, dx=-0.2, dy=0.27)
raw = picture.paint(latents, composite=False)
untouched = ~picture.changed(latents)
maps = [difference_map(picture.image, image) for image in (moved, raw)]
print(f"untouched pixels: {100 * untouched.float().mean():.0f} % of the picture")
print(f"  composited:     {largest_difference_outside(picture, moved, ~untouched):.0f} grey levels of difference at most")
print(f"  as painted:     {psnr_inside(raw, picture.image, untouched):.1f} dB")
image_grid(
    [[shown(image, 192) for image in (moved, maps[0], raw, maps[1])]],
    column_labels=["composited", "what differs", "composite=False", "what differs"],
)

# %% [markdown]
# ## Larger, smaller, flipped, rotated
#
# The shipped encoder gives every object a 4 x 4 grid of tokens in the object's own frame. The pose carries this frame into the picture, so
# a size, a mirror image or an angle in the picture's plane needs no new knowledge about the object. It keeps its colours and its parts, but
# not its sharp edges: the tokens hold less than the pixels did. `paint_all` paints several edits from the same noise: what differs between
# the pictures differs because of the edit.

# %%
before = picture.latents
changes = {
    "resize 1.5": edits.resize(before, 2, 1.5),
    "resize 0.6": edits.resize(before, 2, 0.6),
    "resize (1.5, 0.8)": edits.resize(before, 2, (1.5, 0.8)),
    "flip": edits.flip(before, 2),
    "rotate 45": edits.rotate(before, 2, 45),
    "rotate 90": edits.rotate(before, 2, 90),
}
image_grid([[shown(image) for image in picture.paint_all(list(changes.values()))]], column_labels=list(changes))

# %% [markdown]
# ## Turned about its own axis: what fails
#
# `turn` is another thing. It asks for a side of the object that the picture does not show, so no warp of the tokens can answer it. The
# scene is rendered, so the truth is at hand: the same block with another yaw. The box that the turned block will fill is known from the
# renderer as well, and `resize` and `move` may give it.

# %%
from dataclasses import replace
from math import radians
from pathlib import Path

from gen.scenes import SceneSpec, render
from image_utils.convert import to_pil

scene = SceneSpec.from_json(Path("../examples/table.json").read_text())
block = replace(scene.objects[1], yaw=scene.objects[1].yaw + radians(60))
truth = render([replace(scene, objects=(scene.objects[0], block, *scene.objects[2:]))], resolution=64)
left, top, right, bottom = truth.boxes[0, 2].tolist()

turned = edits.turn(before, 2, degrees=60)
(x, y), (width, height) = before.pose.centre[0, 2].tolist(), before.pose.size[0, 2].tolist()
boxed = edits.move(turned, 2, (left + right) / 2 - x, (top + bottom) / 2 - y)
boxed = edits.resize(boxed, 2, ((right - left) / width, (bottom - top) / height))

true, area = to_pil(truth.pixel_values[0]), picture.changed(turned)
row = {"nothing done": picture.image, "turn 60": picture.paint(turned), "turn 60, box known": picture.paint(boxed), "truth": true}
numbers = [f"{psnr_inside(image, true, area):.1f} dB" for image in list(row.values())[:3]]
image_grid([[shown(image, 192) for image in row.values()]], column_labels=list(row), captions=[[*numbers, ""]])

# %% [markdown]
# The painting comes nearer to the truth than the picture left alone does, but mostly because the box fits: the block itself is a blur.
# [The benchmark](../results/benchmark/benchmark.md) says so too: of all edits, turning scores lowest with the shipped weights (18.5 dB on
# the object; 23.5 dB for a move).
#
# ## Thirteen places, everything else fixed
#
# The same object in thirteen places of a cross. Under each picture: PSNR of the pixels that the edit cannot change, as the model painted
# them, and how far the object's centroid lies from where it was asked to be, in % of the picture's side.

# %%
from gen.gallery.position_sweep import position_sweep

sweep = position_sweep(picture, region=4)
sweep.image

# %%
print("   dx     dy   PSNR elsewhere   centroid error")
for place in sweep.table:
    shift = f"{place['dx']:5.2f}  {place['dy']:5.2f}"
    print(f"{shift}   {place['psnr_elsewhere_db']:11.1f} dB   {place['centroid_error_percent']:12.1f} %")
print(f"mean           {sweep.figures['psnr_elsewhere_db']:11.1f} dB   {sweep.figures['centroid_error_percent']:12.1f} %")

# %% [markdown]
# ## Try it
#
# `show` is a plain function; in Jupyter its arguments become sliders and lists.


# %%
def show(region=4, dx=-0.2, dy=0.2, size=1.0, degrees=0):
    """Paint one object moved, resized and rotated."""
    latents = edits.move(edits.resize(picture.latents, region, size), region, dx, dy)
    return shown(picture.paint(edits.rotate(latents, region, degrees)), 256)


show(region=4, dx=-0.2, dy=0.2, size=1.3)

# %%
from contextlib import suppress

with suppress(ImportError):  # pip install -c constraints.txt -e '.[notebooks]'
    from ipywidgets import interact

    interact(show, region=picture.objects, dx=(-0.2, 0.2, 0.02), dy=(-0.2, 0.2, 0.02), size=(0.5, 1.5, 0.1), degrees=(-180, 180, 15))

# %% [markdown]
# **Exercise.** Move the block so that it stands half behind the cone. Which of the two does the model paint in front, and can it know?
# (A pose may hold a depth, but here `picture.latents.pose.depth` is None.)
#
# Next: [Remove and fill in](3_remove_and_fill_in.ipynb).
