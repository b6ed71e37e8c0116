"""Masks of a cropped, flipped or turned picture are the cropped, flipped or turned masks, wherever a picture is moved."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from torch import Tensor

from gen.data.augment import ViewTransform, apply_transforms
from gen.segmentation import Classical
from gen.segmentation.picture_key import picture_key
from image_utils import io
from image_utils.convert import to_pil, to_tensor

# Whose corners of the colour cube no mixture of two others comes near.
COLOURS = torch.tensor([[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]], dtype=torch.float32)
TURNS = {
    "mirrored": lambda x: x.flip(-1), "upside down": lambda x: x.flip(-2), "a quarter": lambda x: x.rot90(1, (-2, -1)),
    "half": lambda x: x.rot90(2, (-2, -1)),
}  # fmt: skip


def patches(seed: int) -> Tensor:
    """Return a label map of large patches."""
    coarse = torch.randint(0, len(COLOURS), (1, 1, 5, 5), generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse.float(), (40, 40), mode="nearest")[0, 0].long()


def painted(label_map: Tensor) -> Tensor:
    return COLOURS[label_map].movedim(-1, -3)


def read_back(pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the label that each pixel's colour codes, and whether it is that colour alone and no mixture."""
    distance = (pixel_values.movedim(-3, -1)[..., None, :] - COLOURS).abs().amax(-1)
    return distance.argmin(-1), distance.amin(-1) < 1e-3


transforms = st.builds(
    ViewTransform, scale=st.floats(0.4, 1.0), degrees=st.floats(-180, 180), flip=st.booleans(),
    shift=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
)  # fmt: skip


@given(seed=st.integers(0, 99), transform=transforms)
@settings(max_examples=30, deadline=None)
def test_an_augmented_picture_shows_what_its_augmented_label_map_says(seed, transform):
    """Off the borders of patches, where two colours mix, the colour tells the label: every pixel there is checked."""
    label_map = patches(seed)
    pixels, labels = apply_transforms(painted(label_map)[None], label_map[None, None], [transform])
    shown, pure = read_back(pixels[0])
    assert torch.equal(shown[pure], labels[0, 0][pure])
    planes = F.one_hot(labels[0], len(COLOURS)).movedim(-1, 1).float()
    inside = (F.avg_pool2d(planes, 5, stride=1, padding=2).amax(1) > 0.999)[0]  # what lies outside the view counts as another patch
    assert pure[inside].all()


@given(seed=st.integers(0, 99), degrees=st.sampled_from([0.0, 90.0, 180.0, 270.0]), flip=st.booleans())
@settings(max_examples=16, deadline=None)
def test_flips_and_quarter_turns_are_exact(seed, degrees, flip):
    label_map = patches(seed)
    pixels, labels = apply_transforms(painted(label_map)[None], label_map[None, None], [ViewTransform(degrees=degrees, flip=flip)])
    expected = (label_map.flip(-1) if flip else label_map).rot90(-int(degrees) // 90, (-2, -1))
    assert torch.equal(labels[0, 0], expected)
    assert torch.allclose(pixels[0], painted(expected), atol=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stored_on_its_side_has_the_regions_of_the_upright_one(tmp_path, photographs, orientation):
    method = Image.Transpose
    stored_as = {
        2: method.FLIP_LEFT_RIGHT, 3: method.ROTATE_180, 4: method.FLIP_TOP_BOTTOM, 5: method.TRANSPOSE, 6: method.ROTATE_90,
        7: method.TRANSVERSE, 8: method.ROTATE_270,
    }  # fmt: skip
    upright = photographs["coffee"].resize((60, 40))
    stored = upright.transpose(stored_as[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    read = to_tensor(io.load_image(tmp_path / "a.png"))
    assert io.check_image(tmp_path / "a.png") == upright.size
    assert picture_key(read) == picture_key(to_tensor(upright))
    assert torch.equal(Classical()(read), Classical()(to_tensor(upright)))


@pytest.mark.parametrize("turn", TURNS)
def test_colour_regions_of_a_turned_photograph_are_almost_the_turned_regions(photographs, turn):
    """Merging has ties and resampling rounds, so it is not exact: 0.997 was measured on four, 0.99 on average on rendered scenes."""
    for name in ("astronaut", "coffee"):
        pixel_values = to_tensor(photographs[name])
        before, after = TURNS[turn](Classical()(pixel_values)), Classical()(TURNS[turn](pixel_values))
        numbers = before.unique()[1:]
        overlaps = [float(((before == k) & (after == k)).sum() / ((before == k) | (after == k)).sum()) for k in numbers]
        assert torch.equal(after.unique()[1:], numbers)
        assert min(overlaps) > 0.98


def test_8_bits_keep_regions_as_they_are(photographs):
    pixel_values = to_tensor(photographs["rocket"])
    assert torch.equal(Classical()(pixel_values), Classical()(to_tensor(to_pil(pixel_values))))
