#!/usr/bin/env python3
"""Writes one random-weight ViT twice: as the folder Vireo opens (Hugging Face names) and as ONNX for ONNX Runtime.

Usage: export.py CONFIG.json OUT_DIR [--seed N] [--batch N]
OUT_DIR receives config.json, model.safetensors, model.bN.onnx (N images per inference) and input.f32 (one image, dense
[3, H, W]). Both models hold the same numbers; the ONNX graph has one qkv product per block, as timm states it, and the
exact (erf) GELU. Needs torch and onnx.
"""
import argparse
import json
import math
import os
import shutil
import struct

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, eps = c["hidden_size"], c["layer_norm_eps"]
        self.heads, self.dim = c["num_attention_heads"], d // c["num_attention_heads"]
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=eps), nn.LayerNorm(d, eps=eps)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.fc1, self.fc2 = nn.Linear(d, c["intermediate_size"]), nn.Linear(c["intermediate_size"], d)

    def forward(self, x):
        b, n, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, self.dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(self.dim))
        y = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, d)
        x = x + self.proj(y)
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, p = c["hidden_size"], c["patch_size"]
        tokens = (c["image_size"] // p) ** 2 + 1
        self.patch = nn.Conv2d(c["num_channels"], d, p, p)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.position = nn.Parameter(torch.zeros(1, tokens, d))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.LayerNorm(d, eps=c["layer_norm_eps"])
        self.head = nn.Linear(d, len(c["id2label"]) if "id2label" in c else c["num_labels"])

    def forward(self, pixels):
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def randomise(model, seed):
    """Weights of a size that keeps every layer's input near one, so that a wrong answer cannot hide."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if "norm" in name:
            p.data.normal_(1.0 if name.endswith("weight") else 0.0, 0.1, generator=g)
        elif p.dim() > 1 and name not in ("cls", "position"):
            p.data.normal_(0.0, 1.0 / math.sqrt(p[0].numel()), generator=g)
        else:
            p.data.normal_(0.0, 0.1, generator=g)


def hugging_face(model):
    """The same tensors by Hugging Face's names (q, k and v apart)."""
    t = {"vit.embeddings.cls_token": model.cls, "vit.embeddings.position_embeddings": model.position}

    def put(name, module):
        t[name + ".weight"], t[name + ".bias"] = module.weight, module.bias

    put("vit.embeddings.patch_embeddings.projection", model.patch)
    for i, b in enumerate(model.blocks):
        at = f"vit.encoder.layer.{i}."
        put(at + "layernorm_before", b.norm1)
        put(at + "layernorm_after", b.norm2)
        for j, part in enumerate(("query", "key", "value")):
            t[at + f"attention.attention.{part}.weight"] = b.qkv.weight.chunk(3)[j]
            t[at + f"attention.attention.{part}.bias"] = b.qkv.bias.chunk(3)[j]
        put(at + "attention.output.dense", b.proj)
        put(at + "intermediate.dense", b.fc1)
        put(at + "output.dense", b.fc2)
    put("vit.layernorm", model.norm)
    put("classifier", model.head)
    return t


def write_safetensors(tensors, path):
    header, offset = {}, 0
    for name, t in tensors.items():
        size = t.numel() * 4
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.detach().contiguous().numpy().tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    with open(args.config) as f:
        config = json.load(f)
    os.makedirs(args.out, exist_ok=True)
    with torch.no_grad():
        model = Vit(config).eval()
        randomise(model, args.seed)
        g = torch.Generator().manual_seed(args.seed + 1)
        pixels = torch.rand(1, config["num_channels"], config["image_size"], config["image_size"], generator=g) * 4 - 2
        write_safetensors(hugging_face(model), os.path.join(args.out, "model.safetensors"))
        shutil.copyfile(args.config, os.path.join(args.out, "config.json"))
        pixels.numpy().tofile(os.path.join(args.out, "input.f32"))
        torch.onnx.export(model, pixels.expand(args.batch, -1, -1, -1).contiguous(),
                          os.path.join(args.out, f"model.b{args.batch}.onnx"), opset_version=16,
                          input_names=["pixels"], output_names=["logits"], do_constant_folding=True)


if __name__ == "__main__":
    main()
