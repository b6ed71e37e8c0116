"""Ways to cut a picture into numbered regions, all behind the `Segmenter` protocol."""

from gen.segmentation.classical import Classical
from gen.segmentation.ground_truth import GroundTruth
from gen.segmentation.segmenter import Segmenter

__all__ = ["Classical", "GroundTruth", "Segmenter"]
