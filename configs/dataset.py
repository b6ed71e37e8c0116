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
from gen.data.ade20k import Ade20k
from gen.data.augment import Augmentation
from gen.data.clevr_masks import ClevrMasks
from gen.data.clevr_views import ClevrViews
from gen.data.coco_panoptic import CocoPanoptic
from gen.data.davis import Davis
from gen.data.fill50k import Fill50k
from gen.data.hf_dataset import HfDataset
from gen.data.image_folder import ImageFolder
from gen.data.imagenet_folder import ImagenetFolder
from gen.data.kubric import Kubric
from gen.data.mixture import SHARED, Mixture
from gen.data.movi import Movi
from gen.data.pascal_voc import PascalVoc
from gen.data.region_data import RegionData
from gen.data.scenes import Scenes
from gen.data.web_shards import WebShards
from gen.segmentation import Cached, Classical, GroundTruth, MaskRules, Sam, Sam2, SamHq, SamText, Superpixels, WholePicture

# By name: the class, and what cuts its pictures unless another segmenter is chosen.
DATASETS: dict[str, tuple[type[RegionData], str]] = {
    "scenes": (Scenes, "ground_truth"),
    "image_folder": (ImageFolder, "masks_else_classical"),
    "imagenet_folder": (ImagenetFolder, "classical"),
    "fill50k": (Fill50k, "classical"),
    "coco_panoptic": (CocoPanoptic, "ground_truth"),
    "pascal_voc": (PascalVoc, "ground_truth"),
    "ade20k": (Ade20k, "ground_truth"),
    "davis": (Davis, "ground_truth"),
    "kubric": (Kubric, "ground_truth"),
    "movi": (Movi, "ground_truth"),
    "clevr_masks": (ClevrMasks, "ground_truth"),
    "clevr_views": (ClevrViews, "ground_truth"),
    "hf_dataset": (HfDataset, "masks_else_classical"),
    "web_shards": (WebShards, "masks_else_classical"),
}
_NESTED = {"source_augmentation": full(Augmentation), "target_augmentation": full(Augmentation)}


def add_to(store: ZenStore) -> None:
    """Add the groups' entries."""
    classical = full(Classical)
    store(full(GroundTruth), group="dataset/segmenter", name="ground_truth")
    store(classical, group="dataset/segmenter", name="classical")
    store(full(Superpixels), group="dataset/segmenter", name="superpixels")
    store(full(WholePicture), group="dataset/segmenter", name="whole_picture")
    store(full(Cached), group="dataset/segmenter", name="cached")
    rules = full(MaskRules)
    sam = full(Sam, rules=rules)
    for name, segmenter in {"sam": sam, "sam2": full(Sam2, rules=rules), "sam_hq": full(SamHq, rules=rules)}.items():
        store(segmenter, group="dataset/segmenter", name=name)
    store(full(SamText, labels=MISSING, sam=sam, rules=rules), group="dataset/segmenter", name="sam_text")
    store(full(GroundTruth, fallback=classical), group="dataset/segmenter", name="masks_else_classical")

    for name, (target, segmenter) in DATASETS.items():
        _add(store, target, name, segmenter)
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
