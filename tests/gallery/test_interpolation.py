"""Interpolation: it goes evenly from one object to the other, in look, in pose or in both, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gen.editing.latent_image import LatentImage
from gen.editing.operations import interpolate
from gen.gallery.interpolation import _distances, another_frame, another_look, interpolation
from gen.gallery.panel import NothingToShowError, Sampling
from gen.scenes import clip, render, sample_scene
from image_utils.convert import to_pil, to_tensor


def test_a_look_becomes_another_one_in_even_steps(mugs):
    panel = interpolation(mugs, 4, mugs, 2, num_frames=5, what="look")
    assert panel.figures["monotone_share"] == 1
    assert 1 <= panel.figures["largest_step_over_mean"] < 1.5
    assert panel.table[0]["from_first_percent"] == panel.table[-1]["to_last_percent"] == 0
    assert [row["weight"] for row in panel.table] == [0, 0.25, 0.5, 0.75, 1]
    assert len(panel.frames) == 8, "there and back, the ends once"
    pictures = [np.asarray(frame.resize((64, 64), 0)).astype(int) for frame in panel.frames]
    elsewhere = ~mugs.changed(interpolate(mugs.latents, 4, mugs.latents, 2, 0.5, "look")).numpy()
    assert elsewhere.mean() > 0.5
    assert all((picture[elsewhere] == np.asarray(mugs.image)[elsewhere]).all() for picture in pictures)
    own = mugs.regions.masks[0, 4].numpy()
    redness = [(picture[own][:, 0] - picture[own][:, 2]).mean() for picture in pictures[:5]]
    assert redness == sorted(redness), "a cyan sphere becomes an orange one"


def test_an_object_goes_on_its_way_between_two_frames_of_a_clip(shipped):
    rendering = render(clip(sample_scene(7, 0, "simple"), 9, seed=1), 64)
    pictures = [LatentImage.encode(shipped, to_pil(rendering.pixel_values[k]), rendering.label_map[k]) for k in (0, 4, 8)]
    first, middle, last = pictures
    distance = (last.latents.pose.centre - first.latents.pose.centre)[0].norm(dim=-1)
    region = max(first.objects, key=lambda k: float(distance[k]))
    assert distance[region] > 0.15
    panel = interpolation(first, region, last, region, num_frames=3)
    painted = [to_tensor(frame.resize((64, 64), 0)) for frame in panel.frames[:3]]
    nearest = []
    for truth in (first, middle, last):
        shown = truth.regions.masks[0, region]
        nearest.append(min(range(3), key=lambda k: float((painted[k] - truth.pixel_values[0])[:, shown].square().mean())))
    assert nearest == [0, 1, 2]


def test_a_picture_alone_goes_on_to_its_next_object(wide, table):
    panel = another_look(wide, Sampling(num_inference_steps=1))
    assert panel.figures["monotone_share"] == 1
    assert len(panel.table) == 9
    assert panel.frames[0].size[0] > panel.frames[0].size[1]
    for objects, message in ((1, "has one object; an interpolation needs a second one"), (0, "has no object")):
        few = LatentImage.encode(table.pipeline, table.image, (table.regions.label_map()[0] == 1).long() * objects)
        with pytest.raises(NothingToShowError, match=message):
            another_look(few)


def test_what_fills_the_square_is_no_distance(wide):
    """Noise below a picture that is wider than high changes no figure."""
    painted = wide.paint_pixels(*(interpolate(wide.latents, 1, wide.latents, 2, weight) for weight in (0.1, 0.5, 0.9)))
    everywhere = replace(painted, changed=torch.ones_like(painted.changed))
    noisy = everywhere.pixel_values.clone()
    noisy[:, :, 21:] += torch.arange(3.0)[:, None, None, None]  # 48 x 32 in a square of 32
    assert _distances(wide, replace(everywhere, pixel_values=noisy)) == _distances(wide, everywhere)


def test_what_is_no_way_is_refused(wide):
    with pytest.raises(ValueError, match="num_frames=1: .* give at least 2"):
        interpolation(wide, 1, wide, 2, num_frames=1)
    with pytest.raises(ValueError, match="region 3 is not in the other picture; choose one of 1, 2"):
        interpolation(wide, 1, wide, 3)


def test_another_frame_moves_the_object_that_goes_farthest(shipped, table, repository):
    later = LatentImage.open(shipped, repository / "docs" / "examples" / "table_later.png")
    way = (later.latents.pose.centre - table.latents.pose.centre)[0].norm(dim=-1)
    assert int(way.argmax()) == 4
    panel, same = another_frame(table, later), interpolation(table, 4, later, 4)
    assert panel.figures == same.figures and panel.figures["monotone_share"] == 1
    with pytest.raises(NothingToShowError, match="same number in both frames"):
        another_frame(table, replace(later, latents=replace(later.latents, valid=later.latents.valid & False)))
