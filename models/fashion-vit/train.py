#!/usr/bin/env python3
"""Trains the small Vision Transformer shipped in this folder on Fashion-MNIST.

The model is a plain pre-norm ViT (exact GELU, class token, learned position
embeddings). It is written out as a Hugging Face folder, with the names and
shapes of ViTForImageClassification: config.json, preprocessor_config.json and
model.safetensors.

    python3 train.py --work WORK --out WORK/export

Needs python3, torch and numpy (Pillow for --samples). The four idx .gz files
of Fashion-MNIST are read from --data; the default is where the Debian package
dataset-fashion-mnist puts them. A run that was interrupted goes on from its
last finished epoch when started again with the same --work folder.

Images are single-channel, so training sees one channel. The exported patch
projection has three: channel c holds luma[c] * weight, which gives an RGB
picture the same answer as its grey version (ITU-R 601 luma, Pillow's "L").
"""
import argparse
import gzip
import json
import math
import os
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
           "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
IMAGE, PATCH = 28, 4
GRID = IMAGE // PATCH
LUMA = (0.299, 0.587, 0.114)
MEAN, STD = 0.5, 0.5
EPS = 1e-12


# ------------------------------------------------------------------- data

def read_idx(path):
    with gzip.open(path, "rb") as f:
        data = f.read()
    ndim = data[3]
    shape = struct.unpack(">%dI" % ndim, data[4:4 + 4 * ndim])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape).copy()


def load(folder, split):
    images = read_idx(os.path.join(folder, split + "-images-idx3-ubyte.gz"))
    labels = read_idx(os.path.join(folder, split + "-labels-idx1-ubyte.gz"))
    return torch.from_numpy(images), torch.from_numpy(labels).long()


def patches(x):
    """uint8 [B,28,28] -> normalised float32 [B,49,16], rows of the patch first."""
    b = x.shape[0]
    x = (x.float() / 255 - MEAN) / STD
    return x.view(b, GRID, PATCH, GRID, PATCH).permute(0, 1, 3, 2, 4).reshape(b, GRID * GRID, PATCH * PATCH)


def augment(padded, idx, shift, erase, gen):
    """Random shift (crop of a padded picture), horizontal flip, random erasing."""
    b = len(idx)
    r = torch.arange(IMAGE)
    corner = (padded.shape[1] - IMAGE) // 2 - shift
    oy = torch.randint(0, 2 * shift + 1, (b, 1), generator=gen) + corner
    ox = torch.randint(0, 2 * shift + 1, (b, 1), generator=gen) + corner
    flip = torch.rand(b, 1, generator=gen) < 0.5
    cols = torch.where(flip, IMAGE - 1 - r, r.expand(b, IMAGE)) + ox
    rows = r + oy
    x = padded[idx[:, None, None], rows[:, :, None], cols[:, None, :]]
    if erase > 0:
        size = torch.randint(4, 13, (b, 2), generator=gen)
        top = (torch.rand(b, 2, generator=gen) * (IMAGE + 1 - size)).long()
        on = torch.rand(b, 1, generator=gen) < erase
        inside_r = (r >= top[:, :1]) & (r < (top + size)[:, :1]) & on
        inside_c = (r >= top[:, 1:]) & (r < (top + size)[:, 1:])
        noise = torch.randint(0, 256, x.shape, generator=gen, dtype=torch.uint8)
        x = torch.where(inside_r[:, :, None] & inside_c[:, None, :], noise, x)
    return x


# ------------------------------------------------------------------ model

def linear(x, layer, dtype):
    if dtype == torch.float32:
        return F.linear(x, layer.weight, layer.bias)
    return F.linear(x.to(dtype), layer.weight.to(dtype), layer.bias.to(dtype))


class Block(nn.Module):
    def __init__(self, dim, heads, mlp):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.fc1 = nn.Linear(dim, mlp)
        self.fc2 = nn.Linear(mlp, dim)

    def forward(self, x, dtype, keep, last):
        """keep: None, or the [2,B] factors of stochastic depth."""
        b, n, d = x.shape
        h = d // self.heads
        y = F.layer_norm(x, (d,), self.norm1.weight, self.norm1.bias, EPS)
        qkv = linear(y, self.qkv, dtype).view(b, n, 3, self.heads, h).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if last:  # only the class token is read after this layer
            x, q, n = x[:, :1], q[:, :, :1], 1
        q, k, v = (t.reshape(b * self.heads, -1, h) for t in (q, k, v))
        a = torch.bmm(q * h ** -0.5, k.transpose(1, 2)).float().softmax(-1)
        y = torch.bmm(a.to(dtype), v).view(b, self.heads, n, h).transpose(1, 2).reshape(b, n, d)
        y = linear(y, self.proj, dtype).float()
        x = x + (y if keep is None else y * keep[0].view(b, 1, 1))
        y = F.layer_norm(x, (d,), self.norm2.weight, self.norm2.bias, EPS)
        y = F.gelu(linear(y, self.fc1, dtype).float())
        y = linear(y, self.fc2, dtype).float()
        return x + (y if keep is None else y * keep[1].view(b, 1, 1))


class ViT(nn.Module):
    def __init__(self, dim, depth, heads, mlp):
        super().__init__()
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.zeros(1, GRID * GRID + 1, dim))
        self.embed = nn.Linear(PATCH * PATCH, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, mlp) for i in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.head = nn.Linear(dim, len(CLASSES))
        nn.init.trunc_normal_(self.cls, std=0.02)
        nn.init.trunc_normal_(self.pos, std=0.02)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, x, dtype, keep=None):
        x = linear(x, self.embed, dtype).float()
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        for i, block in enumerate(self.blocks):
            x = block(x, dtype, None if keep is None else keep[i], i + 1 == len(self.blocks))
        return F.linear(self.norm(x[:, 0]), self.head.weight, self.head.bias)


# ----------------------------------------------------------------- export

def hf_tensors(state, depth):
    """The state dict under the names of ViTForImageClassification."""
    out = {}

    def put(name, t):
        out[name] = np.ascontiguousarray(t.detach().numpy(), dtype="<f4")

    put("vit.embeddings.cls_token", state["cls"])
    put("vit.embeddings.position_embeddings", state["pos"])
    w = state["embed.weight"].view(-1, 1, PATCH, PATCH)
    put("vit.embeddings.patch_embeddings.projection.weight", w * torch.tensor(LUMA).view(1, 3, 1, 1))
    put("vit.embeddings.patch_embeddings.projection.bias", state["embed.bias"])
    for i in range(depth):
        src, dst = "blocks.%d." % i, "vit.encoder.layer.%d." % i
        for kind in ("weight", "bias"):
            put(dst + "layernorm_before." + kind, state[src + "norm1." + kind])
            parts = state[src + "qkv." + kind].chunk(3, 0)
            for name, t in zip(("query", "key", "value"), parts):
                put(dst + "attention.attention.%s.%s" % (name, kind), t)
            put(dst + "attention.output.dense." + kind, state[src + "proj." + kind])
            put(dst + "layernorm_after." + kind, state[src + "norm2." + kind])
            put(dst + "intermediate.dense." + kind, state[src + "fc1." + kind])
            put(dst + "output.dense." + kind, state[src + "fc2." + kind])
    for kind in ("weight", "bias"):
        put("vit.layernorm." + kind, state["norm." + kind])
        put("classifier." + kind, state["head." + kind])
    return out


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        t = tensors[name]
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [offset, offset + t.nbytes]}
        offset += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for name in sorted(tensors):
            f.write(tensors[name].tobytes())
    os.replace(path + ".tmp", path)


def write_json(path, value):
    with open(path + ".tmp", "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")
    os.replace(path + ".tmp", path)


def export(folder, state, o):
    os.makedirs(folder, exist_ok=True)
    write_json(os.path.join(folder, "config.json"), {
        "architectures": ["ViTForImageClassification"],
        "attention_probs_dropout_prob": 0.0,
        "encoder_stride": PATCH,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "hidden_size": o.dim,
        "id2label": {str(i): c for i, c in enumerate(CLASSES)},
        "image_size": IMAGE,
        "initializer_range": 0.02,
        "intermediate_size": o.mlp,
        "label2id": {c: i for i, c in enumerate(CLASSES)},
        "layer_norm_eps": EPS,
        "model_type": "vit",
        "num_attention_heads": o.heads,
        "num_channels": 3,
        "num_hidden_layers": o.depth,
        "patch_size": PATCH,
        "qkv_bias": True,
        "torch_dtype": "float32",
    })
    write_json(os.path.join(folder, "preprocessor_config.json"), {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [MEAN] * 3,
        "image_processor_type": "ViTImageProcessor",
        "image_std": [STD] * 3,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": IMAGE, "width": IMAGE},
    })
    write_safetensors(os.path.join(folder, "model.safetensors"), hf_tensors(state, o.depth))


def write_samples(folder, data):
    """The first test picture of every class, as it is in the data set."""
    from PIL import Image
    images, labels = load(data, "t10k")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "labels.csv"), "w") as f:
        f.write("file,label\n")
        for c, name in enumerate(CLASSES):
            i = int((labels == c).nonzero()[0])
            file = "%02d_%s.png" % (c, name.lower().replace("/", "-").replace(" ", "-"))
            Image.fromarray(images[i].numpy()).save(os.path.join(folder, file), optimize=True)
            f.write("%s,%s\n" % (file, name))


# --------------------------------------------------------------- training

@torch.no_grad()
def evaluate(model, images, labels, dtype, batch=250):
    right, loss = 0, 0.0
    for i in range(0, len(images), batch):
        y = model(patches(images[i:i + batch]), dtype)
        right += int((y.argmax(1) == labels[i:i + batch]).sum())
        loss += float(F.cross_entropy(y, labels[i:i + batch], reduction="sum"))
    return 100.0 * right / len(images), loss / len(images)


def drop_path(depth, batch, rate, gen):
    """[depth,2,batch]: 0, or 1/keep so that the mean stays; the rate grows with depth."""
    keep = 1 - rate * torch.arange(depth).view(-1, 1, 1) / max(1, depth - 1)
    return (torch.rand(depth, 2, batch, generator=gen) < keep).float() / keep


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of the idx .gz files")
    p.add_argument("--work", default="fashion-work", help="folder for the checkpoint and the log")
    p.add_argument("--out", help="where the Hugging Face folder is written (default: WORK/export)")
    p.add_argument("--stop", type=int, metavar="EPOCH", help="stop after this epoch, as if interrupted")
    p.add_argument("--samples", metavar="FOLDER", help="only write the sample pictures there")
    p.add_argument("--epochs", type=int, default=28)
    p.add_argument("--warmup", type=float, default=2, help="epochs of linear warmup")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--min-lr", type=float, default=1e-6)
    p.add_argument("--weight-decay", type=float, default=0.05)
    p.add_argument("--smoothing", type=float, default=0.1)
    p.add_argument("--shift", type=int, default=2, help="random shift, pixels")
    p.add_argument("--erase", type=float, default=0.15, help="chance of random erasing")
    p.add_argument("--drop-path", type=float, default=0.05, help="stochastic depth of the last layer")
    p.add_argument("--calm", type=int, metavar="EPOCH", default=0,
                   help="from this epoch on: shifts of one pixel, no erasing, no stochastic depth")
    p.add_argument("--ema", type=float, default=0.999)
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--depth", type=int, default=6)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--mlp", type=int, default=256)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--pieces", type=int, default=2, help="of a batch, shared by the threads")
    p.add_argument("--precision", choices=("bf16", "fp32"), default="bf16",
                   help="of matrix products in training; weights and sums stay fp32")
    p.add_argument("--measure", type=int, metavar="N", help="time N steps and stop")
    o = p.parse_args()
    if o.samples:
        return write_samples(o.samples, o.data)

    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(o.threads, initializer=lambda: torch.set_num_threads(1))
    torch.manual_seed(o.seed)
    dtype = torch.bfloat16 if o.precision == "bf16" else torch.float32
    os.makedirs(o.work, exist_ok=True)
    out = o.out or os.path.join(o.work, "export")
    log_path = os.path.join(o.work, "log.txt")
    checkpoint = os.path.join(o.work, "checkpoint.pt")

    def log(text):
        print(text, flush=True)
        with open(log_path, "a") as f:
            f.write(text + "\n")

    images, labels = load(o.data, "train")
    test_images, test_labels = load(o.data, "t10k")
    padded = F.pad(images, (o.shift,) * 4)
    steps = len(images) // o.batch

    def build():
        return ViT(o.dim, o.depth, o.heads, o.mlp)

    model, ema = build(), build()
    ema.load_state_dict(model.state_dict())
    names = [n for n, _ in model.named_parameters()]
    params = [q for _, q in model.named_parameters()]
    averages = [q for _, q in ema.named_parameters()]
    for q in averages:
        q.requires_grad_(False)
    decays = [q.dim() == 2 for q in params]
    optimizer = torch.optim.AdamW([
        {"params": [q for q, d in zip(params, decays) if d], "weight_decay": o.weight_decay},
        {"params": [q for q, d in zip(params, decays) if not d], "weight_decay": 0.0},
    ], lr=o.lr, betas=(0.9, 0.999), foreach=True)
    gen = torch.Generator().manual_seed(o.seed)
    step, first, seconds = 0, 1, 0.0

    if os.path.exists(checkpoint) and not o.measure:
        c = torch.load(checkpoint)
        model.load_state_dict(c["model"])
        ema.load_state_dict(c["ema"])
        optimizer.load_state_dict(c["optimizer"])
        gen.set_state(c["gen"])
        step, first, seconds = c["step"], c["epoch"] + 1, c["seconds"]
        print("resumed after epoch %d" % c["epoch"], flush=True)
    elif not o.measure:
        log("# %d parameters, %s" % (sum(q.numel() for q in params), vars(o)))
        log("epoch  lr  loss  test_top1  ema_test_top1  ema_test_loss  minutes")

    def gradients(x, y, keep):
        """Loss and gradients of one piece of the batch."""
        loss = F.cross_entropy(model(x, dtype, keep), y, label_smoothing=o.smoothing, reduction="sum") / o.batch
        return float(loss.detach()), torch.autograd.grad(loss, params)

    total, warm = o.epochs * steps, o.warmup * steps
    for epoch in range(first, o.epochs + 1):
        start, sum_loss = time.time(), 0.0
        calm = o.calm and epoch >= o.calm
        shift, erase, path = (min(o.shift, 1), 0, 0) if calm else (o.shift, o.erase, o.drop_path)
        order = torch.randperm(len(images), generator=gen)
        for i in range(steps):
            if step < warm:
                lr = o.lr * (step + 1) / warm
            else:
                lr = o.min_lr + (o.lr - o.min_lr) * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
            for g in optimizer.param_groups:
                g["lr"] = lr
            idx = order[i * o.batch:(i + 1) * o.batch]
            x = patches(augment(padded, idx, shift, erase, gen))
            keep = drop_path(o.depth, o.batch, path, gen)
            parts = list(pool.map(gradients, x.chunk(o.pieces), labels[idx].chunk(o.pieces),
                                  keep.chunk(o.pieces, 2)))
            for q, *g in zip(params, *(part[1] for part in parts)):
                q.grad = sum(g[1:], g[0])
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            step += 1
            with torch.no_grad():
                d = min(o.ema, (1 + step) / (10 + step))
                torch._foreach_mul_(averages, d)
                torch._foreach_add_(averages, [q.detach() for q in params], alpha=1 - d)
            sum_loss += sum(part[0] for part in parts)
            if o.measure and step >= o.measure:
                s = (time.time() - start) / step
                print("%d parameters, %.1f ms a step, %.0f s an epoch, loss %.3f"
                      % (sum(q.numel() for q in params), s * 1e3, s * steps, sum_loss / step))
                return
        (top1, _), (ema_top1, ema_loss) = pool.map(
            lambda m: evaluate(m, test_images, test_labels, dtype), (model, ema))
        seconds += time.time() - start
        log("%d  %.2e  %.4f  %.2f  %.2f  %.4f  %.1f"
            % (epoch, lr, sum_loss / steps, top1, ema_top1, ema_loss, seconds / 60))
        torch.save({"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(),
                    "gen": gen.get_state(), "step": step, "epoch": epoch,
                    "seconds": seconds}, checkpoint + ".tmp")
        os.replace(checkpoint + ".tmp", checkpoint)
        export(out, ema.state_dict(), o)
        if epoch == o.stop:
            return

    top1, loss = evaluate(ema, test_images, test_labels, torch.float32)
    log("# final: average of the weights after the last epoch, fp32: test top-1 %.2f, test loss %.4f" % (top1, loss))
    export(out, ema.state_dict(), o)


if __name__ == "__main__":
    main()
