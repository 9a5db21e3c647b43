#!/usr/bin/env python3
"""Makes the goldens of this folder: pictures resized by Pillow.

Sources are small RGB PNGs. manifest.json lists, for each golden, the source,
the resample number Pillow and Hugging Face use (0 nearest, 2 bilinear,
3 bicubic), the target width and height, and the file: .npy, uint8 [h,w,3].

    python3 tests/golden/resize/generate.py

Needs numpy and Pillow.
"""
import json
import os

import numpy as np
from PIL import Image

SIZES = {
    # source: width, height and the targets
    "photo.png": ((37, 53), [(1, 1), (7, 5), (16, 16), (37, 53), (36, 53), (37, 20), (61, 29), (75, 99)]),
    "square.png": ((64, 64), [(1, 1), (28, 28), (32, 32), (63, 65), (3, 64), (96, 80)]),
    "strip.png": ((101, 17), [(1, 17), (28, 28), (50, 8), (101, 1), (103, 16)]),
    "checker.png": ((24, 24), [(5, 5), (23, 25), (48, 48)]),
    "dot.png": ((1, 1), [(1, 1), (4, 3)]),
    "line.png": ((2, 9), [(1, 1), (5, 4), (9, 2)]),
}


def picture(name, width, height):
    rng = np.random.RandomState(len(name) * 1000 + width)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    if name == "checker.png":  # full contrast: bicubic overshoots and is clipped
        a = np.repeat(((x.astype(int) // 3 + y.astype(int) // 2) % 2 * 255)[:, :, None], 3, 2)
        a[:, :, 1] = 255 - a[:, :, 1]
        return a.astype(np.uint8)
    if name == "square.png":  # noise alone
        return rng.randint(0, 256, (height, width, 3)).astype(np.uint8)
    a = np.stack([x / max(1, width - 1), y / max(1, height - 1), (x + y) / max(1, width + height - 2)], 2) * 255
    a[:, :, 2] = 255 - a[:, :, 2]
    a += rng.normal(0, 30, a.shape)
    if name == "photo.png":  # a hard edge
        a[(x - 18) ** 2 + (y - 30) ** 2 < 100] = (250, 5, 128)
    return np.clip(np.rint(a), 0, 255).astype(np.uint8)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    manifest = []
    for src, ((width, height), targets) in SIZES.items():
        image = Image.fromarray(picture(src, width, height))
        image.save(os.path.join(here, src), optimize=True)
        for resample in (0, 2, 3):
            for w, h in targets:
                file = "%s_%d_%dx%d.npy" % (src[:-4], resample, w, h)
                np.save(os.path.join(here, file), np.asarray(image.resize((w, h), resample)))
                manifest.append({"src": src, "resample": resample, "width": w, "height": h, "file": file})
    with open(os.path.join(here, "manifest.json"), "w") as f:
        f.write("[\n" + ",\n".join("  " + json.dumps(m) for m in manifest) + "\n]\n")


if __name__ == "__main__":
    main()
