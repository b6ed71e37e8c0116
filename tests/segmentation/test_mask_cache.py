"""The mask cache: regions come back as they were, shards are whole or refused, settings are kept, and `Cached` finds each picture."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.artefact import ArtefactError
from gen.segmentation import Classical, GroundTruth
from gen.segmentation.cached import Cached
from gen.segmentation.mask_cache import (
    MASKS,
    MaskIndex,
    MaskRow,
    claim_folder,
    is_whole,
    read_settings,
    settings_of,
    shard_folder,
    shard_summary,
    write_shard,
)
from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.picture_key import picture_key
from image_utils.convert import to_tensor

pytest.importorskip("pyarrow")

KEY = "00" * 15 + "07"


@dataclass(frozen=True)
class Nested:
    """A segmenter that is made of parts, and keeps something that is no setting."""

    rules: MaskRules = field(default_factory=MaskRules)
    sizes: tuple[int, ...] = (1, 2)
    model: object = field(default=None, init=False)

    def __call__(self, pixel_values, label_map=None):
        raise AssertionError("only its settings are looked at")


def put(root: Path, *rows: MaskRow, number: int = 0) -> Path:
    claim_folder(root, {"segmenter": settings_of(Classical())})
    write_shard(root, number, rows)
    return root


def random_regions(seed: int, overlapping: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    height, width = torch.randint(1, 30, (2,), generator=generator).tolist()
    if overlapping:
        masks = torch.rand(3, height, width, generator=generator) < 0.2  # some are empty in small pictures
        return torch.cat([~masks.any(0, keepdim=True), masks])
    labels = torch.tensor([0, 1, 7, 2**40])[torch.randint(0, 4, (height, width), generator=generator)]
    return labels if seed % 3 else labels * 0


@given(seed=st.integers(0, 9999), overlapping=st.booleans())
@settings(max_examples=80, deadline=None)
def test_a_row_gives_its_regions_back(seed, overlapping):
    regions = random_regions(seed, overlapping)
    row = MaskRow.from_regions(KEY, "a", regions)
    assert torch.equal(row.regions(), regions)
    found = row.areas if overlapping else (*row.areas, int((regions == 0).sum()))
    assert sum(found) == (int(regions.sum()) if overlapping else regions.numel())


def test_rows_are_found_by_their_key_in_any_shard_and_group(tmp_path):
    """Keys that end in zeros are told apart, and pictures that could not be read have none."""
    keys = [f"{number % 7:02x}{number * 65_536:030x}" for number in range(150)]
    rows = [MaskRow.from_regions(key, f"picture {i}", torch.full((2, 3), i)) for i, key in enumerate(keys)]
    broken = MaskRow(None, "entry 9", error="cut short")
    put(tmp_path, *rows[:5], broken, *rows[5:90])
    put(tmp_path, *rows[90:], number=3)
    index = MaskIndex(tmp_path)
    assert len(index) == 150
    assert all(index.find(key) == row for key, row in zip(keys, rows, strict=True))
    assert index.find("ff" * 16) is None
    assert index.find("00" * 16) == rows[0]
    summary = shard_summary(tmp_path, 0)
    assert summary[5] == ("entry 9", 0, "cut short")
    assert summary[0] == ("picture 0", 0, "")
    assert summary[6] == ("picture 5", 1, "")


def test_of_equal_pictures_the_first_counts(tmp_path):
    first, second = (MaskRow.from_regions(KEY, "a", torch.full((1, 1), value)) for value in (3, 4))
    put(tmp_path, first, second)
    assert MaskIndex(tmp_path).find(KEY) == first


def test_shards_are_plain_parquet_with_coco_run_lengths(tmp_path):
    """Whoever has not this program reads them with pandas and pycocotools."""
    from pyarrow import parquet

    coco = pytest.importorskip("pycocotools.mask")
    label_map = torch.tensor([[0, 1, 1], [0, 1, 5]])
    put(tmp_path, MaskRow.from_regions(KEY, "a.png", label_map))
    table = parquet.read_table(shard_folder(tmp_path, 0) / MASKS)
    (row,) = table.to_pylist()
    assert (row["name"], row["height"], row["width"], row["areas"], row["exclusive"]) == ("a.png", 2, 3, [3, 1], True)
    for number, counts in zip(row["numbers"], row["counts"], strict=True):
        assert np.array_equal(coco.decode({"size": [2, 3], "counts": counts}), label_map.numpy() == number)
    assert json.loads(table.schema.metadata[b"segmenter"]) == settings_of(Classical())
    assert len(table.schema.metadata[b"segmenter_sha256"]) == 64


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = [MaskRow.from_regions(f"{i:032x}", f"picture {i}", random_regions(i, bool(i % 2))) for i in range(70)]
    one, two = (shard_folder(put(tmp_path / name, *rows), 0) for name in ("one", "two"))
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {path.name: path.read_bytes() for path in two.iterdir()}


def test_a_damaged_shard_is_named_and_not_whole(tmp_path):
    put(tmp_path, *(MaskRow.from_regions(f"{i:032x}", "a", random_regions(i + 1, False)) for i in range(40)))
    path = shard_folder(tmp_path, 0) / MASKS
    assert is_whole(tmp_path, 0)
    assert not is_whole(tmp_path, 1)
    content = bytearray(path.read_bytes())
    for offset, length in ((0, len(content) // 2), (200, len(content))):
        damaged = content[:length]
        damaged[offset] ^= 255
        path.write_bytes(damaged)
        assert not is_whole(tmp_path, 0)
        with pytest.raises(ArtefactError, match=r"masks\.parquet: missing or damaged"):
            index = MaskIndex(tmp_path)
            for i in range(40):
                index.find(f"{i:032x}")


def test_settings_name_every_part_and_nothing_else():
    assert settings_of(GroundTruth(Nested())) == {
        "class": "gen.segmentation.ground_truth.GroundTruth",
        "fallback": {
            "class": f"{Nested.__module__}.Nested",
            "rules": {
                "class": "gen.segmentation.mask_rules.MaskRules", "max_regions": 5, "min_area": 0.002, "max_area": 0.9, "max_hole": 0.0005,
                "max_island": 0.0005, "max_overlap": 0.7, "choose": "rank", "overlapping": False,
            },
            "sizes": [1, 2],
        },
    }  # fmt: skip


def test_a_folder_belongs_to_one_kind_of_settings(tmp_path):
    root = tmp_path / "masks"
    claim_folder(root, {"segmenter": settings_of(GroundTruth())})
    claim_folder(root, {"segmenter": settings_of(Nested())})  # nothing was made with the others
    write_shard(root, 0, [MaskRow(None, "entry 0", error="cut short")])
    claim_folder(root, {"segmenter": settings_of(Nested())})
    with pytest.raises(
        ArtefactError, match=r"segmenter\.rules\.min_area: 0\.002 there, 0\.01 now\n  segmenter\.sizes: \[1, 2\] there, \[\] now"
    ):
        claim_folder(root, {"segmenter": settings_of(Nested(MaskRules(min_area=0.01), ()))})
    assert sorted(path.name for path in root.iterdir()) == ["settings.json", "shard-000000"]
    assert read_settings(root)["segmenter"] == settings_of(Nested())
    (tmp_path / "photo.png").touch()
    with pytest.raises(ArtefactError, match="not ours to write in"):
        claim_folder(tmp_path, {})
    (root / "settings.json").write_text('{"format_version": 99}')
    with pytest.raises(ArtefactError, match="format_version 99, and this program reads 1"):
        read_settings(root)


def test_cached_gives_the_regions_of_the_segmenter_that_made_them(tmp_path, photographs):
    segmenter, pictures = Classical(max_regions=3), [to_tensor(image.resize((48, 36))) for image in photographs.values()]
    put(tmp_path, *(MaskRow.from_regions(picture_key(picture), "a", segmenter(picture)) for picture in pictures))
    cached = Cached(str(tmp_path))
    for picture in pictures:
        found, truth = cached(picture), segmenter(picture)
        assert torch.equal(found, truth)
        assert found.dtype == truth.dtype


def test_a_picture_that_is_not_cached_is_refused_or_left_to_the_fallback(tmp_path, photographs):
    picture = to_tensor(photographs["rocket"].resize((48, 36)))
    put(tmp_path, MaskRow.from_regions(KEY, "a", torch.ones(2, 2).long()))
    with pytest.raises(
        ValueError, match=rf"48x36 pixels \(key {picture_key(picture)}\) is not among the 1 of .*scripts/segment.py --out NEW"
    ):
        Cached(str(tmp_path))(picture)
    own = torch.ones(36, 48).long()
    assert torch.equal(Cached(str(tmp_path), fallback=GroundTruth())(picture, own), own)


def test_a_cache_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"holds no masks; make them with: python scripts/segment\.py --out"):
        Cached(str(tmp_path / "nowhere"))
    claim_folder(tmp_path, {"segmenter": settings_of(Classical())})
    with pytest.raises(ArtefactError, match="holds no shard yet"):
        Cached(str(tmp_path))(torch.zeros(3, 4, 4))
