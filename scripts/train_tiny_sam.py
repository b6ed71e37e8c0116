"""Train the tiny promptable network that comes with the package (gen/weights/sam_tiny) on rendered scenes.

python scripts/train_tiny_sam.py --out outputs/sam_tiny

Prompts are pixels of objects (three masks, the best one learns) and, every fourth step, boxes (one mask). Pixels of the background teach
the predicted IoU to be 0 there. Loss: 20 focal + dice + squared error of the predicted IoU, as Kirillov et al. 2023, arXiv 2304.02643, A.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Render, train, save in half precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for config.json and model.safetensors")
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--scenes", type=int, default=6000, help="a third of each preset")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    import copy
    import time

    import torch

    from gen import scenes
    from gen.segmentation.sams.tiny_sam import new_tiny_sam, prompt_loss, scene_batch

    torch.manual_seed(options.seed)
    model, begin = new_tiny_sam(), time.process_time()
    model.set_attn_implementation("eager")  # a CPU's fused attention is slow backwards in bfloat16
    specs = [scenes.sample_scene(options.seed, number, tuple(scenes.PRESETS)[number % 3]) for number in range(options.scenes)]
    rendered = scenes.render(specs, resolution=64)
    pixel_values, label_map = (rendered.pixel_values * 127).to(torch.int8), rendered.label_map.to(torch.uint8)  # a quarter of the memory
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-4, total_steps=options.steps, pct_start=0.05)
    for step in range(options.steps):
        rows = torch.randint(len(specs), (options.batch_size,))
        with torch.autocast("cpu", torch.bfloat16):
            loss = prompt_loss(model, *scene_batch(pixel_values[rows].float() / 127, label_map[rows].long()), boxes=step % 4 == 3)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == options.steps - 1:
            print(f"step {step}: loss {loss.item():.3f}, {time.process_time() - begin:.0f} s of processor time", flush=True)
        if step % 500 == 499 or step == options.steps - 1:
            copy.deepcopy(model).half().save_pretrained(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
