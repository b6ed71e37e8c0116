"""Segmenters by the names that commands take."""

from __future__ import annotations

from collections.abc import Callable

from gen.segmentation.classical import Classical
from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.sams.sam import Sam
from gen.segmentation.sams.sam2 import Sam2
from gen.segmentation.segmenter import Segmenter

# Each is built from the most objects that a picture may have; the first is what commands take where nothing is said.
SEGMENTERS: dict[str, Callable[[int], Segmenter]] = {
    "classical": lambda max_regions: Classical(max_regions=max_regions),
    "sam": lambda max_regions: Sam(rules=MaskRules(max_regions=max_regions)),
    "sam_tiny": lambda max_regions: Sam(weights="tiny", rules=MaskRules(max_regions=max_regions)),
    "sam2": lambda max_regions: Sam2(rules=MaskRules(max_regions=max_regions)),
}
