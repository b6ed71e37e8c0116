"""Heads: small networks that read a quantity off the region tokens, and the losses they are trained with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn as nn
from jaxtyping import Bool, Float
from torch import Tensor

from gen import losses
from gen.data.batch import RegionBatch
from gen.models.component import Component


class Head(Component):
    """Base of every head.

    A subclass defines `losses` and `predict`.

    Args:
        width: d, of the tokens.
        num_queries: q, tokens a region.
        detached: read the tokens without changing them: the head measures what they hold instead of teaching it.

    Attributes:
        needs_target: whether the head also reads the tokens of the target view.
        loss: the weight of `LossWeights` that trains it.
    """

    needs_target: bool = False
    loss: ClassVar[str]

    def __init__(self, width: int, num_queries: int, detached: bool) -> None:
        super().__init__()
        self.features, self.detached = width * num_queries, detached

    def losses(
        self,
        source_tokens: Float[Tensor, "b n q d"],
        target_tokens: Float[Tensor, "b n q d"] | None,
        batch: RegionBatch,
        valid: Bool[Tensor, "b n"],
    ) -> dict[str, Tensor]:
        """Return the head's losses by the names of `LossWeights`.

        Args:
            source_tokens: of the source view.
            target_tokens: of the target view; only a head that `needs_target` reads them.
            batch: holds what is true.
            valid: regions whose tokens were computed.
        """
        raise NotImplementedError

    def read(self, tokens: Float[Tensor, "b n q d"]) -> Float[Tensor, "b n f"]:
        """Return a region's tokens as one vector."""
        return (tokens.detach() if self.detached else tokens).flatten(2)


class Heads(Component):
    """All heads of a model.

    Args:
        heads: by a name of the user's choice; heads that share a loss add up.
    """

    def __init__(self, heads: dict[str, Component]) -> None:
        super().__init__()
        for name, head in heads.items():
            if not isinstance(head, Head):
                raise ValueError(f"model.heads.heads.{name}={type(head).__name__}: is no head; give ClassHead, PoseHead or RotationHead")
        self.heads = nn.ModuleDict({name: heads[name] for name in sorted(heads)})  # as a folder's JSON has them

    def named(self) -> Iterator[tuple[str, Head]]:
        """Yield the heads with their names."""
        for name, head in self.heads.items():
            assert isinstance(head, Head)
            yield name, head

    @property
    def needs_target(self) -> bool:
        """Whether any head reads the tokens of the target view."""
        return any(head.needs_target for _, head in self.named())

    def losses(
        self,
        source_tokens: Float[Tensor, "b n q d"],
        target_tokens: Float[Tensor, "b n q d"] | None,
        batch: RegionBatch,
        valid: Bool[Tensor, "b n"],
    ) -> dict[str, Tensor]:
        """Return the sum of the heads' losses by the names of `LossWeights`; see `Head.losses`."""
        terms: dict[str, Tensor] = {}
        for _, head in self.named():
            for name, value in head.losses(source_tokens, target_tokens, batch, valid).items():
                terms[name] = terms[name] + value if name in terms else value
        return terms


class ClassHead(Head):
    """Name what a region is: one linear classifier a label.

    Args:
        width: d, of the tokens.
        num_queries: q, tokens a region.
        classes: label of the dataset -> number of its classes, e.g. shape: 8.
        detached: measure what the tokens hold instead of teaching it.
    """

    loss = "classes"

    def __init__(self, width: int, num_queries: int, classes: dict[str, int], detached: bool = False) -> None:
        super().__init__(width, num_queries, detached)
        if not classes or min(classes.values()) < 2:
            raise ValueError(f"model.heads.heads.*.classes={classes}: a label needs at least 2 classes, and the head at least 1 label")
        self.classifiers = nn.ModuleDict({name: nn.Linear(self.features, count) for name, count in classes.items()})

    def losses(
        self,
        source_tokens: Float[Tensor, "b n q d"],
        target_tokens: Float[Tensor, "b n q d"] | None,
        batch: RegionBatch,
        valid: Bool[Tensor, "b n"],
    ) -> dict[str, Tensor]:
        """Return the cross-entropy as `classes`, the mean over labels; unknown labels (-1) do not count.

        Raises:
            ValueError: if the dataset has no such label.
        """
        missing = self.classifiers.keys() - batch.labels.keys()
        if missing:
            raise ValueError(
                f"model.heads.heads.*.classes names {sorted(missing)}, but the dataset's labels are {sorted(batch.labels)}; "
                "leave the others out"
            )
        logits = self.predict(source_tokens)
        return {
            "classes": torch.stack([losses.class_loss(logits[name], torch.where(valid, batch.labels[name], -1)) for name in logits]).mean()
        }

    def predict(self, tokens: Float[Tensor, "b n q d"]) -> dict[str, Float[Tensor, "b n k"]]:
        """Return the logits of every label."""
        features = self.read(tokens)
        return {name: classifier(features) for name, classifier in self.classifiers.items()}


class PoseHead(Head):
    """Tell where a region is: as it should not be told by the tokens, how well this works is how much position leaks into them.

    Args:
        width: d, of the tokens.
        num_queries: q, tokens a region.
        hidden: width of the network.
        detached: measure what the tokens hold instead of teaching it.
    """

    loss = "pose"

    def __init__(self, width: int, num_queries: int, hidden: int = 256, detached: bool = True) -> None:
        super().__init__(width, num_queries, detached)
        self.network = nn.Sequential(nn.Linear(self.features, hidden), nn.SiLU(), nn.Linear(hidden, 4))

    def losses(
        self,
        source_tokens: Float[Tensor, "b n q d"],
        target_tokens: Float[Tensor, "b n q d"] | None,
        batch: RegionBatch,
        valid: Bool[Tensor, "b n"],
    ) -> dict[str, Tensor]:
        """Return the squared error as `pose`; the background, which is everywhere, does not count."""
        objects = valid.clone()
        objects[:, 0] = False
        pose = batch.source.pose
        return {"pose": losses.pose_loss(self.predict(source_tokens), pose.centre, pose.size, objects)}

    def predict(self, tokens: Float[Tensor, "b n q d"]) -> Float[Tensor, "b n 4"]:
        """Return (x, y) of the centre and (width, height), in image units."""
        return self.network(self.read(tokens))
