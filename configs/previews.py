"""The `previews` group: what is drawn of held-out pictures while a model trains."""

from __future__ import annotations

from hydra_zen import ZenStore

from configs.store import full
from gen.gallery.previews import Previews


def add_to(store: ZenStore) -> None:
    """Add the group's entry."""
    store(full(Previews), group="previews", name="panels")
