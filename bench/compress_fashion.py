#!/usr/bin/env python3
"""The tables of bench/README.md on compression of the shipped classifiers: `vireo compress` by each recipe, calibrated with the
first 64 training pictures of Fashion-MNIST, and the accuracy on its 10,000 test pictures.

    python3 bench/compress_fashion.py [--vireo build/bin/vireo] [--model models/fashion-vit] [recipe...]

Needs Debian's dataset-fashion-mnist and nothing but Python.
"""
import argparse
import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
DATA = "/usr/share/datasets/fashion-mnist"
RECIPES = ["w8", "w8a8", "w8a8static", "w4g32", "w4g64", "w4a8", "tome25", "tome29", "w8a8+tome25"]
LIMITS = {"w8a8": 0.2, "w4g32": 0.5, "w4g64": 0.5, "tome25": 0.5}  # points of top-1 that may go


def write_png(path, grey, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + grey[y * width:(y + 1) * width] for y in range(height))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--vireo", default=os.path.join(ROOT, "build", "bin", "vireo"))
    p.add_argument("--model", default=os.path.join(ROOT, "models", "fashion-vit"))
    p.add_argument("recipes", nargs="*", default=RECIPES)
    o = p.parse_args()

    def vireo(*arguments):
        r = subprocess.run([o.vireo, *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
        if r.returncode:
            sys.exit("compress_fashion.py: vireo %s: %s" % (arguments[0], r.stderr.strip()))
        return json.loads(r.stdout)

    def top1(model):
        return 100 * vireo("eval", "--model", model, "--fashion-mnist", DATA, "--device", "cpu")["top1"]

    with tempfile.TemporaryDirectory() as work:
        with gzip.open(os.path.join(DATA, "train-images-idx3-ubyte.gz")) as f:
            count, height, width = struct.unpack(">4xIII", f.read(16))
            os.mkdir(os.path.join(work, "seen"))
            for i in range(64):
                write_png(os.path.join(work, "seen", "%02d.png" % i), f.read(width * height), width, height)
        before = top1(o.model)
        print("| recipe | top-1 %% (%.2f before) | points | may lose | KL, 64 pictures | MACs less %% | file |" % before)
        print("|---" * 7 + "|")
        for recipe in o.recipes or RECIPES:
            out = os.path.join(work, "out")
            r = vireo("compress", "--model", o.model, "--recipe", recipe, "--calibrate", os.path.join(work, "seen"), "--out", out, "--force",
                      "--no-sensitivity")
            after = top1(out)
            print("| `%s` | %.2f | %+.2f | %s | %.2g | %.1f | %.3f |" %
                  (recipe, after, after - before, LIMITS.get(recipe, ""), r["compared"]["kl"], 100 * (1 - r["macs"] / r["macs_before"]),
                   r["size_ratio"]), flush=True)


if __name__ == "__main__":
    main()
