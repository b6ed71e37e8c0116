"""The `dataset` group, its nested group `dataset/segmenter`, and `dataset/part`: the data sets again, as parts of a mixture.

A dataset states only what is its own; what all share (resolution, batch size, workers, segmenter, augmentation, validation pictures)
comes from `RegionData`'s fields, so `dataset=image_folder` alone changes nothing else. A part has no shared fields but the segmenter: a
mixture gives it the others.
"""

from __future__ import annotations

import dataclasses

from hydra_zen import ZenStore
from omegaconf import MISSING

from configs.store import full
from gen.data.augment import Augmentation
from gen.data.hf_dataset import HfDataset
from gen.data.image_folder import ImageFolder
from gen.data.mixture import SHARED, Mixture
from gen.data.region_data import RegionData
from gen.data.scenes import Scenes
from gen.data.web_shards import WebShards
from gen.segmentation import Classical, GroundTruth, Superpixels, WholePicture

_NESTED = {"source_augmentation": full(Augmentation), "target_augmentation": full(Augmentation)}


def add_to(store: ZenStore) -> None:
    """Add the groups' entries."""
    classical = full(Classical)
    store(full(GroundTruth), group="dataset/segmenter", name="ground_truth")
    store(classical, group="dataset/segmenter", name="classical")
    store(full(Superpixels), group="dataset/segmenter", name="superpixels")
    store(full(WholePicture), group="dataset/segmenter", name="whole_picture")
    store(full(GroundTruth, fallback=classical), group="dataset/segmenter", name="masks_else_classical")

    _add(store, Scenes, "scenes", "ground_truth")
    _add(store, ImageFolder, "image_folder", "masks_else_classical")
    _add(store, HfDataset, "hf_dataset", "masks_else_classical")
    _add(store, WebShards, "web_shards", "masks_else_classical")
    mixture = full(Mixture, **_NESTED, parts={}, segmenter=None, hydra_defaults=["_self_", {"segmenter": None}])
    store(mixture, group="dataset", name="mixture")


def _add(store: ZenStore, target: type[RegionData], name: str, segmenter: str) -> None:
    """Add a data set, and the same as a part."""
    alone = full(target, **_NESTED, segmenter=MISSING, hydra_defaults=["_self_", {"segmenter": segmenter}])
    store(alone, group="dataset", name=name)
    # What a partial constructor must still be given is no key of its config unless it is named.
    needed = {
        one.name: MISSING for one in dataclasses.fields(target) if one.init and dataclasses.MISSING is one.default is one.default_factory
    }
    chosen = ["_self_", {"/dataset/segmenter@segmenter": segmenter}]
    part = full(target, zen_partial=True, zen_exclude=SHARED, **needed, segmenter=MISSING, hydra_defaults=chosen)
    store(part, group="dataset/part", name=name)
