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
# Remove and fill in

A picture's latents are a set. To remove an object is to take its tokens out of the set; the decoder paints what is left, and what it
knows of floors and shadows fills the hole. The model was trained for that: it saw pairs of scenes with and without an object, and at
random some regions were hidden from it.
"""

# %%
from gen import LatentImage, RegionPipeline, edits
from gen.gallery.panel import shown
from image_utils.grid import image_grid

pipeline = RegionPipeline.from_pretrained()
picture = LatentImage.open(pipeline, "../examples/mugs.png")
removed = picture.paint(edits.remove(picture.latents, region=4))
image_grid([[picture.numbered(), shown(picture.image, 256), shown(removed, 256)]], column_labels=["regions", "before", "4 removed"])

# %% [markdown]
# ## Beside the truth
#
# The picture is rendered, and its scene lies beside it as numbers. So we can render the same scene without the object and ask the only
# honest question: what would the camera have seen? The shadow should go as well, and nobody told the model which pixels it covers.
#
# *PSNR of the hole* compares the pixels that were the object's with the truth; *residual* is the share of them that still look more like
# the object than like the truth.

# %%
from dataclasses import replace
from pathlib import Path

from gen.evaluation.image_metrics import psnr
from gen.evaluation.region_metrics import residual_share
from gen.scenes import SceneSpec, render
from image_utils.convert import to_pil, to_tensor

scene = SceneSpec.from_json(Path("../examples/mugs.json").read_text())


def rendered_without(*regions):
    """Render the scene as if these objects had never been there."""
    objects = tuple(replace(item, present=number not in regions) for number, item in enumerate(scene.objects, 1))
    return to_pil(render([replace(scene, objects=objects)], resolution=64).pixel_values[0])


def judged(image, truth, regions):
    """PSNR of the hole in dB and residual in %."""
    hole = picture.regions.masks[:, list(regions)].any(1)
    before, after, painted = (to_tensor(each)[None] for each in (picture.image, truth, image))
    return f"{psnr(painted, after, hole)[0]:.1f} dB, {100 * residual_share(painted, before, after, hole)[0]:.0f} %"


truths = [rendered_without(number) for number in picture.objects]
paintings = picture.paint_all([edits.remove(picture.latents, number) for number in picture.objects])
captions = [judged(image, truth, [number]) for number, image, truth in zip(picture.objects, paintings, truths, strict=True)]
image_grid(
    [[shown(image, 192) for image in row] for row in (paintings, truths)],
    row_labels=["removed", "truth"],
    column_labels=[f"without {number}" for number in picture.objects],
    captions=[captions, [""] * len(truths)],
)

# %% [markdown]
# ## Several, and all
#
# Removals compose, because they are functions from latents to latents. With every object gone, the background's tokens stand alone.

# %%
latents, steps, captions, truths = picture.latents, [], [], []
for count, number in enumerate(picture.objects, 1):
    latents = edits.remove(latents, number)
    steps.append(picture.paint(latents))
    truths.append(rendered_without(*picture.objects[:count]))
    captions.append(judged(steps[-1], truths[-1], picture.objects[:count]))
image_grid(
    [[shown(image, 192) for image in row] for row in (steps, truths)],
    row_labels=["removed", "truth"],
    column_labels=["without 1", "without 1, 2", "without 1, 2, 3", "without any"],
    captions=[captions, [""] * len(truths)],
)

# %% [markdown]
# ## One token set alone
#
# The other way round: `keep` takes every other object out of the set. Above, each object on the floor, with the picture's pixels as
# context, beside the truth. Below, nothing but this object's own tokens: no background tokens, no context, nothing put back. They say one
# object, in its place, and nothing about its neighbours; of what nobody speaks the model makes something up.

# %%
kept = picture.paint_all([edits.keep(picture.latents, number) for number in picture.objects])
others = [[other for other in picture.objects if other != number] for number in picture.objects]
truths = [rendered_without(*numbers) for numbers in others]
captions = [judged(image, truth, numbers) for image, truth, numbers in zip(kept, truths, others, strict=True)]
alone = [edits.keep(picture.latents, number, background=False) for number in picture.objects]
alone = picture.paint_all(alone, context=False, composite=False)
image_grid(
    [[shown(image) for image in row] for row in (kept, truths, alone)],
    row_labels=["kept", "truth", "tokens alone"],
    column_labels=[f"only {number}" for number in picture.objects],
    captions=[captions, [""] * len(truths), [""] * len(alone)],
)

# %% [markdown]
# ## What fails, and why
#
# The objects are gone, but dark spots stay where their shadows were. The difference to the truth, hottest at a quarter of the range from
# black to white:

# %%
from gen.gallery.unchanged import difference_map

without_one = [rendered_without(number) for number in picture.objects]
row = [difference_map(truth, image) for truth, image in zip(without_one, paintings, strict=True)]
image_grid([[shown(image, 192) for image in row]], column_labels=[f"without {number}" for number in picture.objects])

# %% [markdown]
# Who remembers the shadows? A shadow lies on the floor, so its pixels belong to the background's region, and no object was removed that
# holds them. The test: give the set the background's tokens of a picture that never had a shadow, the rendered empty scene. Under each
# picture: its PSNR, and how much of the shadows' darkness is left.

# %%
import torch

empty = rendered_without(*picture.objects)
floor = LatentImage.encode(pipeline, empty, torch.zeros(64, 64, dtype=torch.int64)).latents
tokens = latents.tokens.clone()  # of the picture without any object
tokens[:, 0] = floor.tokens[:, 0]
row = {
    "removed": picture.paint(latents),
    "background's tokens alone": picture.paint(latents, context=False, composite=False),
    "those of an empty floor": picture.paint(replace(latents, tokens=tokens), context=False, composite=False),
    "truth": empty,
}
darkness = {name: (to_tensor(empty) - to_tensor(image)).mean(0) for name, image in {"source": picture.image, **row}.items()}
shadow = (darkness["source"] > 0.1) & picture.regions.masks[0, 0]
left = {name: 100 * float(dark[shadow].sum() / darkness["source"][shadow].sum()) for name, dark in darkness.items()}
captions = [f"{psnr(to_tensor(row[name])[None], to_tensor(empty)[None])[0]:.1f} dB, {left[name]:.0f} % of shadows" for name in row]
image_grid([[shown(image, 192) for image in row.values()]], column_labels=list(row), captions=[[*captions[:3], ""]])

# %% [markdown]
# So it is the background's tokens: they are encoded from pixels that the shadows darken. In the pairs of the training a shadow went with
# its object; of these shadows the model takes away half, and takes the other half for floor. Were they in the objects' masks, they would be
# in the objects' tokens, and leave with them.
#
# ## Try it
#
# `show` is a plain function; in Jupyter its arguments become sliders and ticks.


# %%
def show(one=True, two=True, three=True, four=True, seed=0):
    """Paint the objects that are switched on."""
    latents = picture.latents
    for number, there in zip(picture.objects, (one, two, three, four), strict=True):
        latents = latents if there else edits.remove(latents, number)
    return shown(picture.paint(latents, seed=seed), 256)


show(two=False, four=False)

# %%
from contextlib import suppress

with suppress(ImportError):  # pip install -c constraints.txt -e '.[notebooks]'
    from ipywidgets import interact

    interact(show, seed=(0, 9))

# %% [markdown]
# **Exercise.** Remove an object, then `edits.insert` it again from `picture.latents`. What does `picture.changed` say of the two edits
# together, and how near does the painting come to the picture with `composite=False`?
#
# Next: [Interpolate](4_interpolate.ipynb).
