"""PictureData and Picture: regions at the picture's own size, framed; padding; masks that overlap; pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image

from gen.data.augment import Augmentation
from gen.data.picture import Frame, Picture
from gen.data.picture_data import PictureData
from gen.segmentation import Classical, GroundTruth
from image_utils import convert

STILL = Augmentation(probability=0.0)


def coded(label_map: torch.Tensor) -> Image.Image:
    """Return a picture whose red tells the label: 40 a label."""
    red = (label_map * 40).to(torch.uint8)
    return Image.fromarray(torch.stack([red, red // 2, 255 - red], -1).numpy())


def wide(objects: int = 2) -> torch.Tensor:
    """Return a 40 x 80 label map with upright stripes 1..objects; the rest is background."""
    label_map = torch.zeros(40, 80, dtype=torch.long)
    for number in range(1, objects + 1):
        label_map[4 : 10 + 6 * number, 12 * number : 12 * number + 8] = number
    return label_map


@dataclass(kw_only=True)
class Stripes(PictureData):
    """Pictures made up in memory, by number."""

    label_names = ("stripe",)
    known: tuple = ()

    def entries(self):
        return list(range(len(self.known)))

    def read(self, entry):
        if self.known[entry] is None:
            raise ValueError(f"picture {entry} is damaged")
        return self.known[entry]


def stripes(tmp_path, *pictures, **settings):
    return Stripes(
        root=str(tmp_path), known=pictures, num_held_out=0, resolution=32, source_augmentation=STILL, target_augmentation=STILL, **settings
    )


def test_the_whole_picture_is_padded_and_its_regions_lie_where_it_does(tmp_path):
    label_map = wide()
    picture = Picture(coded(label_map), label_map, labels={"stripe": {1: 7, 2: 9}})
    data = stripes(tmp_path, picture, fit="pad", train_batch_size=1)
    batch = next(data.train_batches(seed=0))
    assert batch.padding is not None
    assert batch.padding[0].sum() == 32 * 16, "a picture twice as wide as high fills the upper half"
    assert not batch.padding[0, :16].any()
    masks = batch.target.regions.masks
    assert torch.equal(masks.any(1), ~batch.padding), "every pixel of the picture has a region, padding has none"
    red = ((batch.target.pixel_values[0, 0] + 1) * 127.5 / 40).round()
    inside = masks[0, 2] & (torch.nn.functional.max_pool2d((~masks[0, 2])[None].float(), 3, 1, 1)[0] == 0)
    assert (red[inside] == 2).all()
    assert batch.labels["stripe"].tolist() == [[-1, 7, 9, -1, -1, -1]]


def test_square_pictures_need_no_padding_and_crops_have_none(tmp_path):
    square = torch.zeros(40, 40, dtype=torch.long)
    square[10:20, 10:20] = 1
    for settings in ({"fit": "pad"}, {"fit": "crop"}):
        assert next(stripes(tmp_path, Picture(coded(square), square), train_batch_size=1, **settings).train_batches(seed=0)).padding is None
    assert next(stripes(tmp_path, Picture(coded(wide()), wide()), train_batch_size=1).train_batches(seed=0)).padding is None


def test_padding_moves_with_the_view(tmp_path):
    data = replace(
        stripes(tmp_path, Picture(coded(wide()), wide()), fit="pad", train_batch_size=8),
        target_augmentation=Augmentation(probability=1.0, min_scale=0.5, max_degrees=0.0),
    )
    batch = next(data.train_batches(seed=1))
    assert len({int(padding.sum()) for padding in batch.padding}) > 1
    assert not (batch.target.regions.masks.any(1) & batch.padding).any()
    assert torch.equal(batch.padding, batch.target.coordinates[:, 1] > 0), "the lower half of the un-augmented square is padding"


def test_objects_keep_what_is_known_of_them_when_the_largest_are_kept(tmp_path):
    label_map = wide(4) * 10  # ids 10, 20, 30, 40, each larger than the one before
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    picture = Picture(coded(wide(4)), label_map, labels={"stripe": {10: 1, 20: 2, 40: 4}}, rotations={40: turn}, depth={30: 0.5})
    item = Frame(40, 3, "pad", ("stripe",)).item(picture, label_map)
    assert item.label_map.unique().tolist() == [0, 1, 2]
    assert item.labels["stripe"].tolist() == [-1, -1, 4], "30 and 40 are kept, and nobody knows the class of 30"
    assert torch.equal(item.rotations[2], turn)
    assert item.rotations[:2].isnan().all()
    assert item.depth[1] == 0.5
    assert item.depth.isnan().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("labels", "num_regions", "expected"),
    [
        ([0, 1, 1, 3], 4, [0, 1, 1, 2]),  # numbers without gaps
        ([0, 255, 128, 128], 3, [0, 2, 1, 1]),  # grey values become numbers in their order
        ([5, 5, 9, 7], 2, [1, 1, 0, 0]),  # the smaller ones join the background
        ([7, 9, 9, 9], 2, [0, 1, 1, 1]),
        ([0, 0, 0, 0], 2, [0, 0, 0, 0]),
    ],
)
def test_numbers_of_the_kept_objects(labels, num_regions, expected):
    label_map = torch.tensor([labels]).repeat(4, 1)
    item = Frame(4, num_regions, "crop").item(Picture(coded(label_map)), label_map)
    assert item.label_map[0].tolist() == expected


def test_what_the_data_know_is_lost_under_another_segmenter(tmp_path):
    picture = Picture(coded(wide()), wide(), labels={"stripe": {1: 7}})
    data = stripes(tmp_path, picture, segmenter=Classical(max_regions=2))
    assert data.items([0])[0].labels["stripe"].tolist() == [-1] * 6


def test_what_the_data_know_stays_where_a_segmenter_finds_the_datas_own_regions(tmp_path):
    """As regions from the offline pass do, that were the data's own."""

    @dataclass(frozen=True)
    class Remembering:
        def __call__(self, pixel_values, label_map=None):
            return label_map.clone()

    picture = Picture(coded(wide()), wide(), labels={"stripe": {2: 7}}, target=Picture(coded(wide()), wide()))
    item = stripes(tmp_path, picture, segmenter=Remembering()).items([0])[0]
    assert item.labels["stripe"].tolist() == [-1, 7, -1, -1, -1, -1]
    assert item.target is not None


def test_masks_that_overlap_stay_so_in_a_batch(tmp_path):
    masks = torch.zeros(3, 40, 40, dtype=torch.bool)
    masks[1, 5:30, 5:30], masks[2, 10:20, 10:20] = True, True
    masks[0] = ~masks.any(0)
    plain = torch.zeros(40, 40, dtype=torch.long)
    plain[:20] = 1
    data = stripes(tmp_path, Picture(coded(masks[1].long()), masks), Picture(coded(plain), plain), train_batch_size=2, overfit_items=2)
    batch = next(data.train_batches(seed=0))
    regions = batch.source.regions
    overlap = regions.masks[:, 1] & regions.masks[:, 2]
    nested = int(overlap.any((1, 2)).long().argmax())
    assert torch.equal(overlap[nested], regions.masks[nested, 2]), "the small region lies within the large one"
    assert regions.valid[nested].tolist() == [True, True, True, False, False, False]
    assert regions.valid[1 - nested].tolist() == [True, True, False, False, False, False]
    assert torch.equal(regions.masks[nested, 0], ~(regions.masks[nested, 1:].any(0)))


def test_a_pair_keeps_an_objects_number_in_both_frames(tmp_path):
    before, after = wide(3), torch.zeros(40, 80, dtype=torch.long)
    after[12:20, 40:60], after[22:38, 20:50] = 3, 9
    picture = Picture(coded(before), before, target=Picture(coded(after), after))
    item = stripes(tmp_path, picture).items([0])[0]
    assert item.target is not None
    assert item.label_map.unique().tolist() == [0, 1, 2], "of the three stripes, one lies outside the centred square"
    assert item.target.label_map.unique().tolist() == [0, 2, 3], "the third stripe has the same number; the new object comes last"
    with pytest.raises(ValueError, match=r"Classical cuts the two pictures of a pair independently.*pair_probability=0"):
        stripes(tmp_path, picture, segmenter=Classical()).items([0])


def test_pictures_kept_in_memory_are_cut_once(tmp_path):
    calls = []

    @dataclass(frozen=True)
    class Counting:
        def __call__(self, pixel_values, label_map=None):
            calls.append(1)
            return GroundTruth()(pixel_values, label_map)

    data = stripes(tmp_path, *(Picture(coded(wide()), wide()) for _ in range(3)), segmenter=Counting(), keep_in_memory=2)
    for index in (0, 1, 0, 1, 2, 1, 0):
        data.items([index])
    assert len(calls) == 4, "0, 1, 2, and 0 again, which 2 had pushed out"


def test_pictures_in_memory_are_told_apart_from_held_out_ones(tmp_path):
    pictures = tuple(Picture(coded(wide()), wide(), caption=str(number)) for number in range(5))
    data = replace(stripes(tmp_path, *pictures, keep_in_memory=8), num_held_out=2)
    captions = [item.caption for item in (*data.items([0, 1, 2]), *data.validation_items(2)) * 2]
    assert len(set(captions[:5])) == 5
    assert captions[:5] == captions[5:]


def test_all_pictures_are_there_for_a_pass_over_the_data_set(tmp_path):
    data = stripes(tmp_path, Picture(coded(wide()), wide(), name="a"), None, Picture(coded(wide()), wide(), name="c"), on_bad_file="skip")
    names = [data.pictures()[index].name for index in (0, 2)]
    assert names == ["a", "c"]
    assert len(data.pictures()) == 3
    with pytest.raises(ValueError, match="picture 1 is damaged"):
        data.pictures()[1]


def test_wrong_settings_are_refused_by_name(tmp_path):
    picture = Picture(coded(wide()), wide())
    for settings, message in (
        ({"fit": "stretch"}, "dataset.fit='stretch' is unknown"),
        ({"keep_in_memory": -1}, "dataset.keep_in_memory=-1 is negative"),
        ({"on_bad_file": "ignore"}, "dataset.on_bad_file='ignore' is unknown"),
    ):
        with pytest.raises(ValueError, match=message):
            stripes(tmp_path, picture, **settings)
    with pytest.raises(ValueError, match="is not a folder"):
        stripes(tmp_path / "nowhere", picture)


def test_padded_pixels_are_the_border_repeated(tmp_path):
    item = stripes(tmp_path, Picture(coded(wide()), wide()), fit="pad").items([0])[0]
    assert torch.equal(item.pixel_values[:, 16:], item.pixel_values[:, 15:16].expand(-1, 16, -1))
    assert convert.to_pil(item.pixel_values).size == (32, 32)


def test_regions_of_another_size_and_pictures_that_cannot_be_cut_are_named(tmp_path):
    picture = Picture(coded(wide()), wide()[:20], name="a.png")
    with pytest.raises(ValueError, match=r"a\.png is 80x40 pixels but its regions are 80x20; make them one size"):
        stripes(tmp_path, picture).items([0])
    with pytest.raises(ValueError, match=r"a\.png: a picture came without a label map"):
        stripes(tmp_path, replace(picture, label_map=None)).items([0])


def test_a_file_that_the_system_does_not_give_is_as_bad_as_a_damaged_one(tmp_path):
    @dataclass(kw_only=True)
    class Unreadable(Stripes):
        def read(self, entry):
            if self.known[entry] is None:
                raise PermissionError(13, "Permission denied", "b.txt")
            return self.known[entry]

    arguments = {"root": str(tmp_path), "known": (Picture(coded(wide()), wide()), None), "num_held_out": 0, "resolution": 32}
    assert len(Unreadable(**arguments, on_bad_file="skip").items([0, 1])) == 2
    with pytest.raises(ValueError, match=r"Permission denied: 'b\.txt'; or leave bad files out with dataset\.on_bad_file=skip"):
        Unreadable(**arguments).items([1])
