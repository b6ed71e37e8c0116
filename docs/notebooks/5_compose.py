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
# Compose: objects from two pictures in one

A picture is a set of region latents, and a set can take in a member from elsewhere. An object's tokens were read from its own pixels
alone, so they mean the same in any other picture of the same encoder.
"""

# %%
from dataclasses import replace
from pathlib import Path

from gen import LatentImage, RegionPipeline, edits
from gen.evaluation.image_metrics import psnr
from gen.gallery.panel import shown
from gen.scenes import SceneSpec, render
from image_utils.convert import to_pil, to_tensor
from image_utils.grid import image_grid

pipeline = RegionPipeline.from_pretrained()
table = LatentImage.open(pipeline, "../examples/table.png")
mugs = LatentImage.open(pipeline, "../examples/mugs.png")


def strip(**pictures):
    """Lay pictures side by side under their names."""
    return image_grid([[shown(picture, 192) for picture in pictures.values()]], column_labels=[name.replace("_", " ") for name in pictures])


strip(table=table.numbered(), mugs=mugs.numbered())

# %% [markdown]
# ## One object
#
# The striped ball is region 2 of `mugs`. One line puts it into `table`, where it stood in its own picture. It takes the lowest number that
# is free, 5. Whatever the edit cannot change stays the picture's own, bit for bit.

# %%
ball = edits.insert(table.latents, mugs.latents, region=2)
shown(table.paint(ball), 256)

# %% [markdown]
# ## Beside the truth
#
# Both pictures were rendered, and what determines them lies beside them as `table.json` and `mugs.json`. So the answer exists: put the
# ball's `ObjectSpec` into the other scene, under that scene's light and before its camera, and render it. Three figures say how near we
# come: PSNR of the whole picture, PSNR of those pixels that the true edit changes, and how much darker the floor became where the true
# shadow falls, in percent of that shadow's darkness.


# %%
table_spec, mugs_spec = (SceneSpec.from_json(Path(f"../examples/{name}.json").read_text()) for name in ("table", "mugs"))


def world_with(*objects):
    """Render the table's floor, light and camera with these objects."""
    return render([replace(table_spec, objects=objects)], pipeline.resolution)


def report(name, picture, truth, without, empty=table.image):
    """Print how near a picture comes to the truth; `without` and `empty` are the scene without the new objects, rendered and painted."""
    painted = to_tensor(picture)[None]
    darker = (without.pixel_values - truth.pixel_values).mean(1)
    changed = (without.pixel_values - truth.pixel_values).abs().amax(1) > 0.02
    floor = (truth.label_map == 0) & (without.label_map == 0) & (darker > 0.02)
    shadow = 100 * float((to_tensor(empty)[None] - painted).mean(1)[floor].sum() / darker[floor].sum())
    whole, there = float(psnr(painted, truth.pixel_values)), float(psnr(painted, truth.pixel_values, changed))
    print(f"{name:30}{whole:5.1f} dB whole, {there:5.1f} dB where the truth changes, shadow {shadow:3.0f} %")


def middle(truth, region):
    """Return the middle of a true object's box."""
    left, top, right, bottom = truth.boxes[0, region].tolist()
    return (left + right) / 2, (top + bottom) / 2


before = world_with(*table_spec.objects)
truth = world_with(*table_spec.objects, mugs_spec.objects[1])
placed = edits.insert(table.latents, mugs.latents, region=2, centre=middle(truth, 5))
report("nothing done", table.image, truth, before)
report("where it was in its picture", table.paint(ball), truth, before)
report("where the truth has it", table.paint(placed), truth, before)
strip(inserted=table.paint(placed), truth=to_pil(truth.pixel_values[0]))

# %% [markdown]
# The two cameras differ a little, so the same place on the floor is 1.5 pixels further to the right here. Pixels are strict about that.
#
# ## Perspective is yours to give
#
# Tokens say what an object is; how large it appears is part of its pose, and the pose comes along from the other picture. Carry the far mug
# (region 3) to the front and it stays as small as it was at the back: a far mug looks small, a near one large, and the latents do not know
# that the two are one. So `resize` tells them. Here the factor comes from the rendered box; in a picture without a truth you choose it by
# eye.

# %%
mug = replace(mugs_spec.objects[2], x=-1.3, y=-1.3)  # on the floor, to the left and in front
truth = world_with(*table_spec.objects, mug)
left, top, right, bottom = truth.boxes[0, 5].tolist()
small = edits.insert(table.latents, mugs.latents, region=3, centre=middle(truth, 5))
width, height = small.pose.size[0, 5].tolist()
large = edits.resize(small, region=5, factor=((right - left) / width, (bottom - top) / height))
print(f"the box grows by {(right - left) / width:.2f} across and {(bottom - top) / height:.2f} along")
report("nothing done", table.image, truth, before)
report("as large as in its picture", table.paint(small), truth, before)
report("as large as the truth", table.paint(large), truth, before)
strip(as_in_its_picture=table.paint(small), resized=table.paint(large), truth=to_pil(truth.pixel_values[0]))

# %% [markdown]
# ## Several at once
#
# Remove what stands on the table, and insert all four. The floor behind them is what the model fills in.

# %%
truth = world_with(*mugs_spec.objects)
together = table.latents
for region in table.objects:
    together = edits.remove(together, region)
empty = table.paint(together)
for region in mugs.objects:
    together = edits.insert(together, mugs.latents, region, centre=middle(truth, region))
report("all four", table.paint(together), truth, world_with(), empty)
strip(mugs=mugs.image, all_four=table.paint(together), truth=to_pil(truth.pixel_values[0]))

# %% [markdown]
# ## Trade looks
#
# `edits.swap` lets two objects trade places. The other half of the latents can be traded as well: the tokens are a tensor, so the looks of
# the cylinder (1) and the ball (4) change hands in two lines, while every box stays where it is. That is also what is wrong with it: a ball
# in a cylinder's box becomes an egg. Better let the objects trade places. The truth is rendered so, too: each stands where the other stood.


# %%
def trade_looks(latents, a, b):
    """Let two regions trade tokens; their boxes stay."""
    tokens = latents.tokens.clone()
    tokens[:, [a, b]] = latents.tokens[:, [b, a]]
    return replace(latents, tokens=tokens)


cylinder, block, cone, sphere = table_spec.objects
truth = world_with(replace(sphere, x=cylinder.x, y=cylinder.y), block, cone, replace(cylinder, x=sphere.x, y=sphere.y))
looks, places = table.paint(trade_looks(table.latents, 1, 4)), table.paint(edits.swap(table.latents, 1, 4))
for name, picture in (("nothing done", table.image), ("looks traded", looks), ("places traded", places)):
    print(f"{name:30}{float(psnr(to_tensor(picture)[None], truth.pixel_values)):5.1f} dB whole")
strip(looks_traded=looks, places_traded=places, truth=to_pil(truth.pixel_values[0]))

# %% [markdown]
# ## What fails
#
# - **Light.** An object brings its own shading along, for the tokens were read from pixels that were already lit. Under another lamp its
#   bright side is the wrong one: compare the mugs with the truth.
# - **Shadows.** The model paints far less of a shadow than there should be, as the figures above say, and a neighbour's shadow may fade
#   where it falls into the area that is painted anew.
# - **Perspective.** The size is yours to give, and what of the object is seen from above is that of the old place.
# - **Detail.** 16 tokens hold a ball well and a thin handle badly, and a wide stretch of floor that is painted anew is blotchy.
#
# ## Try it
#
# `show` is a plain function; in Jupyter its arguments become sliders, which carry the ball across the table.


# %%
def show(x=0.25, y=0.75, size=1.0):
    """Paint the table with the ball of the other picture at (x, y)."""
    carried = edits.insert(table.latents, mugs.latents, region=2, centre=(x, y))
    return shown(table.paint(edits.resize(carried, 5, size)), 256)


show(x=0.42, y=0.8, size=0.8)

# %%
from contextlib import suppress

with suppress(ImportError):  # pip install -c constraints.txt -e '.[notebooks]'
    from ipywidgets import interact

    interact(show, x=(0.1, 0.9, 0.05), y=(0.1, 0.9, 0.05), size=(0.5, 1.5, 0.1))

# %% [markdown]
# **Exercise.** Carry the other picture's cyan ball (4) to the back, between cone and block, and make it as large as it should be there:
# render it with `world_with`, read its box, resize.
#
# Next: [What do the latents know](6_what_latents_know.ipynb), to see what exactly the tokens took along.
