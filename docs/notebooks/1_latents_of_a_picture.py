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
# Latents of a picture

Everything in this project works on one kind of value: a picture as a set of regions, each with tokens that say *what* it is and a pose
that says *where* it is. This notebook looks at them before anything is edited.

The picture is a rendered scene of 64 x 64 pixels; a file beside it says which pixels belong to which object. For a picture of your own
the regions come from a segmenter: [My own photo](7_my_own_photo.ipynb).
"""

# %%
from gen import LatentImage, RegionPipeline
from gen.gallery.panel import shown
from image_utils.grid import image_grid

pipeline = RegionPipeline.from_pretrained()
picture = LatentImage.open(pipeline, "../examples/table.png")
image_grid([[shown(picture.image, 256), picture.numbered()]], column_labels=["picture", "regions"])

# %% [markdown]
# ## What is in them
#
# `tokens` have the shape (pictures, regions, tokens of a region, width). Region 0 is the background; the last slot is free, which
# `valid` says. A pose holds a box and how it is turned: centre and size as shares of the picture's side, x to the right and y down.

# %%
latents = picture.latents
print("tokens", tuple(latents.tokens.shape), " valid", latents.valid[0].tolist())
for region in picture.objects:
    (x, y), (width, height) = latents.pose.centre[0, region].tolist(), latents.pose.size[0, region].tolist()
    print(f"region {region}: centre ({x:.2f}, {y:.2f}), {width:.2f} wide, {height:.2f} high")

# %% [markdown]
# ## Are they enough?
#
# `context=False` hides the picture from the decoder and `composite=False` puts nothing back, so the painting below is made from the latents
# alone. For comparison: what one gets by painting every region in its mean colour. Under both, how near they come to the picture: PSNR, in
# dB. (This is no compression: 5 regions of 16 x 128 numbers stand for 12,288 values of pixels. What is gained is that the objects come
# apart.)

# %%
import torch

from gen.evaluation.image_metrics import psnr
from image_utils.convert import to_pil, to_tensor

painted = picture.paint(latents, context=False, composite=False)
pixels = to_tensor(picture.image)
flat = torch.zeros_like(pixels)
for mask in picture.regions.masks[0][latents.valid[0]]:
    flat[:, mask] = pixels[:, mask].mean(1, keepdim=True)
row = {"picture": picture.image, "from its latents alone": painted, "mean colours": to_pil(flat)}
captions = [f"{psnr(to_tensor(image)[None], pixels[None])[0]:.1f} dB" for image in list(row.values())[1:]]
image_grid([[shown(image, 192) for image in row.values()]], column_labels=list(row), captions=[["", *captions]])

# %% [markdown]
# ## Tokens as colours
#
# The first three principal components of the tokens of two pictures, shown as red, green and blue. The shipped encoder cuts each region
# out, lays a 4 x 4 grid over its box and makes a token of each cell; so the tokens can be painted where they came from. Like colours are
# like tokens, across objects and pictures: what these tokens tell first is the colour of the object, and then, from top to bottom, its
# light and shade. Three components show little of the shape, but it is in there: [What do the latents know](6_what_latents_know.ipynb).
# In the last column, in colours of its own, is what the tokens are made from: the features of the encoder's backbone, a convolutional
# network.

# %%
from gen.gallery.feature_pca import feature_pca

mugs = LatentImage.open(pipeline, "../examples/mugs.png")
feature_pca([picture, mugs]).image

# %% [markdown]
# ## What a token looks at
#
# This encoder has no attention to draw, but there is an answer for every encoder: the derivative of a token with respect to the pixels.
# The brighter, the more a pixel matters; where the derivative is zero, the token does not notice when the pixel changes a little.

# %%
from gen.gallery.token_saliency import saliency_maps

saliency_maps(picture, region=2).image

# %% [markdown]
# Nothing outside the region's own mask reaches its tokens. Nor do large changes: here the ball is painted over with noise before encoding.

# %%
noisy = pixels.clone()
ball = picture.regions.masks[0, 4]
noisy[:, ball] = 2 * torch.rand(3, int(ball.sum()), generator=torch.Generator().manual_seed(0)) - 1
label_map = (picture.regions.masks[0].long() * torch.arange(picture.regions.masks.shape[1])[:, None, None]).amax(0)
other = LatentImage.encode(pipeline, to_pil(noisy), label_map).latents
for region in [0, *picture.objects]:
    change = (other.tokens - latents.tokens)[0, region].norm() / latents.tokens[0, region].norm()
    print(f"region {region}: its tokens change by {100 * change:.1f} % of their norm")

# %% [markdown]
# ## Who looks at the tokens
#
# While the decoder paints, its cells attend to the regions' tokens. Each map shows from where a region is looked at. The figures say how
# much of this comes from the region's own place, beside what attention that is the same everywhere would give, and how much of all
# attention the region gets. "No region" is the rest: tokens that belong to none.

# %%
from gen.gallery.attention_maps import attention_maps

attention_maps(picture).image

# %% [markdown]
# That is hardly more than chance: this decoder does not find its objects by attention. It does not have to, because the tokens also
# reach it in another way: each region's are turned into a small picture, and these are laid where the poses say, as a draft that the
# decoder works out (`gen/models/sprite_layout.py`).
#
# ## Try it
#
# What does one token say to the decoder? Set it to zero and see what the painting loses. On the right is what differs, hottest at a quarter
# of the range from black to white. `show` is a plain function; in Jupyter its arguments become sliders and lists.

# %%
from dataclasses import replace

from gen.gallery.unchanged import difference_map


def show(region=2, token=5):
    """Paint the picture with one token of a region set to zero, beside what that changes."""
    tokens = latents.tokens.clone()
    tokens[0, region, token] = 0
    without = picture.paint(replace(latents, tokens=tokens), context=False, composite=False)
    pictures = {f"without token {token} of region {region}": without, "what differs": difference_map(painted, without)}
    return image_grid([[shown(image, 256) for image in pictures.values()]], column_labels=list(pictures))


show(region=2, token=5)

# %%
from contextlib import suppress

with suppress(ImportError):  # pip install -c constraints.txt -e '.[notebooks]'
    from ipywidgets import interact

    interact(show, region=[0, *picture.objects], token=(0, latents.tokens.shape[2] - 1))

# %% [markdown]
# **Exercise.** Give region 3 the tokens of region 4 and leave the poses alone. What should be seen? Paint it.
#
# Next: [Move, resize, rotate, flip](2_move_resize_rotate_flip.ipynb).
