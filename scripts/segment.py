"""Cut every picture of a data set once, and keep the masks on disk for dataset/segmenter=cached.

python scripts/segment.py --out masks dataset=image_folder dataset.root=photos dataset/segmenter=classical
python scripts/segment.py --out masks --shard 0/8 dataset=image_folder dataset.root=photos dataset/segmenter=classical dataset.num_workers=4

The words after the options are those of train.py. The same command again makes only what is missing; docs/segmentation.md has more.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Build the data set, segment it, and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards and the contact sheet")
    parser.add_argument("--shard", default="0/1", help="i/n: make the shards whose number is i modulo n")
    parser.add_argument("--shard-size", type=int, default=1000, help="pictures a shard")
    options, words = parser.parse_known_args(arguments)

    from hydra import compose, initialize
    from hydra.errors import HydraException
    from hydra_zen import instantiate
    from omegaconf.errors import OmegaConfBaseException

    from configs import build_store
    from configs.checks import checked
    from configs.mistakes import explain, refuse_added_keys
    from gen.data.offline_masks import Share, segment_data_set

    logging.basicConfig(format="%(message)s")
    build_store().add_to_hydra_store(overwrite_ok=True)
    try:
        share = Share.parse(options.shard)
        with initialize(config_path=None, version_base="1.3"):
            config = compose("config", words)
        refuse_added_keys(config)
        for key, value in {"on_bad_file": "skip", "num_held_out": 0}.items():  # the pass names bad files, and cuts every picture
            if key in config.dataset:
                config.dataset[key] = value
        data = instantiate(config.dataset, _target_wrapper_=checked)
        print(segment_data_set(data, options.out, options.shard_size, share))
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        print(f"segment: {explain(error, words) or error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
