#!/usr/bin/env python3
"""Writes the cases of tests/golden/cases that need no library but PyTorch: MobileViT, Swin, Swin V2 and UPerNet.

    python3 tests/oracle/cases.py                      # every case, into tests/golden/cases
    python3 tests/oracle/cases.py --only hf-swin       # one
    python3 tests/oracle/cases.py --check              # each tensor of each case on disk matters, each picture differs
    python3 tests/oracle/cases.py --full NAME --out DIR [--seed N]   # one of the published sizes, random weights

A case is a checkpoint as it is published (config.json, preprocessor_config.json, model.safetensors), three pictures and
expected.npy: what mobilevit.py, swin.py and upernet.py of this folder give in double precision, [3, classes], or
[3, classes, H, W] logits of the input's size for "segment". The tv-* cases hold what torchvision itself gives; Swin under
swin.py's rules "torchvision" is held against it here. Tensors that a checkpoint holds and nothing uses are there with
random values.

Weights are random at a trained model's scale. Running statistics of batch norm are what the case's own pictures give,
disturbed, so that activations stay of the order of one and no channel is normalised away.

Beyond what this folder can repeat, the statements were once held against the sources they restate, with these very files, in
double: MobileViT, Swin, Swin V2 and UPerNet against Transformers 4.26 (Swin V2 with the window rule of later releases), the
paper-* cases against the paper's published code. All agreed within 6e-8, the rounding of expected.npy.

Needs torch, torchvision, numpy and Pillow.
"""
import argparse
import json
import math
import os
import struct
import sys

import numpy as np
import torch
from PIL import Image
from torch import nn

import mobilevit
import swin
import upernet

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "cases")
IMAGENET = {"do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
UNUSED = ("num_batches_tracked", "relative_position_index", "relative_coords_table", "auxiliary_head.", "mask_token")


# ------------------------------------------------------------------- files

def write_safetensors(path, tensors):
    kinds = {np.dtype("float32"): "F32", np.dtype("float16"): "F16", np.dtype("int64"): "I64"}
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        t = tensors[name]
        header[name] = {"dtype": kinds[t.dtype], "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            f.write(np.ascontiguousarray(tensors[name]).tobytes())


def read_safetensors(path):
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header, data = json.loads(f.read(size)), f.read()
    kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}
    out = {}
    for name, h in header.items():
        if name != "__metadata__":
            a, b = h["data_offsets"]
            out[name] = torch.from_numpy(np.frombuffer(data[a:b], kinds[h["dtype"]]).reshape(h["shape"]).copy())
    return out


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def arrays(state):
    return {n: (t.detach().numpy() if t.dtype == torch.int64 else t.detach().float().numpy()) for n, t in state.items()}


def labels(n):
    names = ["class %d" % i for i in range(n)]
    return {"id2label": {str(i): c for i, c in enumerate(names)}, "label2id": {c: i for i, c in enumerate(names)}}


# ------------------------------------------------------------------- pictures

def picture(width, height, seed):
    """Gradients, a disc, stripes: each picture has something in every corner that the others do not have."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    a = np.stack([x, y, 1 - (x + y) / 2][:: rng.choice([1, -1])], 2) * rng.uniform(120, 255, 3)
    for _ in range(3):
        cx, cy, r = rng.uniform(0, 1, 3)
        a[(x - cx) ** 2 + (y - cy) ** 2 < 0.02 + 0.04 * r] = rng.randint(0, 256, 3)
    k = rng.uniform(20, 60, 2)
    a[:, :, rng.randint(3)] += 40 * np.sign(np.sin(k[0] * x + k[1] * y))
    return Image.fromarray(np.clip(np.rint(a), 0, 255).astype(np.uint8))


def preprocess(image, p):
    """What the image processors of Hugging Face make of a picture: [1,3,h,w]."""
    mobile = "MobileViT" in (p.get("image_processor_type") or p.get("feature_extractor_type"))
    size = p["size"]
    if isinstance(size, int):
        size = {"shortest_edge": size} if mobile else {"height": size, "width": size}
    if p.get("do_resize", True):
        w, h = image.size
        if "shortest_edge" in size:
            s = size["shortest_edge"]
            w, h = (s, int(s * h / w)) if w <= h else (int(s * w / h), s)
        else:
            w, h = size["width"], size["height"]
        image = image.resize((w, h), p.get("resample", 2))
    a = np.asarray(image, np.float64)
    if p.get("do_center_crop", mobile):
        crop = p["crop_size"]
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        top, left = (a.shape[0] - crop["height"]) // 2, (a.shape[1] - crop["width"]) // 2
        assert top >= 0 and left >= 0
        a = a[top:top + crop["height"], left:left + crop["width"]]
    a = a * p.get("rescale_factor", 1 / 255)
    if p.get("do_normalize", not mobile):
        a = (a - np.array(p["image_mean"])) / np.array(p["image_std"])
    if mobile and p.get("do_flip_channel_order", p.get("do_flip_channels", True)):
        a = a[:, :, ::-1]
    return torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1)[None]))


def mobile_processor(crop, size, **more):
    p = {"crop_size": {"height": crop[0], "width": crop[1]}, "do_center_crop": True, "do_flip_channel_order": True,
         "do_rescale": True, "do_resize": True, "image_processor_type": "MobileViTImageProcessor", "resample": 2,
         "rescale_factor": 1 / 255, "size": {"shortest_edge": size}}
    return {**p, **more}


def processor(height, width, kind="ViTImageProcessor", resample=3):
    return {"do_rescale": True, "do_resize": True, **IMAGENET, "image_processor_type": kind, "resample": resample,
            "rescale_factor": 1 / 255, "size": {"height": height, "width": width}}


# ------------------------------------------------------------------- weights

def randomise(model, gen, clamp=False):
    def normal(t, std, mean=0.0):
        return torch.randn(t.shape, generator=gen, dtype=torch.float64) * std + mean

    kinds = dict(model.named_modules())
    with torch.no_grad():
        for name, p in model.named_parameters():
            owner, leaf = name.rpartition(".")[::2]
            norm = isinstance(kinds[owner], (nn.LayerNorm, nn.BatchNorm2d))
            if norm:
                value = normal(p, 0.25, 1) if leaf == "weight" else normal(p, 0.2)
            elif leaf == "lambda1":
                value = normal(p, 0.2, 0.6)
            elif leaf == "logit_scale":
                value = normal(p, 0.4, math.log(10))
                if clamp and ".blocks.0." in name:  # where nothing is masked
                    value[0] = 5.0
            elif leaf in ("relative_position_bias_table", "cls_token", "position_embeddings", "mask_token"):
                value = normal(p, 1.0 if leaf.startswith("rel") else 0.5)
            elif leaf == "bias":
                value = normal(p, 0.4 if "query" in name else 0.1)
            else:
                value = normal(p, (2.0 if "query" in name or "key" in name else 1.5) / p[0].numel() ** 0.5)
            p.copy_(value.float())


def calibrate(model, x, gen):
    """Running statistics: of x, disturbed."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms:
        m.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(x)
        for m in norms:
            noise = torch.randn((2, m.num_features), generator=gen, dtype=torch.float64).to(x.dtype)
            std = m.running_var.sqrt()
            m.running_mean += 0.3 * std * noise[0]
            m.running_var *= torch.exp(0.4 * noise[1])
            m.running_var += 0.1 * m.running_var.mean() + 1e-4
            m.running_mean.copy_(m.running_mean.float())
            m.running_var.copy_(m.running_var.float())
            m.num_batches_tracked.fill_(1000)
    return model.eval()


def extra(state, like, gen):
    """Unused tensors that such files hold: random ones of the shapes of like (a module)."""
    randomise(like, gen)
    for n, t in like.state_dict().items():
        state[n] = t


# ------------------------------------------------------------------- the models of the cases

def build(c):
    kind = c["architectures"][0]
    if kind == "UperNetForSemanticSegmentation":
        return upernet.UperNetForSemanticSegmentation(c)
    if kind == "UperNet":
        return upernet.UperNet(c)
    if kind == "MobileViTForImageClassification":
        return mobilevit.MobileViTForImageClassification(c)
    return swin.SwinForImageClassification(c, "torchvision" if kind == "SwinTransformer" else "model")


def torchvision_swin(c):
    """torchvision's own class, of the sizes of a config."""
    from torchvision.models import swin_transformer as tv
    v2 = c["model_type"] == "swinv2"
    return tv.SwinTransformer(patch_size=[c["patch_size"]] * 2, embed_dim=c["embed_dim"], depths=c["depths"],
                              num_heads=c["num_heads"], window_size=[c["window_size"]] * 2, mlp_ratio=c["mlp_ratio"],
                              num_classes=len(c["id2label"]), block=tv.SwinTransformerBlockV2 if v2 else None,
                              downsample_layer=tv.PatchMergingV2 if v2 else tv.PatchMerging)


def file_state(c, model, gen, buffers=True):
    """The tensors of the file, of the weights of model."""
    state = dict(model.state_dict())
    if not buffers:
        state = {n: t for n, t in state.items() if not n.endswith(("relative_position_index", "relative_coords_table"))}

    def made_up(t):
        return torch.randn(t.shape, generator=gen, dtype=torch.float64).to(t.dtype)

    kind, v2 = c["architectures"][0], c["model_type"] == "swinv2"
    if kind == "SwinTransformer":
        prefix = c["model_type"] + "."
        plain = {n[len(prefix):] if n.startswith(prefix) else n: t for n, t in state.items()}
        return swin.to_torchvision(plain, v2, made_up)
    if kind == "UperNet":
        b = c["backbone_config"]
        if b["model_type"] == "mobilevit":
            holder = nn.Module()
            holder.backbone = nn.Module()
            holder.backbone.conv_1x1_exp = mobilevit.Conv(b, b["neck_hidden_sizes"][5], b["neck_hidden_sizes"][6], 1)
            extra(state, holder, gen)
        else:
            plain = {n[9:]: t for n, t in state.items() if n.startswith("backbone.")}
            state = {n: t for n, t in state.items() if not n.startswith("backbone.")}
            dim = plain["layernorm.weight"].shape[0]
            plain["classifier.weight"], plain["classifier.bias"] = made_up(torch.zeros(10, dim)), made_up(torch.zeros(10))
            for n, t in swin.to_torchvision(plain, True, made_up).items():
                state["backbone." + n] = t
    return state


CASES = {}


def case(name, c, p, sizes, classes, note, **options):
    CASES[name] = dict(c={**c, **labels(classes)}, p=p, sizes=sizes, note=note, **options)


def define():
    mobile, classifier = mobilevit.config, {"architectures": ["MobileViTForImageClassification"]}
    case("hf-mobilevit",
         mobile(None, hidden_sizes=[12, 16, 16], neck_hidden_sizes=[6, 6, 8, 12, 12, 16, 32], expand_ratio=2.0, image_size=128,
                **classifier),
         {"crop_size": 128, "do_center_crop": True, "do_flip_channels": True, "do_resize": True,
          "feature_extractor_type": "MobileViTFeatureExtractor", "resample": 2, "size": 144},
         [(150, 144), (128, 100), (90, 120)], 7,
         "an XXS in small; the old processor's spelling: int sizes (size is the shortest edge), do_flip_channels, no rescale keys")
    case("hf-mobilevit-resized",
         mobile(None, hidden_sizes=[14, 18, 22], neck_hidden_sizes=[5, 6, 7, 9, 10, 11, 22], num_attention_heads=2,
                qkv_bias=False, mlp_ratio=1.5, expand_ratio=3.0, image_size=[88, 72], layer_norm_eps=1e-4, **classifier),
         mobile_processor((88, 72), 92), [(96, 130), (110, 92), (92, 92)], 5,
         "maps of 11x9, 6x5 and 3x3, resized to multiples of the patch and back; head widths 7, 9, 11; widths not multiples of 4")
    case("hf-mobilevit-stride8",
         mobile(None, hidden_sizes=[8, 12, 16], neck_hidden_sizes=[4, 6, 8, 9, 10, 12, 20], output_stride=8, image_size=64,
                patch_size=2, **classifier),
         mobile_processor((48, 64), 52, do_flip_channel_order=False), [(100, 80), (96, 64), (90, 70)], 5,
         "output_stride 8: stride 1 in the last two stages, a dilation of 2 in one depthwise convolution; channels stay RGB")

    model = {"architectures": ["SwinForImageClassification"]}
    case("hf-swin",
         swin.config(embed_dim=8, depths=[2, 2, 2], num_heads=[2, 4, 4], window_size=4, image_size=60, **model),
         processor(60, 60), [(80, 60), (60, 60), (64, 96)], 9,
         "maps 15x15 (padded to 16), 8x8, 4x4 (= window: not shifted); odd map merged; relative_position_index in the file")
    case("hf-swin-nonsquare",
         swin.config(embed_dim=10, depths=[2, 3, 2], num_heads=[2, 5, 4], window_size=3, image_size=[46, 75], mlp_ratio=2.0,
                     layer_norm_eps=1e-4, qkv_bias=False, **model),
         processor(46, 75), [(75, 46), (90, 90), (64, 80)], 5,
         "input padded to 48x76; maps 12x19, 6x10, 3x5 (height = window: not shifted, width padded); head widths 5, 4, 10; "
         "layer_norm_eps is the blocks', not the embeddings' or the mergings'", buffers=False)
    model = {"architectures": ["Swinv2ForImageClassification"]}
    case("hf-swinv2",
         swin.config("swinv2", embed_dim=8, depths=[2, 2, 2], num_heads=[2, 4, 4], window_size=4, image_size=60,
                     pretrained_window_sizes=[0, 0, 0], mlp_ratio=2.0, **model),
         processor(60, 60), [(80, 60), (60, 60), (64, 96)], 9,
         "maps 15x15, 8x8, 4x4; windows by image_size: 4, 4 (7 > 4, shifted), 3 (15 >> 2, not shifted); buffers in the file",
         clamp=True)
    case("hf-swinv2-pretrained",
         swin.config("swinv2", embed_dim=6, depths=[2, 2, 2], num_heads=[2, 3, 4], window_size=8, image_size=[48, 80],
                     pretrained_window_sizes=[6, 6, 3], mlp_ratio=2.0, layer_norm_eps=1e-4, **model),
         processor(48, 80), [(80, 48), (90, 90), (64, 80)], 5,
         "maps 12x20 (window 8, padded to 16x24, shifted), 6x10 (window 6), 3x5 (window 3); head widths 3, 4, 6", buffers=False)
    tv = {"architectures": ["SwinTransformer"], "mlp_ratio": 2.0, "embed_dim": 8, "depths": [2, 2, 2], "image_size": [36, 52]}
    case("tv-swin", swin.config(num_heads=[2, 2, 4], window_size=4, **tv), processor(36, 52, resample=2),
         [(52, 36), (90, 90), (64, 80)], 6,
         "torchvision's names and rules: maps 9x13, 5x7 and 3x4 padded to windows of 4, not shifted along an axis of one window")
    case("tv-swinv2", swin.config("swinv2", num_heads=[2, 2, 4], window_size=4, **tv), processor(36, 52, resample=2),
         [(52, 36), (90, 90), (64, 80)], 6,
         "as tv-swin; the bias of the key in attn.qkv.bias is not zero in the file and not used")

    segment = [(64, 48), (80, 80), (100, 70)]
    aux = {"auxiliary_channels": 8, "hidden_size": 12}
    seg, tall = (processor(h, w, "SegformerImageProcessor", 2) for h, w in ((48, 64), (96, 48)))
    case("hf-upernet-swin",
         upernet.config({**swin.config(embed_dim=4, depths=[2, 1, 2, 2], num_heads=[1, 2, 4, 4], window_size=3, image_size=224,
                                       mlp_ratio=2.0), "out_features": ["stage1", "stage2", "stage3", "stage4"]},
                        auxiliary_in_channels=16, **aux), seg, segment, 3,
         "maps 12x16, 6x8, 3x4, 2x2: the last two smaller than or equal to the window, padded and shifted all the same; "
         "pools larger than the map; auxiliary_head unused")
    case("hf-upernet-swinv2",
         upernet.config({**swin.config("swinv2", embed_dim=4, depths=[2, 2, 2, 1], num_heads=[1, 2, 2, 4], window_size=4,
                                       image_size=96, mlp_ratio=2.0, pretrained_window_sizes=[0, 0, 0, 0]),
                         "out_indices": [1, 2, 3, 4]},
                        use_auxiliary_head=False, hidden_size=10), seg, segment, 3,
         "no norms on the taps; image_size 96, run at 48x64: windows 4, 4, 4 (6 > 4: the 3x4 map is padded and shifted), 3", buffers=False)
    mobile_seg = dict(hidden_sizes=[8, 12, 16], neck_hidden_sizes=[4, 6, 8, 10, 12, 12, 24], expand_ratio=2.0, image_size=64)
    case("hf-upernet-mobilevit",
         upernet.config({**mobile(None, **mobile_seg), "out_features": ["stage2", "stage3", "stage4", "stage5"],
                         "out_indices": [2, 3, 4, 5], "stage_names": ["stem"] + ["stage%d" % i for i in range(1, 6)]},
                        auxiliary_in_channels=12, **aux), tall, segment, 3, "the taps of the paper; 3x2 is resized within its block")
    vit = dict(hidden_size=18, num_hidden_layers=4, num_attention_heads=3, hidden_act="gelu", layer_norm_eps=1e-6, qkv_bias=True,
               image_size=[48, 64], patch_size=8, num_channels=3, apply_layernorm=True, reshape_hidden_states=True)
    case("hf-upernet-vit",
         upernet.config({"model_type": "vit", "intermediate_size": 40, "out_indices": [1, 2, 4], **vit},
                        use_auxiliary_head=False, hidden_size=9), seg, segment, 3,
         "plain ViT, tapped as Dinov2Backbone: three taps of one size, each through layernorm")
    case("hf-upernet-dinov2",
         upernet.config({"model_type": "dinov2", "mlp_ratio": 2, "layerscale_value": 1.0, "use_swiglu_ffn": False,
                         "out_features": ["stage1", "stage2", "stage3", "stage4"], **vit, "apply_layernorm": False},
                        use_auxiliary_head=False, hidden_size=8), seg, segment, 3, "Dinov2Backbone; taps without layernorm",
         unused=("backbone.layernorm.",))
    paper = {"architectures": ["UperNet"], "pool_scales": [1, 2, 4, 6], "use_auxiliary_head": False}
    case("paper-upernet-mobilevit",
         upernet.config({**mobile(None, **mobile_seg), "out_indices": [2, 3, 4, 5]}, **{**paper, "hidden_size": 8}),
         tall, segment, 3, "the network of arXiv 2309.02617's code and its names; conv_1x1_exp unused")
    case("paper-upernet-swinv2",
         upernet.config({**swin.config("swinv2", embed_dim=4, depths=[2, 2, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
                                       image_size=64, mlp_ratio=2.0), "out_indices": [1, 2, 3, 4]},
                        **{**paper, "hidden_size": 4}), seg, segment, 3,
         "the same, on torchvision's Swin V2 (its names and rules); its norm and head unused",
         unused=("backbone.layernorm.",))


def attempt(s, seed):
    """pictures, tensors of the file, logits in double, and in single precision."""
    c = s["c"]
    gen = torch.Generator().manual_seed(seed)
    model = build(c).double()
    randomise(model, gen, s.get("clamp", False))
    pictures = [picture(w, h, 10 * seed + i) for i, (w, h) in enumerate(s["sizes"])]
    x = torch.cat([preprocess(i, s["p"]) for i in pictures])
    calibrate(model, x, gen)
    single = build(c).eval()
    single.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in model.state_dict().items()})
    state = file_state(c, model, gen, s.get("buffers", True))
    with torch.no_grad():
        y, z = model(x), single(x.float())
        if c["architectures"][0] == "SwinTransformer":
            oracle = torchvision_swin(c).double().eval()
            oracle.load_state_dict(state)
            t = oracle(x)
            assert (t - y).abs().max() < 1e-6, "swin.py is not torchvision"
            y = t
    return pictures, state, y, z


def make(name, folder, seed):
    s = CASES[name]
    for k in range(40):  # weights for which the order of sums matters little, and pictures that differ
        pictures, state, y, z = attempt(s, 100 * seed + k)
        size = y.abs().max()
        error = float((z - y).abs().max() / size)
        apart = min(float((y[i] - y[j]).abs().max() / size) for i in range(3) for j in range(i))
        if error < 2.5e-6 and apart > 0.15:
            break
    else:
        raise SystemExit("no seed makes " + name)
    os.makedirs(folder, exist_ok=True)
    for i, image in enumerate(pictures):
        image.save(os.path.join(folder, "%d.png" % i), optimize=True)
    write_json(os.path.join(folder, "config.json"), dict(sorted(s["c"].items())))
    write_json(os.path.join(folder, "preprocessor_config.json"), dict(sorted(s["p"].items())))
    write_safetensors(os.path.join(folder, "model.safetensors"), arrays(state))
    np.save(os.path.join(folder, "expected.npy"), y.float().numpy())
    write_json(os.path.join(folder, "case.json"),
               {"verb": "segment" if y.dim() == 4 else "classify", "tol": 5e-05, "note": s["note"], "expected": ["expected.npy"]})
    bytes_ = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
    print("%-26s %s %4d KB  seed %d  logits %6.2f to %5.2f  float32 against double %.1e" %
          (name, tuple(y.shape), bytes_ // 1024, 100 * seed + k, y.min(), y.max(), error), flush=True)


# ------------------------------------------------------------------- check

def check(name, folder):
    """Every tensor of the case matters, by far more than the tolerance, and the pictures differ."""
    s = CASES[name]
    c, p = s["c"], s["p"]
    gen = torch.Generator().manual_seed(1)
    x = torch.cat([preprocess(Image.open(os.path.join(folder, "%d.png" % i)).convert("RGB"), p) for i in range(3)])
    expected = torch.from_numpy(np.load(os.path.join(folder, "expected.npy"))).double()
    tensors = read_safetensors(os.path.join(folder, "model.safetensors"))
    model = build(c).double().eval()
    own = dict(model.named_parameters())
    own.update({n: t for n, t in model.named_buffers() if n.endswith(("running_mean", "running_var"))})
    named = file_state(c, model, gen)
    with torch.no_grad():
        if c["architectures"][0] in ("SwinTransformer", "UperNet") and c.get("backbone_config", c)["model_type"].startswith("swin"):
            prefix = c["model_type"] + "." if c["architectures"][0] == "SwinTransformer" else "backbone."
            v2 = c.get("backbone_config", c)["model_type"] == "swinv2"
            plain = {n[len(prefix):] if n.startswith(prefix) else n: t for n, t in model.state_dict().items()
                     if n.startswith((prefix, "classifier"))}
            lead = "" if prefix != "backbone." else prefix
            for old, new in swin.names(plain, v2):
                full = new if new.startswith("classifier") else prefix + new
                if ".qkv." in old:
                    three = tensors[lead + old].chunk(3)
                    for n, t in zip(("query", "key", "value"), three):
                        if full.replace("query", n) in own:
                            own[full.replace("query", n)].copy_(t)
                elif full in own:
                    own[full].copy_(tensors[lead + old])
            for n in own:
                if n in tensors:
                    own[n].copy_(tensors[n])
        else:
            for n, t in own.items():
                t.copy_(tensors[n])
        assert set(tensors) <= set(named), set(tensors) - set(named)
        y = model(x)
        size = expected.abs().max()
        assert (y - expected).abs().max() < 1e-6 * size, (y - expected).abs().max()
        least, idle = math.inf, []
        for n, t in own.items():
            if any(u in n for u in UNUSED + s.get("unused", ())) or n.endswith("key.bias"):
                continue  # a bias of the key adds the same to every score of a row
            keep = t.clone()
            noise = torch.randn(t.shape, generator=gen, dtype=torch.float64)
            t.copy_(keep * torch.exp(0.3 * noise) if n.endswith("running_var") else keep + 0.3 * keep.pow(2).mean().sqrt() * noise)
            change = float((model(x) - y).abs().max() / size)
            t.copy_(keep)
            least = min(least, change)
            if change < 2.5e-4:  # five times the tolerance
                idle.append("%s %.1e" % (n, change))
    apart = min(float((y[i] - y[j]).abs().max() / size) for i in range(3) for j in range(i))
    print("%-26s least change %.1e, pictures apart by %.2f" % (name, least, apart), *idle, sep="\n    " if idle else "")
    return not idle and apart > 0.05


# ------------------------------------------------------------------- published sizes

def full_config(name):
    ade = labels(150)
    if name.startswith("mobilevit-"):
        size = {"mobilevit-s": "small", "mobilevit-xs": "x-small", "mobilevit-xxs": "xx-small"}[name]
        return {**mobilevit.config(size, architectures=["MobileViTForImageClassification"]), **labels(1000)}, mobile_processor((256, 256), 288)
    if name == "swin_t":
        return {**swin.config(architectures=["SwinForImageClassification"]), **labels(1000)}, processor(224, 224)
    if name == "swin_v2_t":
        return {**swin.config("swinv2", architectures=["Swinv2ForImageClassification"]), **labels(1000)}, processor(256, 256)
    seg = processor(512, 512, "SegformerImageProcessor", 2)
    four = {"out_features": ["stage1", "stage2", "stage3", "stage4"], "out_indices": [1, 2, 3, 4]}
    if name == "upernet-mobilevit-s":
        b = {**mobilevit.config("small", image_size=512), "out_indices": [2, 3, 4, 5],
             "out_features": ["stage2", "stage3", "stage4", "stage5"]}
        return {**upernet.config(b, hidden_size=64, use_auxiliary_head=False), **labels(14)}, seg
    if name == "paper-upernet-mobilevit-s":
        b = {**mobilevit.config("small", image_size=512), "out_indices": [2, 3, 4, 5]}
        return {**upernet.config(b, hidden_size=64, use_auxiliary_head=False, pool_scales=[1, 2, 4, 6], architectures=["UperNet"]),
                **labels(14)}, seg
    if name == "upernet-swin-tiny":
        return {**upernet.config({**swin.config(), **four}), **ade}, seg
    if name == "upernet-swinv2-tiny":
        return {**upernet.config({**swin.config("swinv2", image_size=512), **four}, hidden_size=96, use_auxiliary_head=False), **labels(14)}, seg
    raise SystemExit("no such model: %s; there are %s" % (name, ", ".join(FULL)))


FULL = ("mobilevit-s", "mobilevit-xs", "mobilevit-xxs", "swin_t", "swin_v2_t", "upernet-mobilevit-s",
        "paper-upernet-mobilevit-s", "upernet-swin-tiny", "upernet-swinv2-tiny")


def full(name, folder, seed, answers):
    c, p = full_config(name)
    gen = torch.Generator().manual_seed(seed)
    model = build(c)
    randomise(model, gen)
    side = p.get("crop_size", p["size"])
    pictures = [picture(side["width"] + 40, side["height"] + 32, seed + i) for i in range(2)]
    x = torch.cat([preprocess(i, p) for i in pictures]).float()
    calibrate(model, x, gen)
    os.makedirs(folder, exist_ok=True)
    for i, image in enumerate(pictures):
        image.save(os.path.join(folder, "%d.png" % i))
    write_json(os.path.join(folder, "config.json"), dict(sorted(c.items())))
    write_json(os.path.join(folder, "preprocessor_config.json"), dict(sorted(p.items())))
    write_safetensors(os.path.join(folder, "model.safetensors"), arrays(file_state(c, model, gen)))
    if answers:
        with torch.no_grad():
            np.save(os.path.join(folder, "expected.npy"), model(x).numpy())
    print("%s: %d parameters" % (name, sum(q.numel() for q in model.parameters())))


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("--out", metavar="DIR", help="where to (default: tests/golden/cases)")
    a.add_argument("--only", action="append", metavar="CASE", help="this case alone; may be repeated")
    a.add_argument("--check", action="store_true", help="check the cases on disk, write nothing")
    a.add_argument("--full", metavar="NAME", help="a random model of a published size, with two pictures and expected.npy "
                   "[2, ...] in single precision: " + ", ".join(FULL))
    a.add_argument("--no-answers", action="store_true", help="with --full: leave expected.npy out")
    a.add_argument("--seed", type=int, default=1, help="of --full")
    o = a.parse_args()
    torch.set_num_threads(1)
    if o.full:
        if not o.out:
            a.error("--full needs --out DIR")
        return full(o.full, o.out, o.seed, not o.no_answers)
    define()
    good = True
    for seed, name in enumerate(CASES, 1):
        if o.only and name not in o.only:
            continue
        folder = os.path.join(o.out or GOLDEN, name)
        if o.check:
            good &= check(name, folder)
        else:
            make(name, folder, seed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
