"""What a batch tells of its two views: coordinates, cameras, rotations, depth, yaw, and the kinds of pairs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from gen import scenes
from gen.data.augment import Augmentation, ViewTransform, apply_transforms, view_coordinates
from gen.data.image_folder import ImageFolder
from gen.data.pairs import seen_camera
from gen.data.scenes import Scenes
from gen.segmentation import Classical, Superpixels, WholePicture

STILL = Augmentation(probability=0.0)


def build(**changes) -> Scenes:
    return Scenes(**({"resolution": 32, "train_batch_size": 12, "num_scenes": 100} | changes))


def first(data):
    return next(iter(data.train_batches(seed=3)))


def test_coordinates_are_the_warp_of_the_pixels():
    """Warping a picture of its own coordinates gives the coordinates of the view."""
    transforms = [ViewTransform(), ViewTransform(0.7, 12.0, True, (0.1, -0.05)), ViewTransform(0.8, shift=(-0.2, 0.2))]
    still = view_coordinates(transforms[:1], 16, 24)
    assert torch.allclose(still[0, 0, 3], (2 * torch.arange(24) + 1) / 24 - 1, atol=1e-6)
    assert torch.allclose(still[0, 1, :, 5], (2 * torch.arange(16) + 1) / 16 - 1, atol=1e-6)
    picture = torch.cat([still, still[:, :1]], 1).expand(3, -1, -1, -1)
    warped, _ = apply_transforms(picture, torch.zeros(3, 1, 16, 24, dtype=torch.long), transforms)
    most = torch.tensor([1 - 1 / 24, 1 - 1 / 16])[:, None, None]  # beyond the outermost pixels' centres the border is repeated
    expected = torch.minimum(torch.maximum(view_coordinates(transforms, 16, 24), -most), most)
    assert torch.allclose(warped[:, :2], expected, atol=1e-5)


def test_coordinates_of_a_batch_lead_back_to_the_picture():
    data = build(twin_probability=0.0, target_augmentation=Augmentation(probability=1.0), source_augmentation=STILL)
    batch = first(data)
    grid = batch.target.coordinates.movedim(1, -1)
    again = F.grid_sample(batch.source.pixel_values, grid, padding_mode="border", align_corners=False)
    assert (again - batch.target.pixel_values).abs().max() < 1e-4
    assert batch.target.coordinates.abs().max() <= 1


def test_new_facts_leave_the_old_fields_of_a_batch_alone():
    plain, more = first(build()), first(build(depth_probability=0.5, yaw_probability=0.5, control="edges"))
    assert (plain.control, plain.target.pose.depth, plain.target.pose.yaw) == (None, None, None)
    for view in ("source", "target"):
        one, other = getattr(plain, view), getattr(more, view)
        assert torch.equal(one.pixel_values, other.pixel_values)
        assert torch.equal(one.regions.masks, other.regions.masks)
        assert torch.equal(one.pose.centre, other.pose.centre)
    assert torch.equal(plain.context, more.context)
    assert torch.equal(plain.seeds, more.seeds)


def test_rotations_and_periods_belong_to_the_regions():
    batch = first(build(twin_probability=0.0, source_augmentation=STILL, target_augmentation=Augmentation(probability=1.0)))
    known = ~batch.source.rotations.isnan().all(-1).all(-1)
    assert torch.equal(known, batch.rotation_period >= 0)
    assert torch.equal(known[:, 1:], batch.source.regions.valid[:, 1:])
    mirrored = batch.target.pose.flip[:, 0] == 1
    assert 0 < mirrored.sum() < len(batch)
    assert batch.target.rotations[mirrored].isnan().all()
    turned = batch.target.rotations[~mirrored] @ batch.source.rotations[~mirrored].mT
    angle = batch.target.pose.angle[~mirrored]
    assert torch.allclose(turned[..., 1, 0][known[~mirrored]], angle[..., 0][known[~mirrored]], atol=1e-4)


def test_a_share_of_the_regions_tells_depth_and_another_yaw():
    data = build(twin_operations=["rotate"], twin_probability=1.0, depth_probability=0.5, yaw_probability=0.5, train_batch_size=40)
    batch = first(data)
    pose, there = batch.target.pose, batch.source.regions.valid & batch.target.regions.valid
    there[:, 0] = False
    depth_told, yaw_told = ~pose.depth[there].isnan(), ~pose.yaw[there].isnan().any(-1)
    for told in (depth_told, yaw_told, depth_told == yaw_told):
        assert 0.35 < told.float().mean() < 0.65
    assert pose.depth[:, 0].isnan().all()
    assert pose.depth[~pose.depth.isnan()].abs().max() < 1.5
    only_yaw = first(build(yaw_probability=1.0)).target.pose
    assert only_yaw.depth is None and not only_yaw.yaw[:, 1].isnan().all()
    every = first(build(twin_operations=["rotate"], twin_probability=1.0, yaw_probability=1.0, train_batch_size=40)).target.pose
    degrees = torch.atan2(every.yaw[..., 0], every.yaw[..., 1]).rad2deg().abs()
    assert ((degrees > 29).sum(1) <= 1).all()  # a twin turns one object
    assert (degrees > 29).sum() > 0.8 * len(degrees)
    every = first(build(depth_probability=1.0, yaw_probability=1.0)).target.pose
    assert (~every.depth.isnan()).any(1).all()


def test_yaw_of_a_twin_is_the_turn_of_its_spec():
    data = build(twin_operations=["rotate"], twin_probability=1.0, depth_probability=1.0, yaw_probability=1.0, source_augmentation=STILL)
    spec = scenes.sample_scene(0, 4, "simple")
    twin = scenes.make_twin(spec, "rotate", 4)
    item = data.items([4])[0]
    batch = data.collate([item], [ViewTransform()], [ViewTransform(0.9, 5.0)], [0])
    turn = twin.after.objects[twin.object_index - 1].yaw - spec.objects[twin.object_index - 1].yaw
    expected = torch.tensor([math.sin(turn), math.cos(turn)])
    assert torch.allclose(batch.target.pose.yaw[0, twin.object_index], expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["clip", "view"])
def test_clips_and_views_are_pairs_of_the_same_objects(kind):
    batch = first(build(twin_probability=0.0, **{f"{kind}_probability": 1.0}, source_augmentation=STILL, target_augmentation=STILL))
    both = batch.source.regions.valid & batch.target.regions.valid
    assert torch.equal(both, batch.source.regions.valid)  # all stay visible
    differ = (batch.source.pixel_values != batch.target.pixel_values).flatten(1).any(1)
    assert differ.float().mean() > 0.8
    moved = (batch.source.pose.centre - batch.target.pose.centre).norm(dim=-1)[:, 1:][both[:, 1:]]
    assert moved.median() > 0.01
    unchanged = ~batch.changed[:, None].expand_as(batch.context)
    assert torch.equal(batch.context[unchanged], batch.target.pixel_values[unchanged])
    same = (batch.camera - torch.eye(3, 4).flatten()).abs().amax(1) < 1e-6
    assert bool(same.all()) if kind == "clip" else torch.equal(same, ~differ)


def test_the_background_of_a_clip_stands_still_and_that_of_a_view_moves():
    clip, view = (
        first(build(twin_probability=0.0, **{f"{kind}_probability": 1.0}, source_augmentation=STILL, target_augmentation=STILL))
        for kind in ("clip", "view")
    )
    assert clip.changed.float().mean() < 0.6 < view.changed.float().mean()


def test_the_camera_follows_the_augmentation():
    camera = scenes.relative_camera(*(scenes.sample_scene(0, index, "simple").camera for index in (0, 1)))[None]
    still, turn, mirror = ViewTransform(0.9), ViewTransform(0.9, 20.0), ViewTransform(0.9, flip=True)
    assert torch.allclose(seen_camera(camera, [still], [still]), camera)
    same = torch.eye(3, 4).flatten()[None]
    assert torch.allclose(seen_camera(same, [turn], [turn]), same, atol=1e-6)
    turned = seen_camera(same, [still], [turn]).view(3, 4)
    assert torch.allclose(turned[:2, 0], torch.tensor([math.cos(math.radians(20)), math.sin(math.radians(20))]))
    mirrored = seen_camera(camera, [mirror], [mirror]).view(3, 4)
    assert torch.allclose(mirrored[:, 3], camera.view(3, 4)[:, 3] * torch.tensor([-1.0, 1.0, 1.0]))  # left becomes right


def test_control_pictures_are_in_the_targets_geometry():
    moved = {"target_augmentation": Augmentation(probability=1.0)}
    outlined, edged = (first(build(control=control, **moved)) for control in ("outlines", "edges"))
    labels = outlined.target.regions.label_map()
    beside = (labels[:, :, 1:] != labels[:, :, :-1])[:, None].expand(-1, 3, -1, -1)
    assert (outlined.control[..., 1:][beside] == 1).all()
    assert set(outlined.control.unique().tolist()) == {-1.0, 1.0}
    flat = outlined.control[:, 0] == -1
    assert edged.control[:, 0][~flat].mean() > edged.control[:, 0][flat].mean() + 0.15


def test_validation_images_are_conditioning_pictures_themselves(tmp_path):
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "a.png")
    batch = build(control="outlines", validation_image=[str(tmp_path / "a.png")], num_validation=2).validation_batch()
    assert torch.equal(batch.control[0], batch.target.pixel_values[0])
    assert set(batch.control[1].unique().tolist()) == {-1.0, 1.0}
    assert batch.camera.tolist() == [torch.eye(3, 4).flatten().tolist()] * 2
    assert batch.source.rotations[0].isnan().all()


def test_a_folder_of_pictures_knows_nothing_in_3d(tmp_path):
    for index in range(3):
        Image.new("RGB", (40, 40), (80 * index, 0, 0)).save(tmp_path / f"{index}.png")
    told = {"depth_probability": 1.0, "yaw_probability": 1.0, "control": "edges"}
    data = ImageFolder(root=str(tmp_path), num_held_out=0, resolution=32, train_batch_size=2, **told)
    batch = first(data)
    assert batch.camera is None
    assert batch.control is not None
    assert (batch.rotation_period == -1).all()
    assert batch.source.rotations.isnan().all()
    assert batch.target.pose.depth.isnan().all()
    assert batch.target.pose.yaw.isnan().all()


def test_facts_about_the_datas_objects_are_dropped_where_another_segmenter_cuts():
    batch = first(build(segmenter=Superpixels(), num_regions=17, twin_probability=0.0, depth_probability=1.0, yaw_probability=1.0))
    assert not batch.source.regions.valid[:, 0].any()  # no background
    assert (batch.source.regions.valid.sum(1) >= 4).all()
    assert batch.source.rotations.isnan().all()
    assert batch.target.pose.yaw.isnan().all()
    assert all((value == -1).all() for value in [batch.rotation_period, *batch.labels.values()])


def test_a_batch_can_be_indexed_and_moved():
    batch = first(build(control="outlines", depth_probability=1.0, yaw_probability=1.0))
    part = batch[2:5].to("cpu")
    assert torch.equal(part.control, batch.control[2:5])
    assert torch.equal(part.camera, batch.camera[2:5])
    assert torch.equal(part.target.coordinates, batch.target.coordinates[2:5])
    assert part.rotation_period.shape == (3, 6)
    assert first(build())[0].control is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_probability": 0.4, "view_probability": 0.2}, r"twin_probability=0.5 \+ .*clip_probability=0.4 \+ .*view_probability=0.2"),
        ({"view_probability": -0.1}, "view_probability=-0.1"),
        ({"clip_frames": 0}, "clip_frames=0"),
        ({"view_degrees": 0.0}, "view_degrees=0.0"),
        ({"twin_operations": ["move", "rotate"]}, "rotate.*yaw_probability"),
        ({"yaw_probability": 1.5}, "yaw_probability=1.5"),
        ({"segmenter": Superpixels(16), "num_regions": 16, "twin_probability": 0.0}, "num_segments=16.*num_regions=17"),
        ({"segmenter": Classical()}, "Classical.*pair.*twin_probability"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_one_region_may_be_paired():
    batch = first(build(segmenter=WholePicture(), twin_probability=0.0, view_probability=1.0))
    assert batch.source.regions.valid.sum(1).tolist() == [1] * 12
