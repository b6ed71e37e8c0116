"""Ways to cut a picture into numbered regions, all behind the `Segmenter` protocol."""

from gen.segmentation.cached import Cached
from gen.segmentation.classical import Classical
from gen.segmentation.ground_truth import GroundTruth
from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.sams.prompted import Prompt, PromptedSam
from gen.segmentation.sams.sam import Sam
from gen.segmentation.sams.sam2 import Sam2
from gen.segmentation.sams.sam_hq import SamHq
from gen.segmentation.sams.text_prompted import SamText
from gen.segmentation.segmenter import Segmenter
from gen.segmentation.superpixels import Superpixels
from gen.segmentation.whole_picture import WholePicture

__all__ = [
    "Cached", "Classical", "GroundTruth", "MaskRules", "Prompt", "PromptedSam", "Sam", "Sam2", "SamHq", "SamText", "Segmenter",
    "Superpixels", "WholePicture",
]  # fmt: skip
