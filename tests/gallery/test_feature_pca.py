"""Feature PCA: one colour for one feature, where the feature belongs, in all pictures alike."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gen.editing.framing import unframe_mask
from gen.editing.latent_image import LatentImage
from gen.gallery.feature_pca import feature_pca


def column(sheet: Image.Image, number: int, row: int = 0) -> np.ndarray:
    """Return one of the sheet's pictures, 256 pixels wide and high."""
    return np.asarray(sheet)[24 + 260 * row :, 4 + 260 * number :][2:250, 2:250]


def test_a_grid_of_tokens_is_painted_into_its_box(table):
    panel = feature_pca([table])
    left, top, right, bottom = (table.regions.boxes()[0, 4] * 256).long().tolist()
    whole = column(panel.image, 2)[top + 4 : bottom - 8, left + 4 : right - 8].reshape(-1, 3)
    assert len(np.unique(whole, axis=0)) == 16
    assert 30 < panel.figures["variance_of_tokens_shown_percent"] <= 100
    assert "variance_of_backbone_shown_percent" in panel.figures


def test_alike_objects_look_alike_in_all_pictures(table, mugs):
    sheet = feature_pca([table, mugs]).image

    def colour(picture, row, region):
        mask = np.asarray(Image.fromarray(unframe_mask(picture.regions.masks[0, region], (64, 64)).numpy()).resize((256, 256), 0))
        return column(sheet, 1, row)[mask[2:250, 2:250]].mean(0)

    cylinder, block, cone, sphere = (colour(table, 0, region) for region in (1, 2, 3, 4))
    mug, cyan, other_mug = (colour(mugs, 1, region) for region in (1, 4, 3))
    assert np.abs(cylinder - block).max() < np.abs(cylinder - cone).max(), "blue and blue, blue and green"
    assert np.abs(cone - sphere).max() < np.abs(sphere - block).max(), "green and green, green and blue"
    assert np.abs(mug - other_mug).max() < np.abs(mug - cyan).max()


def test_tokens_without_a_grid_give_each_mask_one_colour(wide):
    panel = feature_pca([wide])
    assert set(panel.figures) == {"variance_of_tokens_shown_percent", "variance_of_backbone_shown_percent"}
    painted = np.asarray(panel.image)
    tokens = painted[30:180, 256:500]
    assert len(np.unique(tokens.reshape(-1, 3), axis=0)) <= 4, "three regions, and white between the pictures"


def test_pictures_of_different_encoders_are_refused(wide, table):
    with pytest.raises(ValueError, match=r"tokens of shapes \[\(2, 32\), \(16, 128\)\]; give one or more, encoded by one pipeline"):
        feature_pca([wide, table])
    with pytest.raises(ValueError, match="0 pictures"):
        feature_pca([])


def test_no_objects_is_no_matter(table):
    empty = LatentImage.encode(table.pipeline, table.image, table.regions.label_map()[0] * 0)
    assert feature_pca([empty]).image.size == feature_pca([table]).image.size
