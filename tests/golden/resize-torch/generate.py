#!/usr/bin/env python3
"""Makes the goldens of this folder: the pictures of ../resize resized by torchvision's functional resize of uint8 tensors with
antialias=True (0.14: cast to float32, filtered, rounded), and one picture prepared as Transformers' torchvision backend does it.

    python3 tests/golden/resize-torch/generate.py

manifest.json is that of ../resize. pixels.npy, float32 [3,24,24]: photo.png to a shorter side of 28, bicubic, the centre, then
(x - mean * (1 / factor)) / (std * (1 / factor)) in float32. pad.npy: the same crop of strip.png at a shorter side of 17, where the
picture is smaller than the crop and gets a border of zeros, the smaller half above.

Not checker.png: its sums lie halfway between two levels exactly, where the last bit of a float decides.

Needs torch, torchvision, numpy and Pillow.
"""
import json
import os

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

MODES = {2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}
SIZES = {
    "photo.png": [(7, 5), (16, 16), (36, 53), (37, 20), (61, 29)],
    "square.png": [(28, 28), (3, 64)],
    "strip.png": [(28, 28), (50, 8), (103, 16)],
    "line.png": [(1, 1), (5, 4)],
}
MEAN, STD, FACTOR = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711], 1 / 255


def load(here, name):
    return torch.from_numpy(np.asarray(Image.open(os.path.join(here, "..", "resize", name)).convert("RGB")).copy()).permute(2, 0, 1)


def prepared(x, side, crop):
    h, w = x.shape[1:]
    x = F.resize(x, [int(side * h / w), side] if w <= h else [side, int(side * w / h)], InterpolationMode.BICUBIC, antialias=True)
    h, w = x.shape[1:]
    border = [max(0, crop - w) // 2, max(0, crop - h) // 2, (max(0, crop - w) + 1) // 2, (max(0, crop - h) + 1) // 2]
    x = F.pad(x, border, fill=0)
    top, left = int((x.shape[1] - crop) / 2.0), int((x.shape[2] - crop) / 2.0)
    x = x[:, top:top + crop, left:left + crop].float()
    mean, std = torch.tensor(MEAN) * (1.0 / FACTOR), torch.tensor(STD) * (1.0 / FACTOR)
    return ((x - mean[:, None, None]) / std[:, None, None]).numpy()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    manifest = []
    for src, targets in SIZES.items():
        x = load(here, src)
        for code, mode in MODES.items():
            for w, h in targets:
                file = "%s_%d_%dx%d.npy" % (src[:-4], code, w, h)
                y = F.resize(x, [h, w], mode, antialias=True)
                np.save(os.path.join(here, file), np.ascontiguousarray(y.permute(1, 2, 0).numpy()))
                manifest.append({"src": src, "resample": code, "width": w, "height": h, "file": file})
    np.save(os.path.join(here, "pixels.npy"), prepared(load(here, "photo.png"), 28, 24))
    np.save(os.path.join(here, "pad.npy"), prepared(load(here, "strip.png"), 17, 24))
    with open(os.path.join(here, "manifest.json"), "w") as f:
        f.write("[\n" + ",\n".join("  " + json.dumps(m) for m in manifest) + "\n]\n")


main()
