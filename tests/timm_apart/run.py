"""Run the tests that need timm in a process of their own, with timm and torchvision from a folder apart.

A torchvision wheel beside a CPU build of torch cannot load its compiled operators, and then breaks every library that probes for it. Here
the one operator whose absence stops its import is declared before anything asks, without a body: no test calls it.
"""

from __future__ import annotations

import sys

import pytest
import torch


def declare_missing_operators() -> torch.library.Library | None:
    """Let torchvision be imported; None where its own operators load."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    declared = declare_missing_operators()
    sys.exit(pytest.main(sys.argv[2:]))
