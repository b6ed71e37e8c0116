"""Move and remove one object in every photograph of a folder, with a pipeline trained on them: a sheet and a table of figures.

python scripts/edit_photos.py --root data/photos --pipeline outputs/photos/pipeline --out docs/results/photos
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Cut, edit, measure; write photos.png, photos.md and photos.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of photographs, with masks beside them or without")
    parser.add_argument("--pipeline", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheet and the table")
    options = parser.parse_args(arguments)

    from gen.data.image_folder import ImageFolder
    from gen.evaluation.photo_edits import edit_photo, photo_sheet, photo_table
    from gen.evaluation.report import circumstances, write_table
    from gen.models.pipeline import RegionPipeline
    from gen.segmentation import Classical, GroundTruth
    from image_utils.convert import to_tensor
    from image_utils.io import save_image

    try:
        pipeline = RegionPipeline.from_pretrained(options.pipeline)
        segment = GroundTruth(fallback=Classical(max_regions=pipeline.num_regions - 1))
        pictures = ImageFolder(root=str(options.root), num_held_out=0).pictures()
        edits = []
        for number in range(len(pictures)):
            picture = pictures[number]
            regions = segment(to_tensor(picture.image), picture.label_map)
            edits.append(edit_photo(pipeline, Path(picture.name).stem, picture.image, regions))
    except ValueError as error:
        print(f"edit_photos: {error}", file=sys.stderr)
        return 2
    table = photo_table(edits)
    print(table)
    save_image(photo_sheet(edits), options.out / "photos.png")
    values = {
        edit.name: {"region": edit.region, "psnr": edit.psnr, "outside": [edit.moved_outside, edit.removed_outside]} for edit in edits
    }
    facts = {
        "pipeline": options.pipeline.parent.name,
        "command": f"python scripts/edit_photos.py --root {options.root} --pipeline {options.pipeline}",
    }
    write_table(options.out, "photos", values, table, facts | circumstances("cpu"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
