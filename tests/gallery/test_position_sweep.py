"""The position sweep: thirteen places, the object in each of them, everything else as it was; the figures know when that is not so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gen import LatentImage, edits
from gen.gallery.panel import Panel, Sampling, stacked, subject
from gen.gallery.position_sweep import _cross, position_sweep
from gen.gallery.unchanged import centroid_errors, difference_map, psnr_elsewhere
from gen.models.tiny import tiny_pipeline
from gen.scenes import SceneSpec, render
from image_utils.convert import to_pil


def test_thirteen_places_with_all_else_unchanged(table):
    panel = position_sweep(table)
    assert len(panel.table) == 13 and len({(row["dx"], row["dy"]) for row in panel.table}) == 13
    assert sum(row["dx"] == 0 == row["dy"] for row in panel.table) == 1
    assert panel.figures["change_elsewhere_composited_grey_levels"] == 0
    assert panel.figures["lowest_psnr_elsewhere_db"] > 40
    assert panel.figures["centroid_error_percent"] < 2
    assert len({frame.size for frame in panel.frames}) == 1 and len(panel.frames) > 20


def test_the_object_stays_inside_the_picture(table):
    region = 1
    centre, half = table.latents.pose.centre[0, region], table.latents.pose.size[0, region] / 2
    for row in position_sweep(table, region, Sampling(num_inference_steps=1)).table:
        place = centre + torch.tensor([row["dx"], row["dy"]])
        assert (place - half > -1e-4).all() and (place + half < 1 + 1e-4).all()


def test_centroid_errors_agree_with_the_rendered_truth(table, repository):
    """The truth itself, handed in as if painted, is where it was asked; shifted by four pixels it is not."""
    spec = SceneSpec.from_json((repository / "docs" / "examples" / "table.json").read_text())
    region, cells = 4, 64
    without = replace(spec, objects=tuple(item for i, item in enumerate(spec.objects) if i != region - 1))
    truth, empty = render([spec], cells).pixel_values, render([without], cells).pixel_values
    everywhere = torch.ones(1, cells, cells, dtype=torch.bool)
    removed = edits.EditedPixels(empty, table.latents, everywhere)
    in_place = edits.EditedPixels(truth, table.latents, everywhere)
    shifted = edits.EditedPixels(torch.roll(truth, 4, -1), table.latents, everywhere)
    nowhere = torch.zeros(1, 2)
    assert float(centroid_errors(table, region, in_place, removed, nowhere)) < 0.01
    assert float(centroid_errors(table, region, shifted, removed, nowhere)) > 0.03


def test_psnr_elsewhere_counts_only_what_may_not_change(table):
    after = edits.remove(table.latents, 1)
    painted = table.paint_pixels(after, num_inference_steps=1)
    source = table.pixel_values
    inside = torch.where(painted.changed[:, None], torch.ones_like(source), source)
    outside = torch.where(painted.changed[:, None], source, (source + 0.2).clamp(max=1))
    assert float(psnr_elsewhere(table, replace(painted, pixel_values=inside))) == 100
    assert float(psnr_elsewhere(table, replace(painted, pixel_values=outside))) == pytest.approx(20, abs=0.5)  # 10 log10(4 / 0.04)


@pytest.mark.parametrize("size", [(70, 45), (20, 31)])
def test_pictures_of_any_shape(pipeline, size):
    width, height = size
    label_map = torch.zeros(height, width, dtype=torch.int64)
    label_map[height // 3 : height // 2, width // 4 : width // 2] = 1
    picture = LatentImage.encode(pipeline, Image.new("RGB", size, "grey"), label_map)
    assert len(position_sweep(picture, sampling=Sampling(num_inference_steps=1)).table) == 13


def test_an_object_from_edge_to_edge_is_swept_too(pipeline):
    label_map = torch.zeros(32, 32, dtype=torch.int64)
    label_map[10:20] = 1
    picture = LatentImage.encode(pipeline, Image.new("RGB", (32, 32), "grey"), label_map)
    assert len({row["dx"] for row in position_sweep(picture, sampling=Sampling(num_inference_steps=1)).table}) == 7


def test_its_centre_stays_in_the_picture_however_numbers_are_rounded():
    """40 x 16 pixels in a square of 40: in fp32 the lower edge, 0.4, is above 0.4."""
    label_map = torch.zeros(16, 40, dtype=torch.int64)
    label_map[:, 10:20] = 1
    picture = LatentImage.encode(tiny_pipeline(resolution=40, num_regions=3), Image.new("RGB", (40, 16), "grey"), label_map)
    assert len({row["dy"] for row in position_sweep(picture, sampling=Sampling(num_inference_steps=1)).table}) == 7


def test_a_corner_leaves_room_for_regions_and_differences():
    cells = [(0, k) for k in range(7)] + [(k, 0) for k in range(1, 7)]
    legend = [(Image.new("RGB", (64, 64), colour), colour) for colour in ("red", "blue")]
    sheet = np.asarray(_cross([Image.new("RGB", (64, 64), "lime")] * 13, cells, [""] * 13, legend, ""))
    for colour, count in (((0, 255, 0), 13), ((255, 0, 0), 1), ((0, 0, 255), 1)):
        assert (sheet == colour).all(-1).sum() == count * 64 * 64


def test_the_subject_has_room(table):
    assert subject(table) == 4  # the ball in the middle
    with pytest.raises(ValueError, match="no object to show an edit of"):
        subject(replace(table, latents=replace(table.latents, valid=torch.zeros_like(table.latents.valid))))


def test_a_difference_map_is_dark_where_nothing_differs(table):
    before = Image.new("RGB", (8, 8), (100, 100, 100))
    after = before.copy()
    after.paste((200, 100, 100), (0, 0, 4, 8))
    heat = np.asarray(difference_map(before, after)).astype(int).sum(-1)
    assert heat[:, :3].min() > heat[:, 5:].max() + 100
    with pytest.raises(ValueError, match="8x8 pixels is compared with one of 4x4"):
        difference_map(before, after.resize((4, 4)))


def test_stacking_panels_takes_means():
    sheet = Image.new("RGB", (10, 10))
    both = stacked([Panel(sheet, {"a_db": 1.0, "b": 5.0}), Panel(sheet, {"a_db": 3.0})])
    assert both.figures == {"a_db": 2.0} and both.image.height > 20


def test_sampling_is_checked():
    with pytest.raises(ValueError, match="num_inference_steps must be at least 1"):
        Sampling(num_inference_steps=0)


def test_a_rendered_example_is_what_the_spec_says(table, repository):
    spec = SceneSpec.from_json((repository / "docs" / "examples" / "table.json").read_text())
    assert np.array_equal(np.asarray(to_pil(render([spec], 64).pixel_values[0])), np.asarray(table.image))
