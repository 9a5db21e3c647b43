#!/usr/bin/env python3
"""Writes the ct-* cases of tests/golden/cases: checkpoints in the integer formats of compressed-tensors.

    python3 tests/oracle/compressed.py [--only NAME]

The weights of another case of this folder are quantised here, written as vllm-project/compressed-tensors stores them, and
expected.npy is what the network gives in double precision with the numbers that the codes stand for, (code - zero) * scale in
fp32; where rows become codes too (input_activations), expected_rows.npy is what it gives with those as well: every linear's
input is (clamp(round(x / scale + zero)) - zero) * scale. Conv2d weights are stored over [out, in * kh * kw] with four numbers in weight_shape, which is Vireo's extension.

Needs torch, numpy and Pillow, as cases.py does.
"""
import argparse
import json
import os
import shutil
import struct

import numpy as np
import torch
from PIL import Image

import cases

GOLDEN = cases.GOLDEN


def pack_row(codes, bits):
    """Codes plus 2^(bits - 1) as one stream of bits, the first in the lowest ones, in 32-bit words."""
    stream = 0
    for i, c in enumerate(codes):
        stream |= (int(c) + (1 << (bits - 1))) << (i * bits)
    words = (len(codes) * bits + 31) // 32
    return [(stream >> (32 * w)) & 0xffffffff for w in range(words)]


def pack(matrix, bits):
    return np.array([pack_row(r, bits) for r in matrix], dtype=np.uint32).view(np.int32)


def quantise(w, bits, symmetric, groups):
    """w [out, in]; groups [in] names each column's group. Codes int64 [out, in], scale and zero [out, groups]."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    n = int(groups.max()) + 1
    scale, zero = np.ones((w.shape[0], n), np.float32), np.zeros((w.shape[0], n), np.int64)
    codes = np.zeros(w.shape, np.int64)
    for g in range(n):
        part = w[:, groups == g]
        least, most = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        if symmetric:
            s = np.maximum(-least, most) / ((high - low) / 2)
        else:
            s = (most - least) / (high - low)
        scale[:, g] = np.maximum(s, 1e-8)
        if not symmetric:
            zero[:, g] = np.clip(np.round(low - least / scale[:, g]), low, high)
        codes[:, groups == g] = np.clip(np.round(part / scale[:, g:g + 1] + zero[:, g:g + 1]), low, high)
    return codes, scale, zero


def write(path, tensors):
    kinds = {"float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int8": "I8", "bfloat16": "BF16"}
    header, offset, blobs = {"__metadata__": {"format": "pt"}}, 0, []
    for name in sorted(tensors):
        t = tensors[name]
        blob = t.tobytes()
        header[name] = {"dtype": kinds[str(t.dtype)], "shape": list(t.shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            f.write(blob)


def arguments(bits, strategy, group=None, symmetric=True, actorder=None):
    return {"num_bits": bits, "type": "int", "strategy": strategy, "group_size": group, "symmetric": symmetric,
            "dynamic": False, "actorder": actorder, "observer": "minmax"}


# name: the case it is made of, and for Linear and Conv2d the scheme or None
VARIANTS = {
    "ct-swin-int8": dict(of="hf-swin", format="int-quantized", linear=dict(bits=8, strategy="channel"), ignore=["classifier"]),
    "ct-swin-tensor-a8": dict(of="hf-swin", format="naive-quantized", linear=dict(bits=8, strategy="tensor"), activations="static",
                              ignore=["re:.*downsample.*"]),
    "ct-swin-u8-a8": dict(of="hf-swin", format="int-quantized", linear=dict(bits=8, strategy="channel", symmetric=False),
                          activations="asymmetric"),
    "ct-swin-w4g16-a8": dict(of="hf-swin", format="pack-quantized",
                             linear=dict(bits=4, strategy="group", group=16, symmetric=False), activations="token"),
    "ct-swin-w4g16": dict(of="hf-swin", format="pack-quantized", linear=dict(bits=4, strategy="group", group=16)),
    "ct-swin-u4-order": dict(of="hf-swin", format="pack-quantized",
                             linear=dict(bits=4, strategy="group", group=16, symmetric=False, actorder="group"), half=True),
    "ct-mobilevit-mixed": dict(of="hf-mobilevit", format="mixed-precision",
                               linear=dict(bits=3, strategy="group", group=4, symmetric=False),
                               conv=dict(bits=8, strategy="channel"), ignore=["classifier"]),
}


ROWS = {
    "static": {"num_bits": 8, "type": "int", "strategy": "tensor", "symmetric": True, "dynamic": False},
    "asymmetric": {"num_bits": 8, "type": "int", "strategy": "tensor", "symmetric": False, "dynamic": False},
    "token": {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True},
}


def code_rows(model, x, coded, how, stored):
    """The answer with the inputs of the modules `coded` on a grid; static grids are the range seen on x, and are stored."""
    grids, hooks = {}, []

    def watch(name):
        def hook(module, args):
            low, high = min(float(args[0].min()), 0.0), max(float(args[0].max()), 0.0)
            a, b = grids.get(name, (0.0, 0.0))
            grids[name] = (min(a, low), max(b, high))
        return hook

    def replace(name):
        def hook(module, args):
            t = args[0]
            if how == "token":
                scale = (t.abs().amax(-1, keepdim=True).float() / 127.5).double()
                scale = torch.where(scale > 0, scale, torch.ones_like(scale))
                zero = 0
                most = t.abs().amax(-1, keepdim=True)
                t = torch.where((t == -most) & (most > 0), -128 * scale, t)  # -127.5 exactly: a tie, and -128 is even
            else:
                scale, zero = float(stored[name + ".input_scale"][0]), int(stored.get(name + ".input_zero_point", [0])[0])
            return ((torch.clamp(torch.round(t / scale + zero), -128, 127) - zero) * scale,)
        return hook

    modules = dict(model.named_modules())
    if how != "token":
        hooks = [modules[n].register_forward_pre_hook(watch(n)) for n in coded]
        model(x)
        for h in hooks:
            h.remove()
        for n, (low, high) in grids.items():
            if how == "static":
                stored[n + ".input_scale"] = np.array([max(-low, high) / 127.5], np.float32)
                continue
            scale = np.float32((high - low) / 255)
            stored[n + ".input_scale"] = np.array([scale], np.float32)
            stored[n + ".input_zero_point"] = np.array([np.clip(np.round(-128 - low / scale), -128, 127)], np.int8)
    hooks = [modules[n].register_forward_pre_hook(replace(n)) for n in coded]
    y = model(x)
    for h in hooks:
        h.remove()
    return y


def make(name, v):
    source = os.path.join(GOLDEN, v["of"])
    folder = os.path.join(GOLDEN, name)
    os.makedirs(folder, exist_ok=True)
    config = json.load(open(os.path.join(source, "config.json")))
    processor = json.load(open(os.path.join(source, "preprocessor_config.json")))
    tensors = {n: t.numpy() for n, t in cases.read_safetensors(os.path.join(source, "model.safetensors")).items()}
    tensors = {n: t if t.dtype == np.int64 else t.astype(np.float32) for n, t in tensors.items()}
    model = cases.build(config).double().eval()
    modules = dict(model.named_modules())
    rng = np.random.default_rng(7)
    stored, decoded, coded = {}, {}, []
    for n, t in tensors.items():
        module = n[:-len(".weight")]
        kind = {torch.nn.Linear: "linear", torch.nn.Conv2d: "conv"}.get(type(modules.get(module))) if n.endswith(".weight") else None
        a = v.get(kind) if kind else None
        skipped = any(i == module or (i.startswith("re:") and __import__("re").match(i[3:], module)) for i in v.get("ignore", []))
        if a is None or skipped:
            stored[n] = decoded[n] = t
            continue
        w = t.reshape(t.shape[0], -1)
        group = a.get("group")
        columns = np.arange(w.shape[1])
        groups = columns // group if group and group < w.shape[1] else np.zeros_like(columns)
        if a.get("actorder") == "group":
            groups = rng.permutation(groups)
        if a["strategy"] == "tensor":
            codes, scale, zero = quantise(w.reshape(1, -1), a["bits"], a.get("symmetric", True), np.zeros(w.size, np.int64))
            codes = codes.reshape(w.shape)
        else:
            codes, scale, zero = quantise(w, a["bits"], a.get("symmetric", True), groups)
        if v.get("half"):
            scale = scale.astype(np.float16)
        wide = scale.astype(np.float32)
        per = wide[:, groups] if a["strategy"] != "tensor" else wide
        offset = zero[:, groups] if a["strategy"] != "tensor" else zero
        decoded[n] = ((codes - offset).astype(np.float32) * per).reshape(t.shape)
        scale = scale.reshape(-1) if a["strategy"] == "tensor" else scale
        packed = v["format"] == "pack-quantized" or (v["format"] == "mixed-precision" and kind == "linear")
        if packed:
            stored[module + ".weight_packed"] = pack(codes, a["bits"])
            stored[module + ".weight_shape"] = np.array(t.shape, np.int64)
            if not a.get("symmetric", True):
                stored[module + ".weight_zero_point"] = np.ascontiguousarray(pack(zero.T, a["bits"]).T)
        else:
            stored[n] = codes.astype(np.int8).reshape(t.shape)
            if not a.get("symmetric", True):
                stored[module + ".weight_zero_point"] = zero.astype(np.int8)
        stored[module + ".weight_scale"] = scale
        if a.get("actorder") == "group":
            stored[module + ".weight_g_idx"] = groups.astype(np.int32)
        if v.get("activations"):
            coded.append(module)

    groups = {}
    for kind, target in (("linear", "Linear"), ("conv", "Conv2d")):
        if v.get(kind):
            groups["group_%d" % len(groups)] = {
                "targets": [target], "weights": arguments(**v[kind]),
                "input_activations": ROWS[v["activations"]] if v.get("activations") else None,
                "output_activations": None,
                **({"format": "pack-quantized" if kind == "linear" else "int-quantized"} if v["format"] == "mixed-precision" else {})}
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": v["format"], "quantization_status": "compressed",
                                     "config_groups": groups, "ignore": v.get("ignore", [])}

    own = dict(model.named_parameters())
    own.update({n: t for n, t in model.named_buffers() if n.endswith(("running_mean", "running_var"))})
    with torch.no_grad():
        for n, t in own.items():
            t.copy_(torch.from_numpy(decoded[n]).double())
        x = torch.cat([cases.preprocess(Image.open(os.path.join(source, "%d.png" % i)).convert("RGB"), processor) for i in range(3)])
        y = model(x)
        rows = code_rows(model, x, coded, v["activations"], stored) if coded else None
    before = torch.from_numpy(np.load(os.path.join(source, "expected.npy"))).double()
    for f in ["0.png", "1.png", "2.png", "preprocessor_config.json"]:
        shutil.copy(os.path.join(source, f), os.path.join(folder, f))
    cases.write_json(os.path.join(folder, "config.json"), dict(sorted(config.items())))
    write(os.path.join(folder, "model.safetensors"), stored)
    np.save(os.path.join(folder, "expected.npy"), y.float().numpy())
    if rows is not None:
        np.save(os.path.join(folder, "expected_rows.npy"), rows.float().numpy())
        print("%-22s rows of codes move logits by %.1e" % (name, float((rows - y).abs().max() / y.abs().max())))
    cases.write_json(os.path.join(folder, "case.json"),
                     {"verb": "classify", "tol": 5e-05, "note": "compressed-tensors, made of " + v["of"], "expected": ["expected.npy"],
                      **({"rows": "expected_rows.npy"} if coded else {})})
    print("%-22s %4d KB, logits move by %.1e of their size" %
          (name, os.path.getsize(os.path.join(folder, "model.safetensors")) // 1024, float((y - before).abs().max() / before.abs().max())))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(VARIANTS))
    args = parser.parse_args()
    for name, v in VARIANTS.items():
        if not args.only or args.only == name:
            make(name, v)


if __name__ == "__main__":
    main()
