#!/usr/bin/env python3
"""Class maps at the size of pictures, as Transformers' post_process_semantic_segmentation makes them: writes tests/golden/maps/.

    python3 tests/oracle/maps.py tests/golden

The scores are the cases' own (expected.npy: what the network answers at its input's size, from this folder's other oracles), one picture
below the other. A pixel whose two best scores are within 1e-4 of each other has the value 255: either is right there. Needs PyTorch and Pillow.
"""
import pathlib
import sys

import numpy
import torch
import torch.nn.functional as F
from PIL import Image

CASES = ["hf-upernet-swin", "hf-upernet-mobilevit", "paper-upernet-swinv2"]
# Of the input, larger, smaller, one up and the other down, much larger, primes, one pixel and one line.
SIZES = [(48, 64), (80, 80), (31, 41), (13, 199), (211, 17), (480, 640), (97, 131), (1, 1), (1, 50), (64, 96)]
TIE, CLOSE = 255, 1e-4


def class_map(logits, size):
    """transformers/models/upernet: outputs.logits to target_sizes, then argmax; with the ties told apart."""
    scores = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    classes = scores.argmax(dim=1)
    if scores.shape[1] > 1:
        best = scores.topk(2, dim=1).values
        classes[best[:, 0] - best[:, 1] <= CLOSE] = TIE
    return classes.to(torch.uint8).numpy()


def main():
    golden = pathlib.Path(sys.argv[1])
    for case in CASES:
        logits = torch.from_numpy(numpy.load(golden / "cases" / case / "expected.npy"))
        folder = golden / "maps" / case
        folder.mkdir(parents=True, exist_ok=True)
        for h, w in SIZES:
            classes = class_map(logits, (h, w))
            assert (classes == TIE).mean() < 0.01, (case, h, w)
            Image.fromarray(classes.reshape(-1, w)).save(folder / f"{h}x{w}.png", optimize=True)
    # The reported picture (1.png of the first case) at its size and at twice that; 1.expected.classes.png came with the report.
    logits = torch.from_numpy(numpy.load(golden / "cases" / CASES[0] / "expected.npy"))[1:2]
    for name, side in ("once", 80), ("twice", 160):
        Image.fromarray(class_map(logits, (side, side))[0]).save(golden / "maps" / "seg-postprocess" / f"1.{name}.png", optimize=True)


if __name__ == "__main__":
    main()
