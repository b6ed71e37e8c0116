"""Movi: the same clips as TensorFlow Datasets would store them, read without TensorFlow; splits; damage."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.kubric import GSO_CATEGORIES, Kubric
from gen.data.movi import Movi
from tests.data.test_kubric import check_poses, place, write_scene
from tests.data.toy_kubric import FOCAL_LENGTH, SENSOR_WIDTH, SIDE, ToyClip, toy_clip
from tests.data.toy_tfrecords import example, write_records
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
NUM_FRAMES = 3


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def movi_example(name: str, clip: ToyClip, **changed) -> bytes:
    """Serialise a clip as movi_e.py describes it and TFDS writes it: nested names joined by /, tensors flattened, pictures as PNG."""
    frames, count = len(clip.frames), len(clip.instances)
    numbers = np.random.default_rng(0)
    features = {
        "metadata__video_name": [name.encode()],
        "metadata__width": [SIDE],
        "metadata__height": [SIDE],
        "metadata__num_frames": [frames],
        "metadata__num_instances": [count],
        "metadata__depth_range": [1.0, 20.0],
        "background": [b"hdri"],
        "video": [png(frame) for frame in clip.frames],
        "segmentations": [png(segmentation) for segmentation in clip.segmentations],
        "depth": [png(segmentation.astype(np.uint16)) for segmentation in clip.segmentations],
        "forward_flow": numbers.integers(0, 2**16, frames * SIDE * SIDE * 2).tolist(),
        "camera__focal_length": [FOCAL_LENGTH],
        "camera__sensor_width": [SENSOR_WIDTH],
        "camera__positions": clip.camera["positions"].ravel().tolist(),
        "camera__quaternions": clip.camera["quaternions"].ravel().tolist(),
        "instances__positions": np.stack([item["positions"] for item in clip.instances]).ravel().tolist(),
        "instances__quaternions": np.stack([item["quaternions"] for item in clip.instances]).ravel().tolist(),
        "instances__category": [GSO_CATEGORIES.index(item["category"]) for item in clip.instances],
        "instances__asset_id": [b"x"] * count,
        "instances__is_dynamic": [1] * count,
        "instances__bboxes__ragged_flat_values": [0.0, 0.0, 1.0, 1.0] * count,
        "instances__bboxes__ragged_row_lengths_0": [1] * count,
    }
    return example(**{key: value for key, value in (features | changed).items() if value is not None})


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two of four training shards with two clips each, and a validation shard with two."""
    root = tmp_path_factory.mktemp("movi_e")
    for shard in (0, 2):
        clips = [movi_example(str(number), toy_clip(number, NUM_FRAMES)) for number in (shard, shard + 1)]
        write_records(root / f"movi_e-train.tfrecord-{shard:05d}-of-00004", clips)
    clips = [movi_example(str(number), toy_clip(number, NUM_FRAMES)) for number in (10, 11)]
    write_records(root / "movi_e-validation.tfrecord-00000-of-00001", clips)
    write_records(root / "movi_e-test.tfrecord-00000-of-00001", clips)
    (root / "dataset_info.json").write_text("{}")
    return root


def movi(root, **settings):
    settings = {"resolution": SIDE, "source_augmentation": STILL, "target_augmentation": STILL} | settings
    return Movi(root=str(root), **settings)


def test_frames_are_those_that_were_written_with_all_that_is_known_of_them(shards):
    data = movi(shards)
    assert len(data) == 4 * NUM_FRAMES
    assert [place(picture.name) for picture in (data.pictures()[index] for index in range(18))] == (
        [(scene, frame) for scene in (0, 1, 2, 3, 10, 11) for frame in range(NUM_FRAMES)]
    )
    for index in (0, 5, 11, 12):
        picture = data.pictures()[index]
        scene, frame = place(picture.name)
        check_poses(picture, toy_clip(scene, NUM_FRAMES), frame)


def test_the_published_validation_split_is_held_out(shards):
    data = movi(shards, num_held_out=1)
    assert {place(data.read(entry).name)[0] for entry in data._training} == {0, 1, 2, 3}
    assert [place(data.read(entry).name) for entry in data._held_out][:3] == [(10, 0), (11, 0), (10, 1)]


def test_training_clips_are_held_out_where_the_split_was_not_downloaded(shards, tmp_path):
    shutil.copy(shards / "movi_e-train.tfrecord-00000-of-00004", tmp_path)
    data = movi(tmp_path, num_held_out=1)
    trained, held_out = ({place(data.read(entry).name)[0] for entry in entries} for entries in (data._training, data._held_out))
    assert len(trained) == len(held_out) == 1
    assert trained | held_out == {0, 1}
    with pytest.raises(ValueError, match=r"num_held_out=2 leaves no clip"):
        movi(tmp_path, num_held_out=2)


def test_it_is_what_kubric_gives_for_the_same_clips(shards, tmp_path):
    """One batch of both, with workers, agrees in everything: pixels, regions, poses, pairs, cameras."""
    for number in range(4):
        write_scene(tmp_path / str(number), toy_clip(number, NUM_FRAMES))
    common = {"resolution": SIDE, "train_batch_size": 6, "num_workers": 1, "yaw_probability": 1.0, "depth_probability": 1.0}
    batches = [
        next(Kubric(root=str(tmp_path), num_held_out=0, **common).train_batches(seed=1)),
        next(Movi(root=str(shards), **common).train_batches(seed=1)),
    ]
    for one, other in ((batches[0].source, batches[1].source), (batches[0].target, batches[1].target)):
        assert torch.equal(one.pixel_values, other.pixel_values)
        assert torch.equal(one.regions.masks, other.regions.masks)
        assert torch.allclose(one.rotations, other.rotations, atol=1e-5, equal_nan=True)
    one, other = (batch.target.pose for batch in batches)
    assert torch.allclose(one.depth, other.depth, atol=1e-5, equal_nan=True)
    assert torch.allclose(one.yaw, other.yaw, atol=1e-4, equal_nan=True)
    assert torch.allclose(batches[0].camera, batches[1].camera, atol=1e-5)
    assert torch.equal(batches[0].labels["gso_category"], batches[1].labels["gso_category"])
    assert other.depth.isfinite().any()
    assert other.yaw.isfinite().any()


def test_a_data_set_without_categories_has_poses_all_the_same(tmp_path):
    clip = toy_clip(0, NUM_FRAMES)
    write_records(tmp_path / "movi_a-train.tfrecord-00000-of-00001", [movi_example("0", clip, instances__category=None)])
    picture = movi(tmp_path, num_held_out=0).pictures()[0]
    assert set(picture.labels["gso_category"].values()) == {-1}
    assert not picture.rotation_period
    assert picture.rotations


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"dataset.root='.*' holds no record of MOVi.*gcloud storage cp"):
        movi(tmp_path)
    clip, path = toy_clip(0, NUM_FRAMES), tmp_path / "movi_e-train.tfrecord-00000-of-00001"
    cases = (
        ({"video": [b"no png"] * 3}, r"image in the record at byte 12 of .*-of-00001, frame 0 cannot be read"),
        (
            {"segmentations": [png(frame) for frame in clip.frames]},
            r"label map in the record at byte 12 of .*, frame 0 is a picture in mode RGB",
        ),
        ({"segmentations": None}, r"the record at byte 12 of .* has no feature 'segmentations'"),
        ({"segmentations": [png(clip.segmentations[0])]}, r"has 3 frames and 1 segmentations, none for frame 1"),
        ({"camera__positions": [1.0, 2.0]}, r"feature 'camera/positions' has 2 values where \(3, 3\)"),
        ({"instances__quaternions": [1.0] * 12}, r"feature 'instances/quaternions' has 12 values where \(3, 3, 4\)"),
        ({"instances__quaternions": [0.0] * 36}, r"0, frame 0: quaternion .* is no rotation"),
    )
    for changed, message in cases:
        write_records(path, [movi_example("0", clip, **changed)])
        pictures = movi(tmp_path, num_held_out=0).pictures()
        with pytest.raises(ValueError, match=message):
            [pictures[0], pictures[1]]
    write_records(path, [b"no example at all"])
    with pytest.raises(ValueError, match=r"the record at byte 12 of .* is damaged, or no tf.train.Example"):
        movi(tmp_path, num_held_out=0)


def test_one_training_step_by_name(shards):
    assert_trains_by_name("movi", shards)
