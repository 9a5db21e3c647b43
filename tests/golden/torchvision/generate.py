#!/usr/bin/env python3
"""Makes the goldens of this folder with torchvision's VisionTransformer.

Each case is a Hugging Face folder (the names of ViTForImageClassification)
with random weights, plus input.npy [5,3,H,W] float32 and expected.npy
[5,classes]: logits computed in double precision, stored as float32.

    python3 tests/golden/torchvision/generate.py

Needs torch, torchvision and numpy.
"""
import json
import os
import struct

import numpy as np
import torch
from torchvision.models import VisionTransformer

CASES = {
    # plain sizes
    "even": dict(image=32, patch=8, layers=2, heads=2, hidden=48, mlp=96, classes=7),
    # nothing divides by 2 or 4: head width 13, hidden 65, MLP 131
    "odd": dict(image=40, patch=8, layers=2, heads=5, hidden=65, mlp=131, classes=11),
    # one wide head, ten tokens
    "wide": dict(image=36, patch=12, layers=1, heads=1, hidden=128, mlp=64, classes=5),
    # one-pixel patches: 145 tokens, three layers
    "pixels": dict(image=12, patch=1, layers=3, heads=3, hidden=24, mlp=40, classes=3),
}
EPS = 1e-6  # of torchvision's LayerNorm


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name in sorted(tensors):
        t = tensors[name]
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            f.write(tensors[name].tobytes())


def randomise(model, gen):
    """Weights at a trained model's scale: no zero biases, no unit LayerNorm."""
    def normal(shape, std):
        return torch.randn(shape, generator=gen, dtype=torch.float64) * std

    with torch.no_grad():
        for name, p in model.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            norm = ".ln" in name
            if norm and leaf == "weight":
                value = 1 + normal(p.shape, 0.25)
            elif norm:
                value = normal(p.shape, 0.2)
            elif name == "class_token" or name.endswith("pos_embedding"):
                value = normal(p.shape, 0.5)
            elif "bias" in leaf:
                value = normal(p.shape, 0.1)
            else:
                fan_in = p[0].numel()
                value = normal(p.shape, 1.5 / fan_in ** 0.5)
            p.copy_(value.float())  # the double model holds what the file holds


def hf_tensors(model, layers):
    s = {k: v.detach().numpy().astype("<f4") for k, v in model.state_dict().items()}
    out = {
        "vit.embeddings.cls_token": s["class_token"],
        "vit.embeddings.position_embeddings": s["encoder.pos_embedding"],
    }
    for kind in ("weight", "bias"):
        out["vit.embeddings.patch_embeddings.projection." + kind] = s["conv_proj." + kind]
        out["vit.layernorm." + kind] = s["encoder.ln." + kind]
        out["classifier." + kind] = s["heads.head." + kind]
        for i in range(layers):
            src = "encoder.layers.encoder_layer_%d." % i
            dst = "vit.encoder.layer.%d." % i
            for name, t in zip(("query", "key", "value"), np.split(s[src + "self_attention.in_proj_" + kind], 3)):
                out[dst + "attention.attention.%s.%s" % (name, kind)] = t
            out[dst + "attention.output.dense." + kind] = s[src + "self_attention.out_proj." + kind]
            out[dst + "layernorm_before." + kind] = s[src + "ln_1." + kind]
            out[dst + "layernorm_after." + kind] = s[src + "ln_2." + kind]
            out[dst + "intermediate.dense." + kind] = s[src + "mlp.0." + kind]
            out[dst + "output.dense." + kind] = s[src + "mlp.3." + kind]
    used = sum(t.size for t in out.values())
    assert used == sum(t.size for t in s.values())
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def make(folder, seed, image, patch, layers, heads, hidden, mlp, classes):
    gen = torch.Generator().manual_seed(seed)
    model = VisionTransformer(image_size=image, patch_size=patch, num_layers=layers, num_heads=heads,
                              hidden_dim=hidden, mlp_dim=mlp, num_classes=classes).double().eval()
    randomise(model, gen)
    x = torch.randn(5, 3, image, image, generator=gen, dtype=torch.float64).float()
    # the fused attention of eval mode is left out: grad mode takes the plain path
    y = model(x.double()).detach()

    os.makedirs(folder, exist_ok=True)
    labels = ["class %d" % i for i in range(classes)]
    write_json(os.path.join(folder, "config.json"), {
        "architectures": ["ViTForImageClassification"],
        "hidden_act": "gelu",
        "hidden_size": hidden,
        "id2label": {str(i): c for i, c in enumerate(labels)},
        "image_size": image,
        "intermediate_size": mlp,
        "label2id": {c: i for i, c in enumerate(labels)},
        "layer_norm_eps": EPS,
        "model_type": "vit",
        "num_attention_heads": heads,
        "num_channels": 3,
        "num_hidden_layers": layers,
        "patch_size": patch,
        "qkv_bias": True,
    })
    write_json(os.path.join(folder, "preprocessor_config.json"), {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "ViTImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": image, "width": image},
    })
    write_safetensors(os.path.join(folder, "model.safetensors"), hf_tensors(model, layers))
    np.save(os.path.join(folder, "input.npy"), x.numpy())
    np.save(os.path.join(folder, "expected.npy"), y.float().numpy())

    single = model.float()(x).detach()
    print("%s: float32 against double, largest difference %.2e; logits %.2f to %.2f"
          % (os.path.basename(folder), (single.double() - y).abs().max(), y.min(), y.max()))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    torch.set_num_threads(1)
    for seed, (name, sizes) in enumerate(CASES.items(), 1):
        make(os.path.join(here, name), seed, **sizes)


if __name__ == "__main__":
    main()
