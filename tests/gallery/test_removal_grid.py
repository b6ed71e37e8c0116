"""The removal grid: what is left of removed objects is measured without a rendered truth, and agrees with one."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import torch

from gen import edits
from gen.editing.painting import EditedPixels
from gen.editing.preserve import changed_area
from gen.evaluation.region_metrics import residual_share
from gen.gallery.panel import Sampling
from gen.gallery.removal_grid import removal_grid, residual_shares
from gen.scenes import SceneSpec, render


def rendered_without(repository, gone: set[int]) -> torch.Tensor:
    """Render the example scene without some of its objects."""
    spec = SceneSpec.from_json((repository / "docs/examples/table.json").read_text())
    objects = tuple(replace(item, present=k not in gone) for k, item in enumerate(spec.objects, 1))
    return render([replace(spec, objects=objects)], 64).pixel_values


def removed(picture, objects: list[int], pixel_values: torch.Tensor) -> tuple[EditedPixels, torch.Tensor]:
    """Return a picture as if it were painted after the removal of objects, and which regions that takes away."""
    after = reduce(edits.remove, objects, picture.latents)
    changed = changed_area(picture.regions, picture.latents, after)
    return EditedPixels(pixel_values, after, changed), picture.latents.valid & ~after.valid


def test_nothing_is_left_in_a_true_removal_and_all_in_none(table, repository):
    for objects in ([1], [2], [3], [4], [1, 2, 3, 4]):
        truth, source = rendered_without(repository, set(objects)), table.pixel_values
        assert float(residual_shares(table, *removed(table, objects, truth))) < 0.02
        assert float(residual_shares(table, *removed(table, objects, source))) == 1


def test_what_is_left_agrees_with_the_rendered_truth(table, repository):
    """Half of the object's rows are left: found with the floor around it as with what is truly behind it."""
    truth, source = rendered_without(repository, {4}), table.pixel_values
    mask = table.regions.masks[:, 4]
    middle = int(table.latents.pose.centre[0, 4, 1] * 64)
    half = torch.cat([source[:, :, :middle], truth[:, :, middle:]], 2)
    found = float(residual_shares(table, *removed(table, [4], half)))
    assert abs(found - float(residual_share(half, source, truth, mask))) < 0.02
    assert abs(found - float(mask[:, :middle].sum() / mask.sum())) < 0.02


def test_the_shipped_model_removes_what_it_is_asked_to_and_little_else(table):
    panel = removal_grid(table)
    assert [row["region"] for row in panel.table] == [1, 2, 3, 4]
    assert panel.figures["residual_percent"] < 5 and panel.figures["residual_of_all_percent"] < 5
    assert panel.figures["lowest_psnr_elsewhere_db"] == min(row["psnr_elsewhere_db"] for row in panel.table) > 40
    assert panel.image.width > 5 * 128 and panel.image.height > 4 * 128


def test_without_objects_there_is_nothing_to_measure(bare):
    panel = removal_grid(bare, Sampling(num_inference_steps=1))
    assert not panel.figures and not panel.table
