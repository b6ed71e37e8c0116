"""Every loss: a pure function of tensors, with its formula and source."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


class LossTerms(NamedTuple):
    """The number that is minimised, and the unweighted terms that it is made of."""

    total: Tensor
    terms: dict[str, Tensor]
