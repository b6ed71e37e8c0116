"""Region-latent image editing: pictures as sets of regions that can be moved, changed and painted again.

Example:
    >>> from gen import LatentImage, RegionPipeline, edits
    >>> pipeline = RegionPipeline.from_pretrained()
    >>> picture = LatentImage.open(pipeline, "docs/examples/table.png")
    >>> moved = edits.move(picture.latents, region=1, dx=0.1, dy=0.1)
    >>> picture.paint(moved).save("moved.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gen import editing as edits
    from gen.editing.latent_image import LatentImage
    from gen.models.pipeline import RegionPipeline
    from gen.regions import RegionLatents, RegionPose, Regions

__all__ = ["LatentImage", "RegionLatents", "RegionPipeline", "RegionPose", "Regions", "edits"]

# Where each name lives. They are imported when they are first asked for: diffusers takes seconds, and launchers import only gen.run_files.
_HOMES = {
    "LatentImage": "gen.editing.latent_image",
    "RegionPipeline": "gen.models.pipeline",
    "RegionLatents": "gen.regions",
    "RegionPose": "gen.regions",
    "Regions": "gen.regions",
}


if not TYPE_CHECKING:  # type checkers read the imports above, and refuse what is not there

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562)."""
        from importlib import import_module

        if name == "edits":
            return import_module("gen.editing")
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'gen' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return list(__all__)
