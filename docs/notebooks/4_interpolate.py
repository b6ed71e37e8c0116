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
# Interpolate

Latents are numbers, so there is a point halfway between any two of them. `edits.interpolate` takes an object of one picture on its way
to an object of another, in tokens and in pose, and leaves all else as it is. Here it is the same object in two frames of a clip, and
then the same object with two looks. Both are rendered, so what should be seen on the way is known.

## Between two frames

A clip of nine frames, in which the objects slide and turn; the model is given the first and the last.
"""

# %%
from pathlib import Path

from gen import LatentImage, RegionPipeline, edits
from gen.gallery.panel import shown
from gen.scenes import SceneSpec, clip, render
from image_utils.convert import to_pil, to_tensor
from image_utils.grid import image_grid

pipeline = RegionPipeline.from_pretrained()
scene = SceneSpec.from_json(Path("../examples/table.json").read_text())
frames = clip(scene, num_frames=9, seed=13)


def encoded(scene):
    """Render a scene and encode it."""
    rendering = render([scene], resolution=64)
    return LatentImage.encode(pipeline, to_pil(rendering.pixel_values[0]), rendering.label_map[0])


first, last = encoded(frames[0]), encoded(frames[-1])
halfway = first.paint(edits.interpolate(first.latents, 4, last.latents, 4, weight=0.5))
image_grid([[first.numbered(), shown(halfway, 256), last.numbered()]], column_labels=["first frame", "4 halfway", "last frame"])

# %% [markdown]
# The whole way. Below each picture, in % of the range from black to white: how far its changed pixels are from the first
# picture's, and how far from the last one's.

# %%
from gen.gallery.interpolation import interpolation

way = interpolation(first, 4, last, 4, num_frames=5)
print(f"steps that lead away from the first and towards the last: {100 * way.figures['monotone_share']:.0f} %")
print(f"largest step: {way.figures['largest_step_over_mean']:.2f} times the mean step")
print(f"pixels that must not change, as painted: {way.figures['psnr_elsewhere_db']:.1f} dB")
way.image

# %% [markdown]
# The same as a moving picture, there and back, at half the size.

# %%
from gen.gallery.animation import Animation

Animation([frame.reduce(2) for frame in way.frames])

# %% [markdown]
# ## Beside the truth
#
# The truth of each step: the first frame's scene, in which this one object stands where the clip has it at that time. PSNR of the pixels
# that may change; below it what one gets by fading the first picture into the last true one.

# %%
from dataclasses import replace

import torch

from gen.evaluation.image_metrics import psnr


def with_object(scene, number, item):
    """Return the scene with another object in the place of one."""
    return replace(scene, objects=(*scene.objects[: number - 1], item, *scene.objects[number:]))


def compared(picture, mixed, truths, weights):
    """Lay out paintings over their truths."""
    paintings, area = picture.paint_all(mixed), picture.changed(mixed[-1])[None]
    before, after = to_tensor(picture.image)[None], to_tensor(truths[-1])[None]
    captions = []
    for weight, painting, truth in zip(weights, paintings, truths, strict=True):
        true, faded = to_tensor(truth)[None], torch.lerp(before, after, weight)
        captions.append(f"{psnr(to_tensor(painting)[None], true, area)[0]:.1f} dB\nfaded {psnr(faded, true, area)[0]:.1f} dB")
    rows = [[shown(image) for image in row] for row in (paintings, truths)]
    return image_grid(rows, ["painted", "truth"], [f"weight {weight}" for weight in weights], captions=[captions, [""] * len(truths)])


weights = [0.25, 0.5, 0.75, 1.0]
mixed = [edits.interpolate(first.latents, 4, last.latents, 4, weight) for weight in weights]
truths = [encoded(with_object(scene, 4, frames[round(8 * weight)].objects[3])).image for weight in weights]
compared(first, mixed, truths, weights)

# %% [markdown]
# A fade shows two half objects; mixed latents show one object halfway, because its place is a number of its own, apart from its look.
# (At weight 1 the fade *is* the truth, which counts as 100 dB.) What is missing from the paintings is the ball's shadow:
# [Remove and fill in](3_remove_and_fill_in.ipynb) says why.
#
# ## Between two looks
#
# The same scene with another colour for the block. The block stands where it stood, so `what="look"` mixes tokens alone. Here a fade of
# pixels is right almost by definition, and the painting loses as much detail as every painting of these weights does (weight 1 is no
# mixture, and no better). What counts is that the way leads from colour to colour, and in even steps.

# %%
number, red = 2, (0.8, 0.13, 0.13)
block = scene.objects[number - 1]
blue = encoded(scene)
coloured = encoded(with_object(scene, number, replace(block, colour="red", rgb=red)))
mixed = [edits.interpolate(blue.latents, number, coloured.latents, number, weight, what="look") for weight in weights]
truths = []
for weight in weights:
    rgb = tuple((1 - weight) * a + weight * b for a, b in zip(block.rgb, red, strict=True))
    truths.append(encoded(with_object(scene, number, replace(block, rgb=rgb))).image)
compared(blue, mixed, truths, weights)

# %%
way = interpolation(blue, number, coloured, number, num_frames=6, what="look")
print(f"steps that lead away from the first and towards the last: {100 * way.figures['monotone_share']:.0f} %")
print(f"largest step: {way.figures['largest_step_over_mean']:.2f} times the mean step")
Animation([frame.reduce(2) for frame in way.frames])

# %% [markdown]
# ## What fails
#
# Between two colours the way leads through colours. Between two shapes it does not lead through shapes: a mug on its way to a ball is
# a mug that fades while a ball appears, in the mug's box. Each of the 4 x 4 tokens mixes with the one at its own place, and nothing in the
# training asked that what lies between be an object.

# %%
mugs = LatentImage.open(pipeline, "../examples/mugs.png")
mixed = [edits.interpolate(mugs.latents, 3, mugs.latents, 2, weight, what="look") for weight in weights]
image_grid([[shown(image) for image in mugs.paint_all(mixed)]], column_labels=[f"weight {weight}" for weight in weights])

# %% [markdown]
# ## Try it
#
# `show` is a plain function; in Jupyter its arguments become sliders and lists.


# %%
def show(weight=0.5, what="both"):
    """Paint the ball of the first frame on its way to the last."""
    return shown(first.paint(edits.interpolate(first.latents, 4, last.latents, 4, weight, what=what)), 256)


show(weight=0.75, what="pose")

# %%
from contextlib import suppress

with suppress(ImportError):  # pip install -c constraints.txt -e '.[notebooks]'
    from ipywidgets import interact

    interact(show, weight=(0.0, 1.0, 0.05), what=["both", "look", "pose"])

# %% [markdown]
# **Exercise.** The ball grows on its way, because it comes nearer to the camera. Does `what="look"` show it growing? Should it?
#
# Next: [Compose](5_compose.ipynb).
