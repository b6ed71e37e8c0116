"""Ways to cut a picture into numbered regions, all behind the `Segmenter` protocol."""

from gen.segmentation.cached import Cached
from gen.segmentation.classical import Classical
from gen.segmentation.ground_truth import GroundTruth
from gen.segmentation.segmenter import Segmenter
from gen.segmentation.superpixels import Superpixels
from gen.segmentation.whole_picture import WholePicture

__all__ = ["Cached", "Classical", "GroundTruth", "Segmenter", "Superpixels", "WholePicture"]
