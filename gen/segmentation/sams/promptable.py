"""The protocol of networks that turn points and boxes into masks, the way of a picture into their square, and what all adapters share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gen.segmentation.sams.mask_decoder import SharedImage, run_decoder

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of 8-bit RGB: ImageNet's, in all networks of the family
_CELLS_AT_ONCE = {"cpu": 1 << 14, "cuda": 1 << 19}  # image cells times prompts of one pass of the decoder; fits the caches of a CPU
_PIXELS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 27}  # of logits, at the size of the picture or of the square, whichever is larger


@dataclass(frozen=True)
class Frame:
    """How a picture lies in the square that a network sees.

    Attributes:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        side: of the square, in pixels.
        fit: the longer side fills the square and the rest is padded below or at the right; or both sides fill it.
    """

    height: int
    width: int
    side: int
    fit: Literal["pad", "squash"]

    @property
    def inside(self) -> tuple[int, int]:
        """Height and width of the picture in the square."""
        if self.fit == "squash":
            return self.side, self.side
        scale = self.side / max(self.height, self.width)
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    def place(self, pixel_values: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 s s"]:
        """Resize a picture in [-1, 1], normalise it, pad it with zeros.

        It is rounded to 8 bits before and after the resize, as Pillow does and with Pillow's filter, so that networks see what they were
        trained on.
        """
        picture = ((pixel_values.detach().float().clamp(-1, 1) + 1) * 127.5).round()
        if self.inside != (self.height, self.width):
            picture = picture.to(torch.uint8) if picture.device.type == "cpu" else picture  # where torch has that filter for integers
            picture = nn.functional.interpolate(picture, self.inside, mode="bilinear", antialias=True).float().round()
        picture = (picture - picture.new_tensor(_MEAN).view(3, 1, 1)) / picture.new_tensor(_STD).view(3, 1, 1)
        return nn.functional.pad(picture, (0, self.side - self.inside[1], 0, self.side - self.inside[0]))

    def to_square(self, points: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
        """Return where points (x, y) of the picture lie in the square, both in pixels."""
        return points * points.new_tensor([self.inside[1] / self.width, self.inside[0] / self.height])

    def to_picture(self, logits: Float[Tensor, "m s s"]) -> Float[Tensor, "m h w"]:
        """Return logits of the square at the picture's own size, without the padding."""
        rows, columns = self.inside
        if self.fit == "pad":
            logits = nn.functional.interpolate(logits[:, None], (self.side, self.side), mode="bilinear")[:, 0, :rows, :columns]
        if logits.shape[1:] != (self.height, self.width):
            logits = nn.functional.interpolate(logits[:, None], (self.height, self.width), mode="bilinear")[:, 0]
        return logits

    def portions(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Split logits, or what belongs to them one by one, into portions that `to_picture` may bring to the picture's size together."""
        largest = max(self.height * self.width, self.side**2 if self.fit == "pad" else 0)
        return logits.split(max(1, _PIXELS_AT_ONCE.get(logits.device.type, 1 << 22) // largest))

    def masks(self, logits: Float[Tensor, "m s s"]) -> Bool[Tensor, "m h w"]:
        """Return where logits of the square are above 0, at the picture's own size."""
        masks = torch.empty(len(logits), self.height, self.width, dtype=torch.bool, device=logits.device)
        for part, place in zip(self.portions(logits), self.portions(masks), strict=True):
            torch.gt(self.to_picture(part), 0, out=place)
        return masks

    def without_padding(self, logits: Float[Tensor, "m s s"]) -> Float[Tensor, "m y x"]:
        """Return the part of logits at the network's own size that covers the picture."""
        rows, columns = (-(-inside * logits.shape[-1] // self.side) for inside in self.inside)
        return logits[:, :rows, :columns]


@dataclass(frozen=True)
class PictureEmbedding:
    """A picture that a network has seen.

    Attributes:
        frame: how it lies in the network's square.
        shared: what all prompts share.
    """

    frame: Frame
    shared: Any


@runtime_checkable
class PromptableModel(Protocol):
    """A frozen network that sees a picture once, and then answers prompts with masks."""

    image_size: int

    def embed(self, pixel_values: Float[Tensor, "1 3 h w"]) -> PictureEmbedding:
        """See a picture in [-1, 1], of any size; its longer side becomes `image_size` pixels."""
        ...

    def decode(
        self,
        embedding: PictureEmbedding,
        points: Float[Tensor, "p k 2"] | None,
        point_labels: Int[Tensor, "p k"] | None,
        boxes: Float[Tensor, "p 4"] | None,
        multimask: bool,
    ) -> tuple[Float[Tensor, "p m s s"], Float[Tensor, "p m"]]:
        """Answer p prompts.

        Args:
            embedding: of `embed`.
            points: (x, y) in pixels of the picture that `embed` saw; k for each prompt.
            point_labels: 1 where the object is, 0 where it is not.
            boxes: (left, top, right, bottom) in the same pixels.
            multimask: prompts may mean several things: three masks (SAM-HQ: the best of three), or else one.

        Returns:
            Low-resolution logits that cover the network's square, and the IoU that the network predicts for each mask.
        """
        ...


class TwoWayNetwork(ABC):
    """A network of the SAM family; a subclass says how its image encoder and its prompt encoder are called.

    Args:
        network: frozen.
        image_size: side of the square that it sees.
        image_encoder: the part that sees the picture.
        device: where it runs.
        dtype: of the image encoder and the mask decoder; coordinates are encoded in fp32.
        compiled: run the image encoder through torch.compile.
    """

    fit: Literal["pad", "squash"] = "pad"

    def __init__(self, network: Any, image_size: int, image_encoder: str, device: torch.device, dtype: torch.dtype, compiled: bool) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.image_size, self.device, self.dtype = image_size, device, dtype
        getattr(network, image_encoder).to(dtype)
        network.mask_decoder.to(dtype)
        if compiled:
            getattr(network, image_encoder).compile()

    @abstractmethod
    def _shared(self, pictures: Float[Tensor, "1 3 s s"]) -> SharedImage:
        """Encode a normalised picture."""

    @abstractmethod
    def _prompts(self, points: Tensor | None, point_labels: Tensor | None, boxes: Tensor | None) -> Float[Tensor, "p t c"]:
        """Encode prompts in pixels of the square."""

    def _shared_image(self, embedding: Float[Tensor, "1 c g g"], position: Float[Tensor, "1 c g g"], **more: Any) -> SharedImage:
        """Lay the embedding out cell by cell; no mask is ever given as a prompt."""
        image = embedding.float() + self.network.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        cells, places = (each[0].flatten(1).T.contiguous().to(self.dtype) for each in (image, position))
        return SharedImage(cells, places, embedding.shape[-1], **more)

    def _single(self, logits: Float[Tensor, "p 4 s s"], ious: Float[Tensor, "p 4"]) -> tuple[Tensor, Tensor]:
        """Choose the one mask of prompts that leave no doubt."""
        return logits[:, :1], ious[:, :1]

    def _several(self, logits: Float[Tensor, "p 4 s s"], ious: Float[Tensor, "p 4"]) -> tuple[Tensor, Tensor]:
        """Choose the masks of prompts that may mean several things."""
        return logits[:, 1:], ious[:, 1:]

    @torch.inference_mode()
    def embed(self, pixel_values: Float[Tensor, "1 3 h w"]) -> PictureEmbedding:
        """See a picture."""
        frame = Frame(pixel_values.shape[2], pixel_values.shape[3], self.image_size, self.fit)
        return PictureEmbedding(frame, self._shared(frame.place(pixel_values).to(self.device, self.dtype)))

    @torch.inference_mode()
    def decode(
        self,
        embedding: PictureEmbedding,
        points: Float[Tensor, "p k 2"] | None,
        point_labels: Int[Tensor, "p k"] | None,
        boxes: Float[Tensor, "p 4"] | None,
        multimask: bool,
    ) -> tuple[Float[Tensor, "p m s s"], Float[Tensor, "p m"]]:
        """Answer prompts; as many at once as the device likes."""
        frame, shared = embedding.frame, embedding.shared
        if points is not None:
            points = frame.to_square(points.to(self.device, torch.float32))
            point_labels = None if point_labels is None else point_labels.to(self.device)
        if boxes is not None:
            boxes = frame.to_square(boxes.to(self.device, torch.float32).unflatten(-1, (2, 2))).flatten(-2)
        prompts = self._prompts(points, point_labels, boxes)
        at_once = max(1, _CELLS_AT_ONCE.get(self.device.type, 1 << 14) // len(shared.image))
        answers = []
        for part in prompts.split(at_once):
            choose = self._several if multimask else self._single
            answers.append(choose(*run_decoder(self.network.mask_decoder, shared, part)))
        return torch.cat([logits.float() for logits, _ in answers]), torch.cat([ious.float() for _, ious in answers])


def boxes_of(masks: Bool[Tensor, "m h w"]) -> Int[Tensor, "m 4"]:
    """Return (left, top, right, bottom) of the outermost pixels of each mask; zeros for an empty one."""
    edges = []
    for occupied in (masks.any(1), masks.any(2)):
        first, last = occupied.int().argmax(1), occupied.shape[1] - 1 - occupied.flip(1).int().argmax(1)
        edges.append(torch.stack([first, last], 1) * occupied.any(1, keepdim=True))
    return torch.stack([edges[0], edges[1]], 2).flatten(1)
