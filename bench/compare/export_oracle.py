#!/usr/bin/env python3
"""Writes a random-weight model of tests/oracle twice: as the folder Vireo opens and as ONNX for ONNX Runtime.

Usage: export_oracle.py NAME OUT_DIR [--batch N]     NAME: as tests/oracle/cases.py --full takes it
OUT_DIR receives config.json, preprocessor_config.json, model.safetensors, model.bN.onnx and input.f32 (one image, dense
[3, H, W]). The ONNX graph computes what the oracle states; adaptive pooling, which ONNX has for divisors only, is written
out as means of slices. Needs torch, numpy, Pillow and onnx.
"""
import argparse
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "oracle"))
import cases  # noqa: E402


def adaptive_mean(x, size):
    """F.adaptive_avg_pool2d for a number of bins, on maps of known size: bin i holds floor(i h / n) to ceil((i + 1) h / n)."""
    n, h, w = size, int(x.shape[2]), int(x.shape[3])
    edges = lambda length, i: (i * length // n, -(-(i + 1) * length // n))  # noqa: E731
    rows = []
    for i in range(n):
        top, bottom = edges(h, i)
        row = []
        for j in range(n):
            left, right = edges(w, j)
            row.append(x[:, :, top:bottom, left:right].mean((2, 3), keepdim=True))
        rows.append(torch.cat(row, 3))
    return torch.cat(rows, 2)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("name")
    a.add_argument("out")
    a.add_argument("--batch", type=int, default=1)
    o = a.parse_args()
    config, processor = cases.full_config(o.name)
    cases.full(o.name, o.out, 1, False)
    model = cases.build(config).eval()
    state = cases.read_safetensors(os.path.join(o.out, "model.safetensors"))
    own = model.state_dict()
    model.load_state_dict({n: torch.as_tensor(np.array(state[n])) if n in state else own[n] for n in own})
    image = Image.open(os.path.join(o.out, "0.png")).convert("RGB")
    with torch.no_grad():
        pixels = cases.preprocess(image, processor).float()
        pixels.numpy().astype(np.float32).tofile(os.path.join(o.out, "input.f32"))
        want = model(pixels)
        F.adaptive_avg_pool2d = adaptive_mean
        got = model(pixels)
        assert float((got - want).abs().max()) <= 1e-4 * float(want.abs().max()), "the pools written out differ"
        torch.onnx.export(model, pixels.expand(o.batch, -1, -1, -1).contiguous(), os.path.join(o.out, "model.b%d.onnx" % o.batch),
                          opset_version=16, input_names=["pixels"], output_names=["logits"], do_constant_folding=True)


if __name__ == "__main__":
    main()
