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
# My own photo

Put the path of any picture here. Without one, a photograph that comes with scikit-image is taken.
"""

# %%
my_picture = None  # such as "holiday.jpg"

# %%
import skimage.data
from PIL import Image

from image_utils.io import load_image

photo = load_image(my_picture) if my_picture else Image.fromarray(skimage.data.coffee())
photo.size

# %% [markdown]
# ## Regions
#
# A picture becomes latents region by region, so first it must be cut. `Classical` cuts by colour, without weights: good on plain scenes,
# rough on photographs. That is no harm, for you know better: a label map is a tensor of whole numbers, and everything that makes one is a
# segmenter. Below, three of the pieces become one object, a cup on its saucer, and the others background. A box of rows and columns will do
# as well: `merged[15:310, 170:425] = 1`.

# %%
import torch

from gen.gallery.panel import shown
from gen.segmentation import Classical
from image_utils.convert import to_tensor
from image_utils.draw import overlay_regions
from image_utils.grid import image_grid

by_colour = Classical(max_regions=5)(to_tensor(photo))

objects = [(1, 2, 5)]  # each a tuple of numbers of the first picture below; what is in none is background
merged = torch.zeros_like(by_colour)
for number, pieces in enumerate(objects, 1):
    merged[torch.isin(by_colour, torch.tensor(pieces))] = number

cuts = {"by colour": by_colour, "merged by hand": merged}
image_grid([[shown(overlay_regions(photo, label_map), 192) for label_map in cuts.values()]], column_labels=list(cuts))

# %% [markdown]
# With the weights of a Segment Anything at hand, draw a box around the object and let it find the outline; this cell does nothing without.
# A size such as `"base"` is fetched from the model hub, a folder is read.

# %%
sam_weights = None  # such as "base", or a folder

if sam_weights:
    from gen.segmentation import MaskRules, Prompt, PromptedSam, Sam

    cup = Prompt(box=(170, 15, 425, 310))  # left, top, right, bottom in pixels
    merged = PromptedSam(prompts=(cup,), sam=Sam(weights=sam_weights), rules=MaskRules())(to_tensor(photo))

# %% [markdown]
# ## What the shipped weights make of it
#
# They are small, see 64 x 64 pixels and were trained on rendered scenes of plain things. A photograph is far from all of that. So paint the
# picture from its latents alone, with no look at its pixels, and measure. The first picture is what is left of the photograph at 64 pixels:
# nothing can be better than that.

# %%
from gen import LatentImage, RegionPipeline, edits
from gen.evaluation.image_metrics import mean_colour, psnr
from image_utils.convert import to_pil
from image_utils.geometry import fitted_size

pipeline = RegionPipeline.from_pretrained()
picture = LatentImage.encode(pipeline, photo, merged)
width, height = fitted_size(*photo.size, pipeline.resolution)  # the longer side fills the model's square
seen = picture.pixel_values[..., :height, :width]


def from_latents_alone(view):
    """Paint a picture with no look at its pixels, and return its PSNR in dB at the model's resolution."""
    painted = view.paint_pixels(view.latents, context=False)
    return view.at_full_size(painted, composite=False)[0], float(psnr(painted.pixel_values[..., :height, :width], seen))


encoded, encoded_db = from_latents_alone(picture)
print(f"its mean colour {float(psnr(mean_colour(seen), seen)):.1f} dB, painted from the encoder's latents {encoded_db:.1f} dB")
image_grid([[shown(to_pil(seen[0])), shown(encoded)]], column_labels=[f"{width} x {height} pixels", "encoder's latents"])

# %% [markdown]
# A red blob with something white on top: the encoder has only ever seen single plain bodies.
#
# ## Refine
#
# The encoder reads tokens in one glance. `refined` takes them as a start, and optimises them for this one picture by the loss that the
# model was trained with; the weights stay as they are. What the decoder can paint is far more than what the encoder knows how to ask for.

# %%
refined = picture.refined(num_steps=100)
again, refined_db = from_latents_alone(refined)
print(f"encoder's latents {encoded_db:.1f} dB, refined {refined_db:.1f} dB")
image_grid([[shown(encoded), shown(again)]], column_labels=["encoder's latents", "refined"])

# %% [markdown]
# ## Edit
#
# The refined latents are edited like any others. Pixels outside the area that an edit may change are the photograph's own, at full size.

# %%
latents = refined.latents
changes = {
    "smaller": edits.resize(latents, 1, 0.6),
    "smaller, moved": edits.move(edits.resize(latents, 1, 0.5), 1, dx=0.15, dy=0.0),
    "rotated by 30": edits.rotate(latents, 1, degrees=30),
    "removed": edits.remove(latents, 1),
}
image_grid([[shown(painted, 192) for painted in refined.paint_all(list(changes.values()))]], column_labels=list(changes))

# %% [markdown]
# What to think of it:
#
# - It is the same cup, and it went where it was told. That much carries over from rendered balls and boxes to a photograph.
# - The object covers half of the picture, so almost everything may change and is painted at 64 pixels: soft beside the sharp rim that is
#   the photograph's own. Smaller objects leave more of it alone.
# - The wood is gone. What was behind the cup is nowhere in the latents, so the model fills in what it has seen in training: a plain floor.
# - Refinement has its price. Nothing makes it put all of the object into the object's tokens: a piece of the saucer went to the
#   background's, is missing when the cup is rotated, and stays behind as a dark spot when it is gone.
#
# ## Try it
#
# `show` is a plain function; in Jupyter its arguments become sliders.


# %%
def show(dx=0.0, dy=0.0, size=0.6, degrees=0):
    """Paint the photograph with its object moved, resized and rotated."""
    changed = edits.rotate(edits.move(edits.resize(latents, 1, size), 1, dx, dy), 1, degrees)
    return shown(refined.paint(changed), 256)


show(dx=-0.1, dy=0.1, size=0.5, degrees=-20)

# %%
from contextlib import suppress

with suppress(ImportError):  # pip install -c constraints.txt -e '.[notebooks]'
    from ipywidgets import interact

    interact(show, dx=(-0.3, 0.3, 0.05), dy=(-0.15, 0.15, 0.05), size=(0.3, 1.2, 0.1), degrees=(-180, 180, 15))

# %% [markdown]
# ## Train on your own folder
#
# To be better at photographs a model must see photographs. A folder of pictures is a data set, with masks beside them (`NAME.mask.png`) or
# cut by colour, and the recipe `photos` trains a small model at 128 pixels on nothing else:
#
# ```bash
# python train.py +experiment=photos dataset.root=my/pictures
# python scripts/edit_photos.py --root my/pictures --pipeline outputs/photos/pipeline --out outputs/photos/edits
# ```
#
# Then `RegionPipeline.from_pretrained("outputs/photos/pipeline")` takes the place of the shipped weights above. `scripts/demo_photos` does
# all of it with seven photographs of scikit-image, [and this is what comes out](../results/photos/photos.md). For pictures in general one
# needs many of them, and Stable Diffusion as the decoder: [docs/options.md](../options.md) has the words for it.
#
# **Exercise.** Cut the spoon out by a box of your own, as a second object, refine anew and take it away. Then try
# `Image.fromarray(skimage.data.astronaut())`: which pieces would you merge?
