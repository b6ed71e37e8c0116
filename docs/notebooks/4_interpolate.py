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
# # Interpolate
#
# Latents are numbers, so there is a point halfway between any two of them. `edits.interpolate` takes an object of one picture on its way
# to an object of another, in tokens and in pose, and leaves all else as it is. Here it is the same object in two frames of a clip, and
# then the same object with two looks. Both are rendered, so what should be seen on the way is known.
#
# ## Between two frames
#
# A clip of nine frames, in which the objects slide and turn; the model is given the first and the last.

# %%
from pathlib import Path

from gen import LatentImage, RegionPipeline, edits
from gen.gallery.panel import shown
from gen.scenes import SceneSpec, clip, make_twin, render
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
# The panel `interpolation` paints the whole way. Below each picture, in % of the range from black to white: how far the changed pixels
# are from the first picture, and how far from the last.

# %%
from gen.gallery.interpolation import interpolation

way = interpolation(first, 4, last, 4)
way.image

# %%
from gen.gallery.animation import Animation

Animation(way.frames)

# %% [markdown]
# ## Beside the truth
#
# The truth of each step: the first frame's scene, in which this one object stands where the clip has it at that time. PSNR of the pixels
# that the step may change, beside what one gets by fading from the first picture to the last true one.

# %%
from dataclasses import replace

from gen.evaluation.image_metrics import psnr


def with_object(scene, number, item):
    """Return the scene with another object in the place of one."""
    return replace(scene, objects=(*scene.objects[: number - 1], item, *scene.objects[number:]))


def compared(first, mixed, truths, weights):
    """Lay out paintings over their truths, with the PSNR of the changed pixels: painted, and faded."""
    paintings = first.paint_all(mixed)
    area = first.changed(mixed[-1])[None]
    pixels = [to_tensor(truth)[None] for truth in truths]
    captions = []
    for weight, painting, true in zip(weights, paintings, pixels, strict=True):
        faded = torch.lerp(pixels[0], pixels[-1], weight)
        captions.append(f"{psnr(to_tensor(painting)[None], true, area)[0]:.1f} dB\nfaded {psnr(faded, true, area)[0]:.1f}")
    rows = [[shown(image) for image in row] for row in (paintings, truths)]
    labels = [f"weight {weight}" for weight in weights]
    return image_grid(rows, ["painted", "truth"], labels, captions=[captions, [""] * len(truths)])


# %%
import torch

weights = [0.0, 0.25, 0.5, 0.75, 1.0]
mixed = [edits.interpolate(first.latents, 4, last.latents, 4, weight) for weight in weights]
truths = [encoded(with_object(scene, 4, frames[round(8 * weight)].objects[3])).image for weight in weights]
compared(first, mixed, truths, weights)

# %% [markdown]
# ## Between two looks
#
# Another scene is the same but for one object's colour. Only the tokens differ between the two, for the object stands where it stood.

# %%
twin = make_twin(scene, "recolour", seed=0)
number = twin.object_index
plain, coloured = encoded(twin.before), encoded(twin.after)
print(f"object {number}: {twin.before.objects[number - 1].colour} to {twin.after.objects[number - 1].colour}")
looks = interpolation(plain, number, coloured, number, what="look")
looks.image
