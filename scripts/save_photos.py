"""Save scikit-image's own photographs as a folder of pictures with captions, to try things on without a download.

python scripts/save_photos.py --out data/photos
"""

from __future__ import annotations

import argparse
from pathlib import Path

PHOTOS = {
    "astronaut": "an astronaut in an orange suit beside a model of a space shuttle",
    "camera": "a man in a dark coat behind a camera on a tripod",
    "chelsea": "the face of a cat",
    "coffee": "a cup of coffee with a spoon on a saucer",
    "coins": "rows of old coins on a dark cloth",
    "rocket": "a rocket on its launch pad at night",
    "stereo_motorcycle": "a red motorcycle in a workshop",
}


def main(arguments: list[str] | None = None) -> None:
    """Write NAME.png and NAME.txt for each photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args(arguments).out

    import numpy as np
    import skimage.data
    from PIL import Image

    from image_utils.io import save_image

    for name, caption in PHOTOS.items():
        picture = getattr(skimage.data, name)()
        left_view = np.asarray(picture[0] if isinstance(picture, tuple) else picture)
        save_image(Image.fromarray(left_view).convert("RGB"), out / f"{name}.png")
        (out / f"{name}.txt").write_text(caption + "\n")
    print(f"{out}: {len(PHOTOS)} photographs with captions")


if __name__ == "__main__":
    main()
