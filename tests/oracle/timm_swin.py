#!/usr/bin/env python3
"""Swin and Swin V2 as timm lays them out (swin_*, swinv2_*), stated once more in PyTorch, and the cases timm-swin* made of it.

    python3 tests/oracle/timm_swin.py            # writes the cases into tests/golden/cases
    python3 tests/oracle/timm_swin.py --check    # holds the statement against swin.py's and torchvision's, writes nothing

What a reader of such files has to know:

- patch_embed.{proj,norm}; layers.N.downsample.{norm,reduction} stands before the blocks of stage N (N >= 1); head.fc. In files of
  timm before 0.9, and in the authors' own, layers.N.downsample stands behind stage N and the head is head.weight, and buffers
  (relative_position_index, relative_coords_table, attn_mask) are in the file.
- attn.qkv is one matrix. V1: attn.qkv.bias; V2: attn.q_bias and attn.v_bias, keys have none.
- Windows go by the configured picture: r = (img_size // patch) >> stage for each axis; where r <= window_size the window is r and is
  not shifted along that axis. V1's position tables are of the window that results. window_size may be one number per stage.
- A shifted map is rolled first and padded afterwards (the others pad first); tokens of different regions get -100.
- Norms have eps 1e-5.

Swin.forward() is written from these lines alone and shares no code with swin.py.
"""
import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import cases
import swin

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def shapes(a):
    """Names and shapes of timm >= 0.9's file for model_args `a`."""
    d, p, out = a["embed_dim"], a["patch_size"], {}

    def linear(name, o, i, bias=True):
        out[name + ".weight"] = (o, i)
        if bias:
            out[name + ".bias"] = (o,)

    def norm(name, c):
        out[name + ".weight"] = out[name + ".bias"] = (c,)

    out["patch_embed.proj.weight"], out["patch_embed.proj.bias"] = (d, 3, p, p), (d,)
    norm("patch_embed.norm", d)
    for s, depth in enumerate(a["depths"]):
        c = d << s
        if s:
            norm("layers.%d.downsample.norm" % s, c if a["v2"] else 2 * c)
            linear("layers.%d.downsample.reduction" % s, c, 2 * c, False)
        for i in range(depth):
            b, heads = "layers.%d.blocks.%d." % (s, i), a["num_heads"][s]
            norm(b + "norm1", c)
            norm(b + "norm2", c)
            linear(b + "attn.qkv", 3 * c, c, not a["v2"])
            linear(b + "attn.proj", c, c)
            linear(b + "mlp.fc1", int(c * a["mlp_ratio"]), c)
            linear(b + "mlp.fc2", c, int(c * a["mlp_ratio"]))
            if a["v2"]:
                out[b + "attn.q_bias"] = out[b + "attn.v_bias"] = (c,)
                out[b + "attn.logit_scale"] = (heads, 1, 1)
                linear(b + "attn.cpb_mlp.0", 512, 2)
                linear(b + "attn.cpb_mlp.2", heads, 512, False)
            else:
                w = plan(a, s)[0]
                out[b + "attn.relative_position_bias_table"] = ((2 * w[0] - 1) * (2 * w[1] - 1), heads)
    norm("norm", d << (len(a["depths"]) - 1))
    linear("head.fc", a["num_classes"], d << (len(a["depths"]) - 1))
    return out


def plan(a, stage):
    """((window rows, columns), (shift rows, columns) of odd blocks)."""
    target = a["window_size"][stage] if isinstance(a["window_size"], list) else a["window_size"]
    r = [(n // a["patch_size"]) >> stage for n in a["img_size"]]
    window = [min(n, target) for n in r]
    return window, [0 if n <= w else target // 2 for n, w in zip(r, window)]


class Swin:
    def __init__(self, a, t):
        self.a, self.t = a, t

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.t[name + ".weight"], self.t[name + ".bias"], 1e-5)

    def linear(self, x, name):
        return F.linear(x, self.t[name + ".weight"], self.t.get(name + ".bias"))

    def bias(self, b, window, pretrained):
        """[heads, tokens, tokens]."""
        h, w = window
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        dy, dx = (v.flatten()[:, None] - v.flatten()[None] for v in (ys, xs))
        if not self.a["v2"]:
            return self.t[b + "relative_position_bias_table"][(dy + h - 1) * (2 * w - 1) + dx + w - 1].permute(2, 0, 1)
        reach = [(pretrained or n) - 1 for n in window]
        offset = torch.stack([8 * dy / reach[0], 8 * dx / reach[1]], -1).to(self.t[b + "logit_scale"].dtype)
        offset = offset.sign() * torch.log2(offset.abs() + 1) / math.log2(8)
        return 16 * torch.sigmoid(self.linear(F.relu(self.linear(offset, b + "cpb_mlp.0")), b + "cpb_mlp.2")).permute(2, 0, 1)

    def attention(self, x, b, stage, odd):
        (wh, ww), shift = plan(self.a, stage)
        if not odd:
            shift = [0, 0]
        n, h, w, c = x.shape
        region = torch.zeros(h, w, dtype=torch.long)
        for axis, (size, win, s) in enumerate(((h, wh, shift[0]), (w, ww, shift[1]))):
            part = torch.zeros(size, dtype=torch.long)
            if any(shift):  # the three slices of timm's mask; without a shift along this axis the last one is everything
                part[size - win:] = 1
                part[size - s if s else 0:] = 2
            region = region * 3 + (part[:, None] if axis == 0 else part[None])
        x, heads = torch.roll(x, (-shift[0], -shift[1]), (1, 2)), self.a["num_heads"][stage]
        x = F.pad(x, (0, 0, 0, -w % ww, 0, -h % wh))
        assert not any(shift) or x.shape[1:3] == (h, w), "rolled before padded"
        H, W = x.shape[1:3]
        out = torch.zeros_like(x)
        if self.a["v2"]:
            q_bias, v_bias = self.t[b + "q_bias"], self.t[b + "v_bias"]
            qkv = F.linear(x, self.t[b + "qkv.weight"], torch.cat([q_bias, torch.zeros_like(q_bias), v_bias]))
            scale = self.t[b + "logit_scale"].clamp(max=math.log(100)).exp()
        else:
            qkv, scale = self.linear(x, b + "qkv"), (c // heads) ** -0.5
        pre = self.a.get("pretrained_window_sizes") or [0] * 9
        bias = self.bias(b, (wh, ww), pre[stage])
        for y in range(0, H, wh):  # one window after the other
            for z in range(0, W, ww):
                q, k, v = qkv[:, y:y + wh, z:z + ww].reshape(n, wh * ww, 3, heads, -1).permute(2, 0, 3, 1, 4)
                if self.a["v2"]:
                    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
                scores = q @ k.transpose(2, 3) * scale + bias
                if any(shift):
                    r = region[y:y + wh, z:z + ww].flatten()
                    scores = scores - 100.0 * (r[:, None] != r[None])
                out[:, y:y + wh, z:z + ww] = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, wh, ww, c)
        return torch.roll(self.linear(out, b + "proj")[:, :h, :w], tuple(shift), (1, 2))

    def __call__(self, x):
        p = self.a["patch_size"]
        x = F.conv2d(x, self.t["patch_embed.proj.weight"], self.t["patch_embed.proj.bias"], p).permute(0, 2, 3, 1)
        x = self.norm(x, "patch_embed.norm")
        for s, depth in enumerate(self.a["depths"]):
            if s:
                name = "layers.%d.downsample." % s
                x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
                x = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
                x = self.linear(x, name + "reduction") if self.a["v2"] else self.norm(x, name + "norm")
                x = self.norm(x, name + "norm") if self.a["v2"] else self.linear(x, name + "reduction")
            for i in range(depth):
                b = "layers.%d.blocks.%d." % (s, i)
                y = self.attention(x if self.a["v2"] else self.norm(x, b + "norm1"), b + "attn.", s, i % 2 == 1)
                x = x + (self.norm(y, b + "norm1") if self.a["v2"] else y)
                y = x if self.a["v2"] else self.norm(x, b + "norm2")
                y = self.linear(F.gelu(self.linear(y, b + "mlp.fc1")), b + "mlp.fc2")
                x = x + (self.norm(y, b + "norm2") if self.a["v2"] else y)
        return self.linear(self.norm(x, "norm").mean((1, 2)), "head.fc")


def random_state(a, gen):
    t = {}
    for name, shape in sorted(shapes(a).items()):
        v = torch.randn(shape, generator=gen, dtype=torch.float64)
        owner = name.split(".")[-2]
        if "norm" in owner:
            v = 1 + 0.25 * v if name.endswith("weight") else 0.2 * v
        elif name.endswith("logit_scale"):
            v = math.log(10) + 0.4 * v
        elif name.endswith("table"):
            pass
        elif name.endswith("bias"):
            v = 0.2 * v
        else:
            v = v * (2.0 if "qkv" in name else 1.5) / v[0].numel() ** 0.5
        t[name] = v.float().double()
    return t


def authors_names(state, a):
    """The same file as the authors (and timm before 0.9) write it."""
    out = {}
    for name, t in state.items():
        part = name.split(".")
        if part[2:3] == ["downsample"]:
            part[1] = str(int(part[1]) - 1)
        name = ".".join(part).replace("head.fc.", "head.")
        out[name] = t
        if name.endswith("qkv.weight"):
            n = plan(a, int(part[1]))[0][0] ** 2
            out[name.replace("qkv.weight", "relative_position_index")] = torch.arange(n * n).view(n, n)
    out["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 4, 4)
    return out


def preprocess(image, cfg):
    h, w = cfg["input_size"][1:]
    if cfg.get("crop_mode") == "squash":
        image = image.resize((w, h), Image.BICUBIC)
    else:
        side, (iw, ih) = math.floor(h / cfg["crop_pct"]), image.size
        image = image.resize((side, int(side * ih / iw)) if iw <= ih else (int(side * iw / ih), side), Image.BICUBIC)
        top, left = int(round((image.size[1] - h) / 2.0)), int(round((image.size[0] - w) / 2.0))
        image = image.crop((left, top, left + w, top + h))
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
    return ((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))[None].double()


CASES = {
    "timm-swin": ("swin_tiny_patch4_window7_224.ms_in1k", dict(img_size=[64, 64], window_size=4, embed_dim=6, depths=[2, 2, 1], num_heads=[2, 3, 4]),
                  {"crop_pct": 0.9}, [(80, 60), (72, 71), (64, 96)], "timm >= 0.9's names: maps 16, 8 and 4 (= window: not shifted)"),
    "timm-swin-authors": ("swin_s3_tiny_224", dict(img_size=[64, 64], window_size=[4, 2, 4], embed_dim=4, depths=[2, 2, 1], num_heads=[1, 2, 4]),
                          {"crop_pct": 0.9}, [(80, 60), (72, 71), (64, 96)],
                          "the names of the authors and of timm before 0.9, with their buffers; a window per stage"),
    "timm-swinv2": ("swinv2_base_window12to16_192to256", dict(img_size=[64, 128], window_size=4, embed_dim=4, depths=[2, 1, 2], num_heads=[1, 2, 4],
                                                              mlp_ratio=2.0, pretrained_window_sizes=[6, 6, 3]),
                    {"crop_pct": 1.0, "crop_mode": "squash"}, [(128, 64), (90, 90), (140, 80)],
                    "q_bias and v_bias; the map of 4 x 8 is shifted along its width alone"),
}


def against_swin_py(a, state, x, y):
    """Where windows divide the maps and are one for all stages, timm's rule is torchvision's."""
    c = dict(swin.config("swinv2" if a["v2"] else "swin", embed_dim=a["embed_dim"], depths=a["depths"], num_heads=a["num_heads"],
                         window_size=a["window_size"], image_size=a["img_size"], mlp_ratio=a["mlp_ratio"],
                         pretrained_window_sizes=a.get("pretrained_window_sizes") or [0] * len(a["depths"])), **cases.labels(a["num_classes"]))
    model = swin.SwinForImageClassification(c, "torchvision").double().eval()
    prefix, own = c["model_type"] + ".", {}
    for name, t in state.items():
        part = name.split(".")
        if name.startswith("head"):
            own["classifier." + part[-1]] = t
        elif name.startswith("norm."):
            own[prefix + "layernorm." + part[-1]] = t
        elif name.startswith("patch_embed"):
            own[prefix + "embeddings." + ("norm." if part[1] == "norm" else "patch_embeddings.projection.") + part[-1]] = t
        elif part[2] == "downsample":
            own[prefix + "encoder.layers.%d.downsample.%s" % (int(part[1]) - 1, ".".join(part[3:]))] = t
        else:
            block, rest = prefix + "encoder.layers.%s.blocks.%s." % (part[1], part[3]), ".".join(part[4:])
            if rest.startswith("attn.qkv."):
                for n, piece in zip(("query", "key", "value"), t.chunk(3)):
                    own[block + "attention.self.%s.%s" % (n, part[-1])] = piece
            elif rest in ("attn.q_bias", "attn.v_bias"):
                own[block + "attention.self.%s.bias" % ("query" if rest[5] == "q" else "value")] = t
            else:
                old, new = next((o, n) for o, n in [("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense")] + swin.BLOCK
                                if rest == o or rest.startswith(o + "."))
                own[block + new + rest[len(old):]] = t
    left = model.load_state_dict(own, strict=False)
    assert not left.unexpected_keys and all(k.endswith(("_index", "coords_table")) for k in left.missing_keys), left
    with torch.no_grad():
        z = model(x)
    # swin.py keeps V2's offsets in single precision.
    assert (z - y).abs().max() < (1e-6 if a["v2"] else 1e-9) * y.abs().max(), (z - y).abs().max()


def main():
    only_check = "--check" in sys.argv[1:]
    for seed, (name, (architecture, args, cfg, sizes, note)) in enumerate(CASES.items(), 1):
        a = {"patch_size": 4, "mlp_ratio": 4.0, **args, "num_classes": 5, "v2": architecture.startswith("swinv2")}
        cfg = {"input_size": [3] + a["img_size"], "interpolation": "bicubic", "mean": MEAN, "std": STD, **cfg}
        for k in range(40):
            gen = torch.Generator().manual_seed(1000 * seed + k)
            state = random_state(a, gen)
            pictures = [cases.picture(w, h, 77 * seed + i) for i, (w, h) in enumerate(sizes)]
            x = torch.cat([preprocess(p, cfg) for p in pictures])
            with torch.no_grad():
                y = Swin(a, state)(x)
                z = Swin(a, {n: t.float() for n, t in state.items()})(x.float())
            size = y.abs().max()
            apart = min(float((y[i] - y[j]).abs().max() / size) for i in range(3) for j in range(i))
            if float((z - y).abs().max() / size) < 2.5e-6 and apart > 0.15:
                break
        else:
            raise SystemExit("no seed makes " + name)
        if not isinstance(a["window_size"], list):
            against_swin_py(a, state, x, y)
        with torch.no_grad():  # every tensor matters, by far more than the tolerance
            for n in state:
                keep = state[n].clone()
                state[n] = keep + 0.3 * keep.pow(2).mean().sqrt() * torch.randn(keep.shape, generator=gen, dtype=torch.float64)
                change = float((Swin(a, state)(x) - y).abs().max() / size)
                assert change > 2.5e-4, (name, n, change)
                state[n] = keep
        print("%-20s seed %d, pictures apart by %.2f" % (name, 1000 * seed + k, apart))
        if only_check:
            continue
        folder = os.path.join(cases.GOLDEN, name)
        os.makedirs(folder, exist_ok=True)
        for i, image in enumerate(pictures):
            image.save(os.path.join(folder, "%d.png" % i), optimize=True)
        cases.write_json(os.path.join(folder, "config.json"), {"architecture": architecture, "num_classes": 5, "num_features": a["embed_dim"] << 2,
                                                               "global_pool": "avg", "model_args": args, "pretrained_cfg": cfg})
        file = authors_names(state, a) if name.endswith("authors") else state
        cases.write_safetensors(os.path.join(folder, "model.safetensors"), cases.arrays(file))
        np.save(os.path.join(folder, "expected.npy"), y.float().numpy())
        cases.write_json(os.path.join(folder, "case.json"), {"verb": "classify", "tol": 5e-05, "note": note, "expected": ["expected.npy"]})


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
