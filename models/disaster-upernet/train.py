#!/usr/bin/env python3
"""Trains the segmentation model of this folder on scenes drawn by scenes.py, on one CPU thread.

    python3 train.py --work WORK                                        # scenes, training, WORK/export
    python3 train.py --work WORK --evaluate WORK/export                 # PyTorch's mIoU on the test split, in float32
    python3 train.py --work WORK --evaluate WORK/export --samples samples --answers ../../tests/golden/disaster-upernet

UPerNet on MobileViT-XXS as tests/oracle states them, with the speed-ups of models/recipes/uav_segmentation.py: on a CPU that
multiplies bfloat16 the products are bfloat16, weights and sums float32. A batch is pieces of 8 scenes, flipped, of other light
and contrast, shown at 1 to 2 times the scale of the whole frame in the first half of the run and at 1 to 1.43 in the second;
--small is the part of the run in which they are 128x192, afterwards they are 256x320. AdamW, cosine, cross entropy weighted by
class, taken at half the input's size. What is exported is the moving average of weights and batch norms, in half precision.

A run that was interrupted goes on from WORK/checkpoint.pt (every 25 steps), scenes are kept in WORK/*.npz.
"""
import argparse
import io
import json
import math
import multiprocessing
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "recipes"), HERE]
import uav_segmentation as recipe  # also finds tests/oracle
import brushes
import cases
import mobilevit
import scenes
import upernet

CLASSES, INPUT = brushes.CLASSES, (256, 320)
K = len(CLASSES)


def config():
    backbone = mobilevit.config("xx-small", image_size=list(INPUT), out_indices=[2, 3, 4, 5],
                                out_features=["stage%d" % i for i in (2, 3, 4, 5)])
    return upernet.config(backbone, hidden_size=32, use_auxiliary_head=False,
                          id2label={str(i): c for i, c in enumerate(CLASSES)}, label2id={c: i for i, c in enumerate(CLASSES)})


# ------------------------------------------------------------------- data

def compressed(image):
    return np.asarray(Image.open(io.BytesIO(scenes.jpeg(image))))


def stored(split, work, at, end):
    """Scenes at..end of a split: uint8 pictures [N,H,W,3] after JPEG and labels [N,H,W], kept in WORK."""
    path = os.path.join(work, "%s-%04d-%04d.npz" % (split, at, end))
    if not os.path.exists(path):
        some = [scenes.Scene(scenes.SPLITS[split][0] + i) for i in range(at, end)]
        np.savez(path + ".tmp.npz", pictures=np.stack([compressed(s.image) for s in some]),
                 labels=np.stack([np.asarray(s.label) for s in some]))
        os.replace(path + ".tmp.npz", path)
        print("%s: scenes %d to %d drawn" % (split, at, end - 1), flush=True)
    d = np.load(path)
    return d["pictures"].transpose(0, 3, 1, 2), d["labels"]


def draw(*which):
    stored(*which)


def parts(split, work, limit=None):
    n = min(limit or 1 << 30, scenes.SPLITS[split][1])
    return [(split, work, at, min(at + 25, n)) for at in range(0, n, 25)]


def drawn(split, work, limit=None):
    both = [stored(*p) for p in parts(split, work, limit)]
    return tuple(torch.from_numpy(np.concatenate([b[k] for b in both])) for k in (0, 1))


def batch_of(pictures, labels, idx, size, least, gen):
    H, W = pictures.shape[2:]
    xs, ys = [], []
    for i in idx:
        s, fx, fy, flip, light, contrast = torch.rand(6, generator=gen).tolist()
        s = (least + (1 - least) * s) * size[0] / INPUT[0]
        h, w = int(H * s), int(W * s * (size[1] / size[0]) / (W / H))
        top, left = int(fy * (H - h + 1)), int(fx * (W - w + 1))
        x = pictures[i:i + 1, :, top:top + h, left:left + w].float()
        y = labels[i:i + 1, None, top:top + h, left:left + w].float()
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        y = F.interpolate(y, size=(size[0] // 2, size[1] // 2), mode="nearest-exact")
        if flip < 0.5:
            x, y = x.flip(3), y.flip(3)
        x = (x - x.mean()) * (0.85 + 0.3 * contrast) + x.mean() * (0.85 + 0.3 * light)
        xs.append(x.clamp(0, 255))
        ys.append(y[:, 0])
    return recipe.normalise(torch.cat(xs)), torch.cat(ys).long()


def class_weights(labels):
    """1 / sqrt(frequency), of mean 1 over the pixels, at most 4."""
    n = torch.bincount(labels.flatten().long(), minlength=K).float()
    w = (n / n.sum()).rsqrt()
    return (w / (w * n / n.sum()).sum()).clamp(max=4)


# ------------------------------------------------------------------- measuring

def scores(confusion):
    c = confusion.double()
    iou = c.diag() / (c.sum(0) + c.sum(1) - c.diag())
    return {"miou": round(100 * iou.mean().item(), 2), "pixel_accuracy": round((100 * c.diag().sum() / c.sum()).item(), 2),
            "iou": {n: round(100 * v.item(), 1) for n, v in zip(CLASSES, iou)}}


def constant(labels):
    """The best answer that names one class everywhere: its mIoU is that class's share by the number of classes."""
    share = torch.bincount(labels.flatten().long(), minlength=K).double() / labels.numel()
    return {"class": CLASSES[int(share.argmax())], "miou": round(100 * share.max().item() / K, 2),
            "pixel_accuracy": round(100 * share.max().item(), 2)}


@torch.no_grad()
def maps(model, pictures, half=False, quick=False):
    """Class maps of the input's size of pictures that Pillow reduced to it, as the processor says."""
    small = [np.asarray(Image.fromarray(p.permute(1, 2, 0).numpy()).resize(INPUT[::-1], Image.BILINEAR)) for p in pictures]
    x = recipe.normalise(torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2))
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y = recipe.coarse(model, x, quick)
    return F.interpolate(y.float(), size=x.shape[2:], mode="bilinear", align_corners=False)


def evaluate(model, pictures, labels, half=False, quick=False):
    """As `vireo eval --segmentation` does: the argmax of the logits enlarged to the label's size."""
    model.eval()
    confusion = torch.zeros(K * K, dtype=torch.long)
    for i in range(0, len(pictures), 4):
        y = maps(model, pictures[i:i + 4], half, quick)
        y = F.interpolate(y, size=labels.shape[1:], mode="bilinear", align_corners=False).argmax(1)
        confusion += torch.bincount((labels[i:i + 4].long() * K + y).flatten(), minlength=K * K)
    return scores(confusion.view(K, K))


# ------------------------------------------------------------------- training

def export(folder, average):
    os.makedirs(folder, exist_ok=True)
    cases.write_json(os.path.join(folder, "config.json"), dict(sorted(config().items())))
    cases.write_json(os.path.join(folder, "preprocessor_config.json"), {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": list(recipe.MEAN),
        "image_processor_type": "SegformerImageProcessor", "image_std": list(recipe.STD), "resample": 2,
        "rescale_factor": 1 / 255, "size": {"height": INPUT[0], "width": INPUT[1]}})
    state = {n: t.half().numpy() for n, t in average.items() if not n.endswith("num_batches_tracked")}
    path = os.path.join(folder, "model.safetensors")
    cases.write_safetensors(path + ".tmp", state)
    os.replace(path + ".tmp", path)


def load_export(folder):
    with open(os.path.join(folder, "config.json")) as f:
        model = upernet.UperNetForSemanticSegmentation(json.load(f))
    missing, extra = model.load_state_dict(cases.read_safetensors(os.path.join(folder, "model.safetensors")), strict=False)
    assert not extra and all(n.endswith("num_batches_tracked") for n in missing), (missing, extra)
    return model.eval()


def train(o):
    half = recipe.multiplies_bfloat16()
    pictures, labels = drawn("train", o.work, o.scenes)
    val = drawn("val", o.work)
    model = recipe.faster(recipe.initialise(upernet.UperNetForSemanticSegmentation(config()), o.seed))
    weights = class_weights(labels[::10])
    optimizer = torch.optim.AdamW([{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.05},
                                   {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0}],
                                  lr=o.lr, betas=(0.9, 0.99), foreach=True)
    average = {n: t.detach().clone() for n, t in model.state_dict().items()}
    gen = torch.Generator().manual_seed(o.seed)
    step, spent, order, checkpoint = 0, 0.0, [], os.path.join(o.work, "checkpoint.pt")
    if os.path.exists(checkpoint):
        c = torch.load(checkpoint)
        model.load_state_dict(c["model"])
        optimizer.load_state_dict(c["optimizer"])
        gen.set_state(c["gen"])
        average, step, spent, order = c["average"], c["step"], c["spent"], c["order"]
    floats = [average[n] for n, t in model.state_dict().items() if t.is_floating_point()]
    begin, losses = time.time() - spent, []

    def log(values):
        values["minutes"] = round((time.time() - begin) / 60, 1)
        with open(os.path.join(o.work, "log.jsonl"), "a") as f:
            f.write(json.dumps(values) + "\n")
        print(values, flush=True)

    log({"parameters": sum(p.numel() for p in model.parameters()), "bfloat16": half, "steps": o.steps, "from": step,
         "scenes": len(pictures)})
    part = max(step / o.steps, spent / 60 / o.minutes)
    while part < 1 and step < o.stop:
        if len(order) < 8:
            order = torch.randperm(len(pictures), generator=gen).tolist()
        idx, order = order[:8], order[8:]
        for g in optimizer.param_groups:
            g["lr"] = o.lr * (part + 1e-3) / 0.04
            if part >= 0.04:
                g["lr"] = o.lr * (0.5025 + 0.4975 * math.cos(math.pi * (part - 0.04) / 0.96))
        model.train()
        x, y = batch_of(pictures, labels, idx, (128, 192) if part < o.small else INPUT, 0.5 if part < 0.5 else 0.7, gen)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            z = recipe.coarse(model, x.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(F.interpolate(z.float(), size=y.shape[1:], mode="bilinear", align_corners=False), y, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        part = max(step / o.steps, (time.time() - begin) / 60 / o.minutes)
        losses.append(float(loss))
        keep = min(0.99, step / (step + 9))
        with torch.no_grad():
            now = [t for t in model.state_dict().values() if t.is_floating_point()]
            torch._foreach_mul_(floats, keep)
            torch._foreach_add_(floats, now, alpha=1 - keep)
        if step % 25 == 0 or part >= 1 or step == o.stop:
            print("step %d, loss %.3f, %.2f s of processor a step, %d %% of the schedule" % (
                step, np.mean(losses[-25:]), time.process_time() / len(losses), 100 * part), flush=True)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "gen": gen.get_state(),
                        "average": average, "step": step, "spent": time.time() - begin, "order": order}, checkpoint + ".tmp")
            os.replace(checkpoint + ".tmp", checkpoint)
        if step % 300 == 0 or part >= 1:
            export(os.path.join(o.work, "export"), average)
            s = evaluate(recipe.faster(load_export(os.path.join(o.work, "export"))), *val, half=half, quick=True)
            log({"step": step, "loss": round(float(np.mean(losses[-100:])), 3), **s})


def samples(model, folder, answers, wanted):
    """Test pictures, more compressed, their labels, and the class maps of the picture's size that PyTorch makes of them."""
    for f in (os.path.join(folder, "images"), os.path.join(folder, "labels"), answers):
        os.makedirs(f, exist_ok=True)
    for i in wanted:
        s, name = scenes.Scene(scenes.SPLITS["test"][0] + i), "%04d" % i
        with open(os.path.join(folder, "images", name + ".jpg"), "wb") as f:
            f.write(scenes.jpeg(s.image, 80))
        with Image.open(os.path.join(folder, "images", name + ".jpg")) as picture:
            x = torch.from_numpy(np.asarray(picture).transpose(2, 0, 1)[None].copy())
        answer = F.interpolate(maps(model, x), size=x.shape[2:], mode="bilinear", align_corners=False)[0].argmax(0)
        answer = Image.fromarray(answer.to(torch.uint8).numpy())
        for path, m in ((os.path.join(folder, "labels"), s.label), (answers, answer)):
            m.putpalette(scenes.palette())
            m.save(os.path.join(path, name + ".png"), optimize=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--work", required=True, help="folder for scenes, checkpoint, log and export")
    p.add_argument("--scenes", type=int, default=600)
    p.add_argument("--steps", type=int, default=1600)
    p.add_argument("--stop", type=int, default=1 << 30, metavar="STEP", help="end there, with the schedule unfinished")
    p.add_argument("--minutes", type=float, default=1e9, help="on the clock: if the steps take longer, fewer of them")
    p.add_argument("--small", type=float, default=0.94, help="part of the run with pieces of 128x192")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--draw", action="store_true", help="draw the scenes only")
    p.add_argument("--evaluate", metavar="MODEL", help="no training: PyTorch's scores of this folder on the test split")
    p.add_argument("--samples", metavar="DIR", help="with --evaluate: write pictures and labels of the test split instead")
    p.add_argument("--answers", metavar="DIR", help="with --samples: where PyTorch's class maps of them go")
    p.add_argument("--which", type=lambda s: [int(v) for v in s.split(",")], default=[1, 5, 16, 18], help="scenes for --samples")
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    os.makedirs(o.work, exist_ok=True)
    if o.samples and not (o.evaluate and o.answers):
        p.error("--samples needs --evaluate and --answers")
    if o.samples:
        samples(load_export(o.evaluate), o.samples, o.answers, o.which)
    elif o.evaluate:
        pictures, labels = drawn("test", o.work)
        scored = evaluate(load_export(o.evaluate), pictures, labels)
        print(json.dumps({"constant": constant(labels), "pytorch": scored}, indent=1))
    elif o.draw:
        with multiprocessing.Pool(o.threads) as pool:
            pool.starmap(draw, parts("train", o.work, o.scenes) + parts("val", o.work), chunksize=1)
    else:
        train(o)


if __name__ == "__main__":
    main()
