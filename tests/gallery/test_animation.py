"""What a notebook gets of an animation."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import pytest
from PIL import Image, ImageSequence

from gen.gallery.animation import Animation


def moving_square() -> list[Image.Image]:
    frames = []
    for step in range(4):
        frame = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
        frame.paste((200, 30, 30), (4 * step, 4, 4 * step + 6, 10))
        frames.append(frame)
    return frames


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_all_frames_play_in_every_format(kind):
    bundle = Animation(moving_square(), fps=5)._repr_mimebundle_()
    played = Image.open(BytesIO(b64decode(bundle[f"image/{kind}"])))
    assert (played.format, played.n_frames, played.info["duration"], played.info["loop"]) == (kind.upper(), 4, 200, 0)
    for frame, seen in zip(moving_square(), ImageSequence.Iterator(played), strict=True):
        off = [abs(a - b) for a, b in zip(frame.tobytes(), seen.convert("RGB").tobytes(), strict=True)]
        assert max(off) <= (0 if kind == "png" else 8)


def test_where_no_picture_is_shown_it_says_how_many_frames_there_are():
    assert Animation(moving_square())._repr_mimebundle_()["text/plain"] == "4 frames"


def test_no_frames_are_refused_before_they_are_shown():
    with pytest.raises(ValueError, match="an animation of no frames; give at least one"):
        Animation([])
