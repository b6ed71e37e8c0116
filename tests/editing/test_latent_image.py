"""LatentImage: opened, edited by pure functions, painted; what is not edited stays, and all else is as in a plan."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from gen import LatentImage, edits
from gen.editing.latent_image import AT_ONCE
from gen.models.text_encoder import caption_of_present
from image_utils.io import save_image, save_label_map


@pytest.fixture(scope="module")
def picture(pipeline, make_picture):
    return LatentImage.encode(pipeline, *make_picture(70, 45))


def pixels(image):
    return np.asarray(image).astype(int)


def test_nothing_edited_is_the_picture_itself(picture):
    assert (pixels(picture.paint(picture.latents, num_inference_steps=1)) == pixels(picture.image)).all()


def test_an_edit_paints_what_the_same_plan_paints(picture, pipeline, make_picture):
    moved = picture.paint(edits.move(picture.latents, 2, 0.1, -0.2), seed=3, num_inference_steps=2)
    planned = edits.edit_image(pipeline, *make_picture(70, 45), edits.EditPlan((edits.Move(2, 0.1, -0.2),), seed=3, num_inference_steps=2))
    assert (pixels(moved) == pixels(planned.image)).all()


def test_only_what_may_change_does(picture):
    after = edits.move(picture.latents, 2, 0.1, -0.2)
    moved, allowed = picture.paint(after, num_inference_steps=1), picture.changed(after).numpy()
    differs = (pixels(moved) != pixels(picture.image)).any(-1)
    assert differs[allowed].mean() > 0.5 and not differs[~allowed].any()
    raw = picture.paint(after, num_inference_steps=1, composite=False)
    assert (pixels(raw) != pixels(picture.image)).any(-1)[~allowed].any()


def test_paintings_of_one_seed_differ_only_by_the_edit(picture):
    """All pictures of a batch start from the same noise: the same edit twice is the same picture, painted alone or among others."""
    after = edits.move(picture.latents, 2, 0.1, -0.2)
    first, other, again = picture.paint_all([after, edits.remove(picture.latents, 1), after], num_inference_steps=2)
    alone = picture.paint(after, num_inference_steps=2)
    assert (pixels(first) == pixels(again)).all() and (pixels(first) != pixels(other)).any()
    assert abs(pixels(first) - pixels(alone)).max() <= 1  # a grey level: sums over a batch round otherwise
    assert (pixels(picture.paint(after, num_inference_steps=2, seed=1)) != pixels(alone)).any()


def test_many_edits_are_painted_a_few_at_a_time(picture):
    """Memory is bounded, and each is what it would be alone."""
    sizes = []
    hook = picture.pipeline.unet.conv_in.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    edited = [edits.move(picture.latents, 2, 0.01 * k, 0.0) for k in range(AT_ONCE + 2)]
    painted = picture.paint_pixels(*edited, num_inference_steps=1)
    hook.remove()
    assert sizes == [AT_ONCE, 2]
    alone = picture.paint_pixels(edited[-1], num_inference_steps=1)
    assert torch.equal(painted.changed[-1:], alone.changed)
    torch.testing.assert_close(painted.pixel_values[-1:], alone.pixel_values, atol=1e-4, rtol=0)


def test_edits_with_and_without_a_turn_are_painted_together(picture):
    painted = picture.paint_pixels(edits.turn(picture.latents, 2, 30.0), picture.latents, num_inference_steps=1)
    yaw = painted.latents.pose.yaw
    assert not yaw[0, 2].isnan().any() and yaw[1].isnan().all()


def test_keep_leaves_one_object(picture):
    kept = edits.keep(picture.latents, 2)
    assert replace(picture, latents=kept).objects == [2] and kept.valid[0, 0]
    assert not edits.keep(picture.latents, 2, background=False).valid[0, 0]


def test_open_reads_the_regions_beside_a_picture_or_cuts_it(tmp_path, pipeline, make_picture):
    image, label_map = make_picture(70, 45)
    save_image(image, tmp_path / "photo.png")
    cut = LatentImage.open(pipeline, tmp_path / "photo.png", lambda pixel_values: torch.ones(pixel_values.shape[-2:], dtype=torch.int64))
    assert cut.objects == [1]
    assert LatentImage.open(pipeline, tmp_path / "photo.png").regions.valid.any()  # by colour
    save_label_map(label_map, tmp_path / "photo.mask.png")
    assert LatentImage.open(pipeline, tmp_path / "photo.png").objects == [1, 2]


def test_what_does_not_fit_is_refused(tmp_path, picture, pipeline, make_picture):
    image, label_map = make_picture(70, 45)
    with pytest.raises(ValueError, match="regions are 70x40 pixels, but the picture is 70x45"):
        LatentImage.encode(pipeline, image, label_map[:40])
    with pytest.raises(ValueError, match="outside the picture; positions are shares of its longer side"):
        picture.paint(edits.move(picture.latents, 2, 0.0, 0.3))
    with pytest.raises(ValueError, match="photo.png"):
        LatentImage.open(pipeline, tmp_path / "photo.png")


def test_every_edit_of_several_is_checked(picture):
    """What reaches beyond a picture that is not square is refused wherever it stands among the edits."""
    with pytest.raises(ValueError, match="region 2 would have its centre .* outside the picture"):
        picture.paint_all([picture.latents, edits.remove(picture.latents, 1), edits.move(picture.latents, 2, 0.0, 0.3)])
    with pytest.raises(ValueError, match="at least one"):
        picture.paint_all([])


def test_a_notebook_shows_the_numbered_picture(picture, pipeline):
    assert repr(pipeline) == f"RegionPipeline(32x32 pixels, room for {pipeline.num_regions - 1} objects, on cpu)"
    assert repr(picture) == "LatentImage(70x45 pixels, objects 1 2, in a square of 32 pixels)"
    assert repr(picture.latents).startswith("RegionLatents(1 picture, objects 1 2, room for 4, ")
    assert repr(picture.regions) == "Regions(1 picture, objects 1 2, room for 4, 32x32 pixels)"
    assert (pixels(Image.open(BytesIO(picture._repr_png_()))) == pixels(picture.numbered())).all()


def test_a_photograph_is_shown_no_larger_than_a_page(pipeline, make_picture):
    assert LatentImage.encode(pipeline, *make_picture(2400, 1800)).numbered().size == (1024, 768)


def test_numbers_are_shown_on_a_picture_large_enough_to_read_them(picture):
    shown = picture.numbered()
    assert shown.width >= 200 and shown.width * 45 == shown.height * 70


def test_a_caption_forgets_the_regions_that_are_gone():
    assert caption_of_present("a [1] beside [2]", [True, True, False]) == "a [1] beside "
