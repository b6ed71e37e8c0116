"""Davis: frames, ids, pairs and the official split, in DAVIS 2017's layout; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.davis import Davis
from image_utils import io
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
VIDEOS = {"bear": 4, "camel": 3, "dog-agility": 2}  # name -> frames
WIDTH, HEIGHT = 86, 48  # as wide for its height as 480p


def label_map(video: str, frame: int) -> np.ndarray:
    """Return two objects that move; the second one leaves the camel's video after its first frame, and an edge is unlabelled."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 22 + 4 * frame : 40 + 4 * frame] = 1
    if video != "camel" or frame == 0:
        labels[20:44, 50:60] = 2
    labels[10:30, 20 + 4 * frame : 22 + 4 * frame] = 255
    return labels


def pixels(video: str, frame: int) -> np.ndarray:
    """Return a picture whose colours tell the object and the video."""
    red = np.array([0, 120, 240])[np.where(label_map(video, frame) == 255, 0, label_map(video, frame))]
    return np.stack([red, np.full_like(red, 40 * list(VIDEOS).index(video)), 255 - red], -1).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [200] * 759  # DAVIS' first colours
    for video, count in VIDEOS.items():
        images, annotations = (tmp_path / kind / "480p" / video for kind in ("JPEGImages", "Annotations"))
        for frame in range(count):
            io.save_image(Image.fromarray(pixels(video, frame)), images / f"{frame:05d}.png")
            Image.open(images / f"{frame:05d}.png").save(images / f"{frame:05d}.jpg", quality=98, subsampling=0)
            (images / f"{frame:05d}.png").unlink()
            indexed = Image.fromarray(label_map(video, frame))
            indexed.putpalette(palette)
            annotations.mkdir(parents=True, exist_ok=True)
            indexed.save(annotations / f"{frame:05d}.png")
    sets = tmp_path / "ImageSets" / "2017"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("bear\ncamel\n")
    (sets / "val.txt").write_text("dog-agility\n")
    return tmp_path


def davis(root, **settings):
    return Davis(root=str(root), **({"resolution": 48, "source_augmentation": STILL, "target_augmentation": STILL} | settings))


def test_frames_and_ids_are_those_on_disk(root):
    pictures = davis(root, pair_probability=0.0).pictures()
    names = [pictures[index].name for index in range(len(pictures))]
    assert names == [
        *(f"bear/{n:05d}.jpg" for n in range(4)),
        *(f"camel/{n:05d}.jpg" for n in range(3)),
        *(f"dog-agility/{n:05d}.jpg" for n in (0, 1)),
    ]
    for index, name in enumerate(names):
        video, frame = name.split("/")[0], int(name.split("/")[1][:5])
        expected = label_map(video, frame)
        assert np.array_equal(pictures[index].label_map.numpy(), np.where(expected == 255, 0, expected)), "unlabelled pixels are background"
        assert np.abs(np.asarray(pictures[index].image).astype(int) - pixels(video, frame)).mean() < 4, "as near as JPEG comes"


def test_a_pair_shows_the_same_object_in_region_k(root):
    batch = next(davis(root, pair_probability=1.0, train_batch_size=7, fit="pad").train_batches(seed=0))
    assert batch.camera is None
    assert (batch.source.pixel_values != batch.target.pixel_values).flatten(1).any(1).all()
    for view in (batch.source, batch.target):
        for row, key in view.regions.valid[:, :3].nonzero().tolist():
            red = (view.pixel_values[row, 0][view.regions.masks[row, key]].median() + 1) * 127.5
            assert abs(float(red) - 120 * key) < 20
    assert not torch.equal(batch.source.regions.valid, batch.target.regions.valid), "the object that leaves the camel's video"


def test_the_official_validation_videos_are_held_out(root):
    data = davis(root)
    assert {data.read(entry).name.split("/")[0] for entry in data._training} == {"bear", "camel"}
    assert {data.read(entry).name.split("/")[0] for entry in data._held_out} == {"dog-agility"}
    (root / "ImageSets" / "2017" / "val.txt").unlink()
    data = davis(root, num_held_out=1)
    assert len({entry.clip for entry in data._training}) == len({entry.clip for entry in data._held_out}) == 1
    assert len(data._training) + len(data._held_out) == 7


def test_the_order_of_all_frames_does_not_follow_from_what_is_held_out(root):
    """Shards of an offline pass are made by that order."""
    (root / "ImageSets" / "2017" / "val.txt").unlink()
    (root / "ImageSets" / "2017" / "train.txt").write_text("bear\ncamel\ndog-agility\n")
    orders = []
    for count in (0, 1, 2):
        pictures = davis(root, num_held_out=count).pictures()
        orders.append([pictures[index].name for index in range(len(pictures))])
    assert orders[0] == orders[1] == orders[2] == sorted(orders[0])


def test_no_video_is_both_trained_on_and_held_out(root):
    sets = root / "ImageSets" / "2017"
    (sets / "val.txt").write_text("dog-agility\ncamel\n")
    with pytest.raises(ValueError, match=r"ImageSets/2017: train\.txt and val\.txt share 1 videos, camel for one"):
        davis(root)
    (sets / "val.txt").unlink()
    (sets / "train.txt").write_text("bear\nbear\ncamel\n")
    data = davis(root, num_held_out=1)
    assert {entry.clip for entry in data._training} & {entry.clip for entry in data._held_out} == set()
    assert len(data.pictures()) == 7


def test_frames_need_not_be_numbered_without_gaps(root):
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        (root / kind / "480p" / "bear" / f"00001.{suffix}").unlink()
    pictures = davis(root, pair_probability=0.0).pictures()
    assert [pictures[index].name for index in range(3)] == ["bear/00000.jpg", "bear/00002.jpg", "bear/00003.jpg"]


def test_what_is_missing_or_does_not_fit_is_named(root):
    annotation = root / "Annotations" / "480p" / "bear" / "00001.png"
    io.save_label_map(torch.zeros(30, 40, dtype=torch.long), annotation)
    with pytest.raises(ValueError, match=r"bear/00001.png is 40x30 pixels but its frame is 86x48"):
        davis(root)
    annotation.unlink()
    with pytest.raises(ValueError, match=r"bear/00001.png does not exist"):
        davis(root)
    assert len(davis(root, on_bad_file="skip")) == 6
    (root / "ImageSets" / "2017" / "train.txt").write_text("bear\nunicorn\n")
    with pytest.raises(ValueError, match=r"480p/unicorn holds no frame, but ImageSets/2017 lists it"):
        davis(root)
    (root / "ImageSets" / "2017" / "train.txt").write_text("../../../bear\n")
    with pytest.raises(ValueError, match=r"its files name '\.\./\.\./\.\./bear', which is no path inside it"):
        davis(root)
    (root / "ImageSets" / "2017" / "train.txt").unlink()
    with pytest.raises(ValueError, match=r"lists no video in ImageSets/2017/train.txt; give the folder DAVIS"):
        davis(root)


def test_a_frame_whose_pair_is_damaged_is_replaced_or_named(root):
    path = root / "JPEGImages" / "480p" / "bear" / "00002.jpg"
    path.write_bytes(path.read_bytes()[:-150])  # the header is sound
    data = davis(root, pair_probability=1.0, max_frame_distance=3)
    with pytest.raises(ValueError, match=r"bear/00002.jpg cannot be read"):
        [data.items([index]) for index in range(4)]
    assert len(davis(root, pair_probability=1.0, on_bad_file="skip").items([0, 1, 2, 3])) == 4


def test_one_training_step_by_name(root):
    assert_trains_by_name("davis", root)
