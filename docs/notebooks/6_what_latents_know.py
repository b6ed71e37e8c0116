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
# What do the latents know?

An edit can be no better than what the tokens hold: all of what the object is, nothing of where it stands, nothing of its neighbours. Each
of the three can be measured. The scenes are rendered, so the truth about every object is at hand, and the weights were not trained on
them.
"""

# %%
import torch

from gen import LatentImage, RegionPipeline, scenes
from gen.evaluation.tokens import TEST_SEED, TRAIN_SEED, collect

pipeline = RegionPipeline.from_pretrained()
library = collect(pipeline, num_scenes=256, seed=TRAIN_SEED)
held_out = collect(pipeline, num_scenes=96, seed=TEST_SEED)
print(f"{len(library.tokens)} objects to learn from, {len(held_out.tokens)} to be asked about")
print(f"an object is {library.tokens.shape[1]} tokens of {library.tokens.shape[2]} numbers")

# %% [markdown]
# ## What it is: a linear probe
#
# A linear classifier reads shape, colour and material from the tokens. A linear one, because it can only find what lies there openly: no
# thinking of its own. Beside it stands chance, the share of the most frequent class.

# %%
from gen.evaluation.probes import CLASSES, accuracy, fit_classifier

names = {"shape": scenes.SHAPES, "colour": list(scenes.COLOURS), "material": scenes.MATERIALS}
probes = {name: fit_classifier(library.features, library.labels[name], len(names[name])) for name in CLASSES}
for name, probe in probes.items():
    found = accuracy(probe(held_out.features).argmax(-1), held_out.labels[name])
    chance = accuracy(library.labels[name].bincount().argmax().expand_as(held_out.labels[name]), held_out.labels[name])
    print(f"{name:10} {100 * found:5.1f} % named rightly, chance {100 * chance:4.1f} %")

# %% [markdown]
# Shape and colour are there. Material (matte, shiny, metal) is half there: at 64 pixels it is a highlight of a few pixels.
#
# ## Where it is: hopefully nothing
#
# Position belongs to the pose, so the tokens should not tell it. R2 is 0 for a reader that knows no more than the mean, 1 for an exact one.
# But far objects are small and seen from a flatter angle, so a look at the object tells something of its place: the second figure is what
# the true width and height of its box alone give away.

# %%
from gen.evaluation.probes import explained, fit_ridge


def stacked(labels, *columns):
    """Return some of the labels as the columns of a matrix."""
    return torch.stack([labels[column] for column in columns], 1)


asked, answer = stacked(library.labels, "x", "y"), stacked(held_out.labels, "x", "y")
from_tokens = explained(fit_ridge(library.features, asked)(held_out.features), answer)
sizes = fit_ridge(stacked(library.labels, "width", "height"), asked)
from_size = explained(sizes(stacked(held_out.labels, "width", "height")), answer)
for axis, token, size in zip("xy", from_tokens.tolist(), from_size.tolist(), strict=True):
    print(f"{axis}: R2 {token:5.2f} from the tokens, {size:5.2f} from width and height alone")

# %% [markdown]
# How high an object stands, its size tells as well as its tokens do. But how far to the right is told by the tokens alone. Whose?

# %%
from gen.evaluation.retrieval import crops
from image_utils.grid import image_grid

library_pictures, held_out_pictures = crops(library, side=40), crops(held_out, side=40)
left_to_right = []
for shape in ("cone", "cylinder", "torus"):
    learned, tested = ((tokens.labels["shape"] == scenes.SHAPES.index(shape)).nonzero()[:, 0] for tokens in (library, held_out))
    read = fit_ridge(library.features[learned], asked[learned])(held_out.features[tested])
    print(f"{shape:9} R2 of x {float(explained(read, answer[tested])[0]):5.2f} ({len(tested)} objects)")
    order = tested[answer[tested, 0].argsort()]
    left_to_right.append([held_out_pictures[row] for row in order[torch.linspace(0, len(order) - 1, 6).long()].tolist()])
image_grid(left_to_right, row_labels=["cone", "cylinder", "torus"])

# %% [markdown]
# Those that stand upright. Each row runs from the left of the picture to its right: the camera looks down, so what stands upright leans
# outwards, and the lean of a cone tells almost exactly where it stands. A torus may be turned in any way, and gives little away. So this is
# no leak in the encoder, which sees a crop; it is what the object looks like there. It has its price all the same: carried to the other
# side, a cylinder leans the wrong way.
#
# ## Its neighbours: nothing
#
# Change a neighbour (recolour, move or remove it) and see how far the token of an object moves whose own visible region stayed the same.
# The scale is the mean distance between two different objects. Below it, for comparison, the same when the object itself changes.

# %%
from gen.evaluation.leakage import NEIGHBOUR_CHANGES, OWN_CHANGES, mean_distance, neighbour_pairs, own_pairs

between = mean_distance(held_out.features)
for title, changes, pairs in (("a neighbour", NEIGHBOUR_CHANGES, neighbour_pairs), ("the object", OWN_CHANGES, own_pairs)):
    for change in changes:
        moved = pairs(pipeline, change, num_scenes=32).displacement()
        print(f"{title:11} {change:9} {100 * float(moved.mean()) / between:5.1f} % ({len(moved)} objects)")

# %% [markdown]
# That is by construction: the encoder cuts every region out before it looks. What is left is the neighbour's shadow on the object: in the
# stored table, objects of which no pixel changes keep their tokens to 0.0 %.
#
# ## Retrieval: who is like whom?
#
# If tokens hold what an object is, then near tokens are like objects. Left: every eleventh object of the held-out scenes, then its nearest
# ones in the library, by the distance of their tokens.

# %%
from gen.evaluation.retrieval import nearest, retrieval

figures = retrieval(library, held_out, count=5)
for name in CLASSES:
    print(f"{name:10} {100 * figures[f'{name}_alike']:3.0f} % of 5 neighbours alike, {100 * figures[f'{name}_alike_chance']:3.0f} % of any")
found = nearest(library, held_out, 5)
rows = [[held_out_pictures[query], *(library_pictures[row] for row in found.rows[query].tolist())] for query in range(0, 44, 11)]
image_grid(rows, column_labels=["object", "1", "2", "3", "4", "5"])

# %% [markdown]
# Colour first, then shape and the way it lies. What floor an object stands on does not matter, for its own pixels are all that the encoder
# sees of it.
#
# ## A map of the tokens
#
# Left, the two directions along which the library's tokens differ most (PCA), every object in its own colour. Right, the same after the
# mean token of its colour was taken away from each, painted by shape.

# %%
from io import BytesIO

from matplotlib.figure import Figure
from PIL import Image

from gen.evaluation.probes import Standard

features, colour, shape = Standard.of(library.features)(library.features), library.labels["colour"], library.labels["shape"]
means = torch.stack([features[colour == number].mean(0) for number in range(len(scenes.COLOURS))])
figure = Figure(figsize=(9, 4), dpi=64, layout="tight")
left, right = figure.subplots(1, 2)
maps = (
    (left, features, colour, list(scenes.COLOURS), list(scenes.COLOURS.values())),
    (right, features - means[colour], shape, scenes.SHAPES, [f"C{number}" for number in range(len(scenes.SHAPES))]),
)
for axes, values, labels, kinds, paints in maps:
    flat = values @ torch.linalg.svd(values, full_matrices=False).Vh[:2].mT
    axes.set(title=f"{100 * float(flat.square().sum() / values.square().sum()):.0f} % of what differs", xticks=[], yticks=[])
    for number, (kind, paint) in enumerate(zip(kinds, paints, strict=True)):
        axes.scatter(*flat[labels == number].T.tolist(), color=paint, s=12, edgecolors="grey", linewidths=0.3, label=kind)
right.legend(fontsize=8, loc="upper right")
page = BytesIO()
figure.savefig(page, format="png")
Image.open(page)

# %% [markdown]
# No name of a colour was ever told to the model, and it made a colour wheel, with white in the middle. Under the colour lies the shape:
# cones apart, and two wings of long things that lie one way or the other.
#
# ## Arithmetic
#
# Where colour is a direction, one can walk along it. The mean token of all green objects, taken away, and that of all red ones, added,
# should make a green object red and leave its shape alone. The decoder never saw such tokens: no picture made them.

# %%
from dataclasses import replace

from gen.gallery.panel import shown

table = LatentImage.open(pipeline, "../examples/table.png")
truly = {1: ("cylinder", "blue"), 2: ("block", "blue"), 3: ("cone", "green"), 4: ("sphere", "green")}
mean_of = {colour: library.tokens[library.labels["colour"] == number].mean(0) for number, colour in enumerate(scenes.COLOURS)}


def recoloured(region, colour, weight=1.0):
    """Return the table's latents with one object's tokens moved from its colour's mean to another's, or part of the way."""
    tokens = table.latents.tokens.clone()
    tokens[:, region] += weight * (mean_of[colour] - mean_of[truly[region][1]])
    return replace(table.latents, tokens=tokens)


rows = [table.paint_all([recoloured(region, colour) for colour in scenes.COLOURS]) for region in truly]
image_grid([[shown(picture, 96) for picture in row] for row in rows], column_labels=list(scenes.COLOURS))

# %% [markdown]
# The project's oracle, a network trained on true renders to name what stands in a box, says whether it worked: is the new colour there, and
# is the shape still what it was?

# %%
from gen.evaluation.oracle import shipped_oracle
from image_utils.convert import to_tensor

oracle, boxes = shipped_oracle(), table.regions.boxes()[0]
right = {"new colour": 0, "shape": 0}
for (region, (shape, old)), row in zip(truly.items(), rows, strict=True):
    read = oracle.read(torch.stack([to_tensor(picture) for picture in row]), boxes[region].expand(len(row), 4))
    for number, colour in enumerate(scenes.COLOURS):
        if colour != old:
            right["new colour"] += int(read.colour[number].argmax()) == number
            right["shape"] += scenes.SHAPES[int(read.shape[number].argmax())] == shape
print(", ".join(f"{name} named in {count} of 28" for name, count in right.items()))

# %% [markdown]
# The way there can be walked in steps, and beyond. Halfway between green and red lies a dull olive: the walk is straight in the tokens, and
# so it is in the colours.

# %%
weights = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
walk = table.paint_all([recoloured(4, "red", weight) for weight in weights])
image_grid([[shown(picture) for picture in walk]], column_labels=[f"{weight:.2f}" for weight in weights])

# %% [markdown]
# ## Try it
#
# `show` is a plain function; in Jupyter its arguments become sliders and lists.


# %%
def show(region=4, colour="red", weight=0.5):
    """Paint the table with one object on its way to another colour."""
    return shown(table.paint(recoloured(region, colour, weight)), 256)


show(region=2, colour="orange", weight=0.8)

# %%
from contextlib import suppress

with suppress(ImportError):  # pip install -c constraints.txt -e '.[notebooks]'
    from ipywidgets import interact

    interact(show, region=list(truly), colour=list(scenes.COLOURS), weight=(0.0, 1.5, 0.1))

# %% [markdown]
# The whole table, with three times the objects, controls with shuffled labels, the swap test and disentanglement (DCI), is in
# [docs/results/representation](../results/representation/representation.md); `python scripts/evaluate_representation.py --out
# outputs/representation` measures it again, for any pipeline folder.
#
# **Exercise.** Do the same with shape: from the mean sphere to the mean cone. Then with a mug: what does a straight line not find, and why?
#
# Next: [My own photo](7_my_own_photo.ipynb).
