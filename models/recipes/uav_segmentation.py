#!/usr/bin/env python3
"""Trains, distils and exports small segmentation networks: the recipe of "Compressing Vision Transformers for Low-Resource
Visual Learning" (arXiv 2309.02617) on CamVid, reduced so that one CPU core does all of it in about an hour.

    python3 uav_segmentation.py --data CAMVID --work WORK              # teacher, student, distilled student: an hour
    python3 uav_segmentation.py --data CAMVID --work WORK --stage student --minutes 120
    python3 uav_segmentation.py --data CAMVID --work WORK --evaluate --vireo build/bin/vireo    # WORK/table.md
    python3 uav_segmentation.py --data CAMVID --work WORK --compress --vireo build/bin/vireo    # WORK/compressed.md

- teacher    UPerNet on Swin V2
- student    UPerNet on MobileViT
- distilled  the same student, which also learns the teacher's logits: --distill mse (the paper's), kl or both

Each stage writes WORK/STAGE/export, a Hugging Face folder (config.json with the classes, preprocessor_config.json,
model.safetensors) that Vireo opens. WORK/STAGE/log.jsonl has a line for every validation, checkpoint.pt is where a run that
was interrupted goes on when it is started again with the same folder. --minutes is the budget of the three stages in time on
the clock, from which the learning rate follows (warmup, then cosine), so that a slow or shared machine gets a finished
schedule of fewer steps; --steps N asks for a number of steps of each stage instead, and with it a run is repeatable from its
seed. The distilled student gets a larger share than the student, because its steps run the teacher as well.

What is reduced, and why numbers differ from the paper's: CamVid (367 pictures of driving, 11 classes) instead of the drone
pictures of LPCVC 2023; input 192x256 (half of the frame, both multiples of 64) instead of 512x512; Swin V2 of width 32 and
depths 2-2-4-2 instead of 96 and 2-2-6-2; MobileViT-XXS with an FPN of 32 instead of MobileViT-S with 64; no ImageNet weights
to begin with; minutes instead of 20,000 steps of 16; AdamW instead of SGD; cross entropy weighted by class instead of OHEM;
the loss taken at half the input's size, distillation at a quarter (where both heads have their logits). The decoder is
Hugging Face's UperNetHead, see tests/oracle/upernet.py, where the networks are stated.

CAMVID has train, val, test (pictures) and trainannot, valannot, testannot (PNGs of the same name whose pixels are classes;
11 = void, ignored). Pictures are held in memory. Augmentation: flip, a random piece of 1/2 to all of the frame, brightness
and contrast. On a CPU that multiplies bfloat16 (AMX or AVX512_BF16) the matrix products and convolutions of training are bfloat16
(oneDNN), weights and sums float32; elsewhere, or with --fp32, all is float32.

mIoU is over the 11 classes of the confusion of all test pixels: logits at the input's size, argmax, then enlarged to the
label's size by the nearest pixel (source = floor((i + 0.5) * input / label)). PyTorch's is computed in float32.

--compress goes on from there: `vireo compress` makes a smaller model of the distilled student by each of --recipes, calibrated on
64 of the training pictures, and the table says what it costs in mIoU, on the CPU and on Vulkan, beside its own fp32, with sizes,
memory, times here and the time that `vireo predict` computes for a Jetson Nano in half precision (codes stay codes; never
measured). The paper's own figures stand below it; they are of other pictures and networks.

Needs torch, numpy and Pillow, and for training in float32 a fast BLAS: Debian's torch calls the system's libblas.so.3, and with the
reference one (libblas3) a step takes four to seven times as long as with libopenblas0.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "oracle"))
import cases
import mobilevit
import swin
import upernet
from common import Progress, multiplies_bfloat16

CLASSES = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
VOID = 11
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES = ("teacher", "student", "distilled")
SHARE = {"teacher": 0.35, "student": 0.27, "distilled": 0.38}  # of --minutes
# Of a checkpoint's tensors: what codes need beside themselves, and what batch norm counted.
NOT_PARAMETERS = ("__metadata__", ".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_g_idx", ".input_scale", ".input_zero_point",
                  "running_mean", "running_var", "num_batches_tracked")
# Ranks of queries and keys, then columns as well; rows and weights as codes; both; tokens, which MobileViT's blocks do not merge.
RECIPES = "qkrank10,prune10,prune15,w8a8,w4g32,w4g16-all,prune15+w8a8,prune15+w4g32,tome25"
# Recipes of 4 bits keep convolutions at 8, and UPerNet is convolutions; its widths of 80 are no multiple of 32 either.
POLICIES = {"w4g16-all": "weights i4g16\n"}
PAPER = ("arXiv 2309.02617 reports 0.61 mIoU, 3 to 4.5 pictures a second (222 to 333 ms) and 3.7 GB on a Jetson Nano: measured there,\n"
         "on pictures of a drone, by larger networks.")


# ------------------------------------------------------------------- models

def config(kind, size):
    h, w = size
    if kind == "teacher":
        backbone = swin.config("swinv2", embed_dim=32, depths=[2, 2, 4, 2], num_heads=[1, 2, 4, 8], window_size=8,
                               image_size=[h, w], drop_path_rate=0.0)
        taps, width = [1, 2, 3, 4], 48
    else:
        backbone = mobilevit.config("xx-small", image_size=[h, w])
        taps, width = [2, 3, 4, 5], 32
    backbone.update(out_indices=taps, out_features=["stage%d" % i for i in taps])
    return upernet.config(backbone, hidden_size=width, use_auxiliary_head=False,
                          id2label={str(i): c for i, c in enumerate(CLASSES)}, label2id={c: i for i, c in enumerate(CLASSES)})


def initialise(model, seed):
    torch.manual_seed(seed)
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear):
            nn.init.trunc_normal_(m.weight, std=0.02)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.LayerNorm) and isinstance(model.backbone, swin.Swin) and model.backbone.v2 \
                and name.endswith(("layernorm_before", "layernorm_after")):
            nn.init.constant_(m.weight, 0.2)  # Swin V2's blocks end in a norm: they begin small
    return model


MATRICES, RESIZE = {}, upernet.resize


def resize_matrix(n, to):
    """Bilinear resizing (align_corners False) of one axis as a matrix [to,n]."""
    if (n, to) not in MATRICES:
        MATRICES[n, to] = F.interpolate(torch.eye(n)[None], size=to, mode="linear", align_corners=False)[0].t().contiguous()
    return MATRICES[n, to]


def resize_by_matrices(x, like, corners=False):
    """upernet.resize as two products, several times faster in training than interpolate on a CPU."""
    h, w = like if isinstance(like, tuple) else like.shape[2:]
    if (h, w) == tuple(x.shape[2:]):
        return x
    return resize_matrix(x.shape[2], h) @ x @ resize_matrix(x.shape[3], w).t()


def faster(model):
    """The same network for training: LayerNorm and SiLU of what autocast hands them are computed in float32 (PyTorch 1.13 has
    no LayerNorm of bfloat16 with float32 weights, and a slow SiLU)."""
    for m in model.modules():
        if isinstance(m, nn.LayerNorm):
            m.forward = lambda x, m=m: F.layer_norm(x.float(), m.normalized_shape, m.weight, m.bias, m.eps)
        if getattr(m, "act", None) is F.silu:
            m.act = lambda x: F.silu(x.float())
    return model


def coarse(model, x, quick=True):
    """Logits at a quarter of the input's size, where the head computes them."""
    upernet.resize = resize_by_matrices if quick else RESIZE
    return model.decode_head(upernet.tapped(model.backbone, x))


def build(kind, o):
    return faster(initialise(upernet.UperNetForSemanticSegmentation(config(kind, o.size)), o.seed))


def export(folder, kind, model, o):
    os.makedirs(folder, exist_ok=True)
    c = config(kind, o.size)
    state = {n: t for n, t in model.state_dict().items() if not n.endswith(("relative_position_index", "relative_coords_table"))}
    cases.write_json(os.path.join(folder, "config.json"), dict(sorted(c.items())))
    cases.write_json(os.path.join(folder, "preprocessor_config.json"), {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": list(MEAN),
        "image_processor_type": "SegformerImageProcessor", "image_std": list(STD), "resample": 2, "rescale_factor": 1 / 255,
        "size": {"height": o.size[0], "width": o.size[1]}})
    path = os.path.join(folder, "model.safetensors")
    cases.write_safetensors(path + ".tmp", cases.arrays(state))
    os.replace(path + ".tmp", path)


# ------------------------------------------------------------------- data

def names(data, split):
    return sorted(f for f in os.listdir(os.path.join(data, split)) if f.lower().endswith((".jpg", ".png")))


def load(data, split, size=None):
    """uint8 pictures [N,3,h,w] (resized by Pillow, as the processor does, with size) and labels [N,H,W] of their own size."""
    pictures, labels = [], []
    for f in names(data, split):
        image = Image.open(os.path.join(data, split, f)).convert("RGB")
        if size:
            image = image.resize((size[1], size[0]), Image.BILINEAR)
        pictures.append(np.asarray(image).transpose(2, 0, 1))
        labels.append(np.asarray(Image.open(os.path.join(data, split + "annot", os.path.splitext(f)[0] + ".png"))))
    return torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(labels))


def normalise(x):
    return (x.float() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def augment(pictures, labels, idx, size, gen):
    """A batch of size, labels at half of it."""
    H, W = pictures.shape[2:]
    xs, ys = [], []
    for i in idx:
        s, fx, fy, flip, light, contrast = torch.rand(6, generator=gen).tolist()
        s = 0.5 + 0.5 * s
        h, w = int(H * s), int(W * s)
        top, left = int(fy * (H - h + 1)), int(fx * (W - w + 1))
        x = pictures[i:i + 1, :, top:top + h, left:left + w].float()
        y = labels[i:i + 1, None, top:top + h, left:left + w].float()
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        y = F.interpolate(y, size=(size[0] // 2, size[1] // 2), mode="nearest-exact")
        if flip < 0.5:
            x, y = x.flip(3), y.flip(3)
        x = (x - x.mean()) * (0.75 + 0.5 * contrast) + x.mean() * (0.75 + 0.5 * light)
        xs.append(x.clamp(0, 255))
        ys.append(y[:, 0])
    return normalise(torch.cat(xs)), torch.cat(ys).long()


def class_weights(labels):
    """Rare classes weigh more: 1 / sqrt(frequency), of mean 1 over the pixels' classes, at most 4."""
    n = torch.bincount(labels.flatten().long(), minlength=VOID + 1)[:len(CLASSES)].float()
    w = (n / n.sum()).rsqrt()
    return (w / (w * n / n.sum()).sum()).clamp(max=4)


# ------------------------------------------------------------------- measuring

def scores(confusion):
    """mIoU, IoU of each class, pixel accuracy; rows of the confusion are the truth."""
    c = confusion.double()
    right = c.diag()
    iou = right / (c.sum(0) + c.sum(1) - right)
    seen = c.sum(1) > 0
    return {"miou": float(100 * iou[seen].mean()), "pixel_accuracy": float(100 * right.sum() / c.sum()),
            "iou": {n: round(float(100 * v), 2) for n, v in zip(CLASSES, iou)}}


@torch.no_grad()
def evaluate(model, pictures, labels, half, quick=True, tell=None, batch=4):
    model.eval()
    k = len(CLASSES)
    confusion = torch.zeros(k * k, dtype=torch.long)
    for i in range(0, len(pictures), batch):
        x = normalise(pictures[i:i + batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = coarse(model, x, quick)
        y = F.interpolate(y.float(), size=x.shape[2:], mode="bilinear", align_corners=False).argmax(1)
        rows, cols = ((2 * torch.arange(n) + 1) * of // (2 * n) for n, of in zip(labels.shape[1:], x.shape[2:]))
        y = y[:, rows][:, :, cols]
        t = labels[i:i + batch].long()
        confusion += torch.bincount((t * k + y)[t != VOID], minlength=k * k)
        if tell:
            tell(i + len(x), len(pictures))
    return scores(confusion.view(k, k))


# ------------------------------------------------------------------- training

def distillation(kind, student, teacher, valid, temperature):
    """valid: [B,H,W], where the label is not void."""
    loss = 0.0
    if kind in ("mse", "both"):
        loss = loss + ((student - teacher) ** 2).mean(1)[valid].mean()
    if kind in ("kl", "both"):
        t = F.log_softmax(teacher / temperature, 1)
        s = F.log_softmax(student / temperature, 1)
        loss = loss + temperature ** 2 * (t.exp() * (t - s)).sum(1)[valid].mean()
    return loss


def train(stage, o, data):
    folder = os.path.join(o.work, stage)
    os.makedirs(folder, exist_ok=True)
    checkpoint, log_path = os.path.join(folder, "checkpoint.pt"), os.path.join(folder, "log.jsonl")
    kind = "teacher" if stage == "teacher" else "student"
    model = build(kind, o)
    teacher = None
    if stage == "distilled":
        teacher = build("teacher", o).eval()
        source = os.path.join(o.work, "teacher", "export", "model.safetensors")
        missing = teacher.load_state_dict(cases.read_safetensors(source), strict=False)[0]
        assert all(n.endswith(("relative_position_index", "relative_coords_table")) for n in missing), missing
    pictures, labels, val_pictures, val_labels = data
    weights = class_weights(labels)
    decay = [p for n, p in model.named_parameters() if p.dim() > 1 and not n.endswith("logit_scale")]
    ids = {id(p) for p in decay}
    other = [p for p in model.parameters() if id(p) not in ids]
    peak = o.lr or (1e-3 if kind == "teacher" else 2e-3)
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": o.weight_decay}, {"params": other, "weight_decay": 0.0}],
                                  lr=peak, betas=(0.9, 0.99))
    gen = torch.Generator().manual_seed(o.seed)
    step, spent, order = 0, 0.0, []
    if os.path.exists(checkpoint) and not o.measure:
        c = torch.load(checkpoint)
        if c.get("done"):
            print("%s: finished before" % stage)
            return
        model.load_state_dict(c["model"])
        optimizer.load_state_dict(c["optimizer"])
        gen.set_state(c["gen"])
        step, spent, order = c["step"], c["spent"], c["order"]
        print("%s: goes on at step %d, %.1f minutes" % (stage, step, spent / 60))
    budget = 60 * o.minutes * SHARE[stage]
    begin = time.time() - spent
    marks = step / o.steps if o.steps else spent / budget
    bar, losses, saved = Progress(stage), [], time.time()

    def save(done=False):
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "gen": gen.get_state(), "step": step,
                    "spent": time.time() - begin, "order": order, "done": done}, checkpoint + ".tmp")
        os.replace(checkpoint + ".tmp", checkpoint)

    def log(values):
        with open(log_path, "a") as f:
            f.write(json.dumps(values) + "\n")

    params = sum(p.numel() for p in model.parameters())
    log({"stage": stage, "parameters": params, "size": list(o.size), "batch": o.batch, "lr": peak, "minutes": o.minutes,
         "steps": o.steps, "bfloat16": o.half, "distill": o.distill if teacher else None, "seed": o.seed, "resumed_at": step})
    while True:
        part = step / o.steps if o.steps else (time.time() - begin) / budget
        if o.measure:
            part = step / o.measure
        if part >= 1:
            break
        if len(order) < o.batch:
            order = torch.randperm(len(pictures), generator=gen).tolist()
        idx, order = order[:o.batch], order[o.batch:]
        lr = peak * (part / o.warmup if part < o.warmup else 0.5 + 0.5 * math.cos(math.pi * (part - o.warmup) / (1 - o.warmup)))
        for g in optimizer.param_groups:
            g["lr"] = max(lr, 1e-6)
        model.train()
        x, y = augment(pictures, labels, idx, o.size, gen)
        if o.half:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=o.half):
            z = coarse(model, x)
            with torch.no_grad():
                t = coarse(teacher, x).float() if teacher else None
        z = z.float()
        up = F.interpolate(z, size=y.shape[1:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(up, y, weights, ignore_index=VOID)
        if teacher:
            valid = F.interpolate(y[:, None].float(), size=z.shape[2:], mode="nearest-exact")[:, 0] != VOID
            extra = distillation(o.distill, z, t, valid, o.temperature)
            loss = loss + o.distill_weight * extra
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        losses.append(float(loss))
        spent = time.time() - begin
        bar(min(1.0, part), "step %d, %.0f ms a step, loss %.3f" % (step, 1e3 * spent / step, sum(losses[-50:]) / len(losses[-50:])), spent)
        if o.measure:
            continue
        if part - marks >= 1 / 6:
            marks = part
            s = evaluate(model, val_pictures, val_labels, o.half)
            log({"step": step, "minutes": round(spent / 60, 2), "lr": lr, "loss": sum(losses[-100:]) / len(losses[-100:]),
                 "val_miou": round(s["miou"], 2), "val_pixel_accuracy": round(s["pixel_accuracy"], 2)})
            save()
            export(os.path.join(folder, "export"), kind, model, o)
        elif time.time() - saved > 120:
            saved = time.time()
            save()
    if o.measure:
        print("%s: %d parameters, %.0f ms a step of %d on the clock, %.0f ms of the processor" %
              (stage, params, 1e3 * (time.time() - begin) / step, o.batch, 1e3 * time.process_time() / step))
        return
    save(done=True)
    export(os.path.join(folder, "export"), kind, model, o)
    s = evaluate(model, val_pictures, val_labels, o.half)
    log({"step": step, "minutes": round((time.time() - begin) / 60, 2), "val_miou": round(s["miou"], 2),
         "val_pixel_accuracy": round(s["pixel_accuracy"], 2), "val_iou": s["iou"], "final": True})
    print("%s: %d steps of %d, val mIoU %.2f, pixel accuracy %.2f" % (stage, step, o.batch, s["miou"], s["pixel_accuracy"]), flush=True)


# ------------------------------------------------------------------- evaluation

def torch_scores(stage, o):
    """mIoU of PyTorch in float32 on the test pictures; kept in WORK/STAGE/test.json."""
    export_folder = os.path.join(o.work, stage, "export")
    kept, weights = os.path.join(o.work, stage, "test.json"), os.path.join(export_folder, "model.safetensors")
    if os.path.exists(kept) and os.path.getmtime(kept) > os.path.getmtime(weights):
        return json.load(open(kept))
    model = upernet.UperNetForSemanticSegmentation(json.load(open(os.path.join(export_folder, "config.json"))))
    model.load_state_dict(cases.read_safetensors(weights), strict=False)
    pictures, labels = load(o.data, "test", o.size)
    bar, start = Progress(stage + " in PyTorch"), time.process_time()
    s = evaluate(model, pictures, labels, half=False, quick=False, tell=lambda i, n: bar(i / n, "picture %d of %d" % (i, n)))
    s.update(parameters=sum(p.numel() for p in model.parameters()), images=len(pictures),
             cpu_ms=1e3 * (time.process_time() - start) / len(pictures))
    cases.write_json(kept, s)
    return s


def vireo_json(o, *arguments):
    """What a verb of Vireo prints as JSON, or None and why."""
    r = subprocess.run([o.vireo, *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if r.returncode:
        return None, (r.stderr.strip().splitlines() or ["exit code %d" % r.returncode])[-1]
    return json.loads(r.stdout), None


def run_vireo(o, folder, device, precision):
    return vireo_json(o, "eval", "--model", folder, "--device", device, "--precision", precision, "--segmentation", o.data,
                      "--split", "test", "--ignore", str(VOID), "--threads", str(o.threads))


def table(o):
    """WORK/table.md; a row of Vireo is kept in WORK/STAGE/vireo.json, and measured again when the export is newer."""
    rows = ["| model | runs on | precision | mIoU % | pixel accuracy % | parameters | file MiB | median ms | peak RSS MiB |",
            "|---|---|---|---|---|---|---|---|---|"]
    classes = ["| IoU % | " + " | ".join(CLASSES) + " |", "|---" * (len(CLASSES) + 1) + "|"]
    for stage in STAGES:
        folder = os.path.join(o.work, stage, "export")
        weights, kept = os.path.join(folder, "model.safetensors"), os.path.join(o.work, stage, "vireo.json")
        if not os.path.exists(weights):
            continue
        s = torch_scores(stage, o)
        both = "%d | %.1f" % (s["parameters"], os.path.getsize(weights) / 2 ** 20)
        rows.append("| %s | PyTorch | fp32 | %.2f | %.2f | %s | | |" % (stage, s["miou"], s["pixel_accuracy"], both))
        classes.append("| %s | " % stage + " | ".join("%.1f" % s["iou"][c] for c in CLASSES) + " |")
        known = {}
        if os.path.exists(kept) and os.path.getmtime(kept) > os.path.getmtime(weights):
            known = json.load(open(kept))
        for device in o.devices.split(","):
            for precision in o.precisions.split(","):
                key, why = device + " " + precision, "not measured"
                if o.vireo and key not in known:
                    known[key], why = run_vireo(o, folder, device, precision)
                    if known[key]:
                        cases.write_json(kept, {k: v for k, v in known.items() if v})
                e = known.get(key)
                if e:
                    rows.append("| %s | Vireo, %s | %s | %.2f | %.2f | %s | %.1f | %.0f |" % (
                        stage, e["device"]["name"], precision, 100 * e["miou"], 100 * e["pixel_accuracy"], both, e["median_ms"],
                        e["peak_rss_mib"]))
                elif o.vireo:
                    rows.append("| %s | Vireo, %s | %s | %s | | %s | | |" % (stage, device, precision, why.replace("|", "/"), both))
                print(rows[-1], flush=True)
    text = "\n".join(["CamVid, %s pictures of test, input %d x %d." % (len(names(o.data, "test")), *o.size), ""] + rows + [""] + classes)
    with open(os.path.join(o.work, "table.md"), "w") as f:
        f.write(text + "\n")
    print("\n" + text)


def parameters(folder):
    """Of a checkpoint of floats or codes: weight_shape says how many weights packed codes hold."""
    total = 0
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.tell()
        for name, h in header.items():
            if name.endswith(".weight_shape"):
                f.seek(data + h["data_offsets"][0])
                total += int(np.prod(np.frombuffer(f.read(h["data_offsets"][1] - h["data_offsets"][0]), {"I64": "<i8", "I32": "<i4"}[h["dtype"]])))
            elif not name.endswith(NOT_PARAMETERS):
                total += math.prod(h["shape"])
    return total


def predicted(o, folder):
    """Milliseconds on the Nano with activations in half precision; codes of the checkpoint stay codes, floats become halves."""
    with open(os.path.join(folder, "config.json")) as f:
        codes = "config_groups" in json.load(f).get("quantization_config", {})
    policy = os.path.join(o.work, "nano.policy")
    with open(policy, "w") as f:
        f.write("checkpoint keep\nactivations f16\n")
    p, why = vireo_json(o, "predict", "--model", folder, "--machine", "jetson-nano", "--precision", policy if codes else "fp16")
    return "%.1f" % (p["us"] / 1e3) if p else why


def compress(o):
    """WORK/compressed.md: the distilled student by each recipe. What was made and measured before is kept in WORK/compressed."""
    source = os.path.join(o.work, "distilled", "export")
    weights = os.path.join(source, "model.safetensors")
    if not os.path.exists(weights):
        sys.exit("uav_segmentation.py: '%s' is not there; train first" % weights)
    if not o.vireo:
        sys.exit("uav_segmentation.py: --compress needs --vireo FILE, the command line tool")
    devices = o.devices.split(",")
    rows = ["| distilled student | " + " | ".join("mIoU %%, %s | against fp32" % d for d in devices) +
            " | parameters | file MiB | KL | peak RSS MiB, ms (cpu) | predicted on the Nano, fp16, ms |",
            "|---" * (6 + 2 * len(devices)) + "|"]
    base = {}
    for recipe in ["fp32"] + o.recipes.split(","):
        folder = source if recipe == "fp32" else os.path.join(o.work, "compressed", recipe)
        kept = os.path.join(o.work, "compressed", recipe + ".json")
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        known = {}
        if os.path.exists(kept) and os.path.getmtime(kept) > os.path.getmtime(weights):
            known = json.load(open(kept))
        if recipe != "fp32" and not known:
            asked = ["--recipe", recipe]
            if recipe in POLICIES:
                asked = ["--policy", os.path.join(o.work, "compressed", recipe + ".policy")]
                with open(asked[1], "w") as f:
                    f.write(POLICIES[recipe])
            report, why = vireo_json(o, "compress", "--model", source, *asked, "--calibrate", os.path.join(o.data, "train"), "--no-sensitivity",
                                     "--eval", os.path.join(o.data, "val"), "--out", folder, "--force", "--threads", str(o.threads))
            if not report:
                rows.append("| `%s`: %s" % (recipe, why.replace("|", "/")) + " |" * (6 + 2 * len(devices)))
                print(rows[-1], flush=True)
                continue
            known = {"kl": report["compared"]["kl"], "macs": report["macs"] / report["macs_before"]}
        for device in devices:
            if device not in known:
                known[device], why = run_vireo(o, folder, device, "checkpoint")
                if not known[device]:
                    sys.exit("uav_segmentation.py: '%s' on %s: %s" % (folder, device, why))
            cases.write_json(kept, known)
        cells = []
        for device in devices:
            miou = 100 * known[device]["miou"]
            cells += ["%.2f" % miou, "%+.2f" % (miou - base.setdefault(device, miou))]
        cpu = known.get("cpu")
        cells += [str(parameters(folder)), "%.2f" % (os.path.getsize(os.path.join(folder, "model.safetensors")) / 2 ** 20),
                  "%.2g" % known["kl"] if "kl" in known else "", "%.0f, %.1f" % (cpu["peak_rss_mib"], cpu["median_ms"]) if cpu else "",
                  predicted(o, folder)]
        rows.append("| %s | " % (recipe if recipe == "fp32" else "`%s`" % recipe) + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    text = "\n".join(["CamVid, %d pictures of test, input %d x %d." % (len(names(o.data, "test")), *o.size), ""] + rows + ["", PAPER])
    with open(os.path.join(o.work, "compressed.md"), "w") as f:
        f.write(text + "\n")
    print("\n" + text)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--data", required=True, help="the folder of CamVid")
    p.add_argument("--work", default="uav-work", help="folder for checkpoints, logs and exports")
    p.add_argument("--stage", choices=STAGES + ("all",), default="all")
    p.add_argument("--minutes", type=float, default=60, help="of all stages together, on the clock")
    p.add_argument("--steps", type=int, help="of a stage, instead of --minutes")
    p.add_argument("--size", type=lambda s: tuple(int(v) for v in s.split("x")), default=(192, 256), metavar="HxW")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--lr", type=float, help="at its highest (default 1e-3 teacher, 2e-3 student)")
    p.add_argument("--warmup", type=float, default=0.05, help="part of the schedule")
    p.add_argument("--weight-decay", type=float, default=0.05)
    p.add_argument("--distill", choices=("mse", "kl", "both"), default="mse")
    p.add_argument("--distill-weight", type=float, default=0.5)
    p.add_argument("--temperature", type=float, default=2.0, help="of --distill kl")
    p.add_argument("--fp32", action="store_true", help="train in float32 where bfloat16 would be faster")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--measure", type=int, metavar="N", help="time N steps of the stage and stop")
    p.add_argument("--evaluate", action="store_true", help="no training: the table of what was exported")
    p.add_argument("--compress", action="store_true", help="no training: the distilled student by each of --recipes, and their table")
    p.add_argument("--recipes", default=RECIPES, help="of `vireo compress`, with --compress")
    p.add_argument("--vireo", help="with --evaluate and --compress: the command line tool")
    p.add_argument("--devices", default="cpu,vulkan", help="of Vireo, with --evaluate and --compress")
    p.add_argument("--precisions", default="fp32,fp16,int8", help="of Vireo, with --evaluate")
    o = p.parse_args()
    o.half = not o.fp32 and multiplies_bfloat16()
    torch.set_num_threads(o.threads)
    os.makedirs(o.work, exist_ok=True)
    if o.evaluate or o.compress:
        if o.evaluate:
            table(o)
        return compress(o) if o.compress else None
    data = load(o.data, "train") + load(o.data, "val", o.size)
    for stage in STAGES if o.stage == "all" else [o.stage]:
        train(stage, o, data)


if __name__ == "__main__":
    main()
