"""Galleries: what a pipeline can do, as sheets of pictures with the figures beside them."""

from gen.gallery.previews import PANELS, PanelName, Previews

__all__ = ["PANELS", "PanelName", "Previews"]
