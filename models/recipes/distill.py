#!/usr/bin/env python3
"""Trains a small Vision Transformer that learns from a larger model: whatever Vireo opens is the teacher, a config.json is the
student, and what comes out is a Hugging Face folder that Vireo opens.

    python3 distill.py --student models/fashion-vit-small/config.json --work WORK/alone
    python3 distill.py --student models/fashion-vit-small/config.json --work WORK/distilled \\
        --teacher models/fashion-vit --libvireo build-so/lib/libvireo.so --loss ce=0.1,kl=0.9 --temperature 2

--loss is a sum of terms, each with its weight:

    ce        cross entropy with the labels (--smoothing); the default without a teacher, and then the only one
    kl        T^2 KL(softmax(teacher / T) || softmax(student / T)), T = --temperature (Hinton, Vinyals, Dean 2015)
    hard      cross entropy with the class that the teacher chooses (DeiT: Touvron et al. 2021)
    mse       mean squared difference of the logits (Ba, Caruana 2014)
    features  mean squared difference of the pooled features, the student's behind a linear projection that learns with it
              where the widths differ, the teacher's over their standard deviation (FitNets: Romero et al. 2015)

The student is a ViTForImageClassification or a DeiTForImageClassificationWithTeacher. The latter has a distillation token with
a head of its own: kl, hard and mse are then that head's, ce is the class token's, features are the mean of both tokens, and the
answer is the mean of both heads, as Vireo and Transformers have it. So `--loss ce=0.5,hard=0.5` is DeiT's hard distillation.

The teacher runs in Vireo through its C ABI (libvireo.py says how that library is built), so it may be of any family, compressed
or not, and have another input size and preparation than the student: it is shown the student's pictures as 8-bit RGB. It is
asked once for each of --views versions of a picture (a shift and perhaps a flip, drawn from --view-seed) and its answers are kept
(--answers), as in TinyViT (Wu et al. 2022) and FKD (Shen, Xing 2021); a step then costs the same with a teacher as without, and
runs of several seeds share the answers. A student without a teacher sees the same versions.

--data is the folder of Fashion-MNIST's four idx .gz files (the default: Debian's dataset-fashion-mnist), or one with train/CLASS/
and test/CLASS/ of pictures, resized to the student's input. Pictures are held in memory. --hold N takes the last N training
pictures out to choose settings by; the test pictures are looked at once, after the last step.

WORK/export is the model (with --libvireo Vireo's answers from it are held against PyTorch's), WORK/log.jsonl has a line for each epoch, WORK/checkpoint.pt is where an interrupted run goes on when it
is started again with the same arguments. A run is repeatable from --seed with the same threads on the same kind of CPU. Where
the CPU multiplies bfloat16 (AVX512_BF16 or AMX) the matrix products of training are bfloat16, weights and sums float32; elsewhere,
or with --fp32, all is float32. The test is in float32.

Needs torch, numpy and Pillow (for folders of pictures), and a fast BLAS: Debian's torch calls the system's libblas.so.3, for which
libopenblas0 is several times faster than the reference (libblas3).
"""
import argparse
import gzip
import hashlib
import json
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "..", "..", "tests", "oracle"))
import cases
from common import Progress, multiplies_bfloat16

FASHION = "/usr/share/datasets/fashion-mnist"
FASHION_CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
LUMA = (0.299, 0.587, 0.114)
TERMS = ("ce", "kl", "hard", "mse", "features")


# ------------------------------------------------------------------- data

def read_idx(path):
    with gzip.open(path, "rb") as f:
        data = f.read()
    dims = data[3]
    shape = np.frombuffer(data, ">u4", dims, 4)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape).copy())


def load(folder, split, side, classes):
    """uint8 pictures [N,side,side,1 or 3] and their classes."""
    if os.path.exists(os.path.join(folder, "train-images-idx3-ubyte.gz")):
        name = os.path.join(folder, {"train": "train", "test": "t10k"}[split])
        pictures = read_idx(name + "-images-idx3-ubyte.gz")[..., None]
        if pictures.shape[1:3] != (side, side):
            sys.exit("distill.py: the student's image_size is %d, these pictures are of %d" % (side, pictures.shape[1]))
        return pictures, read_idx(name + "-labels-idx1-ubyte.gz").long()
    from PIL import Image
    pictures, labels = [], []
    for label, c in enumerate(classes):
        here = os.path.join(folder, split, c)
        if not os.path.isdir(here):
            sys.exit("distill.py: there is no folder '%s' for class '%s' of the student's id2label" % (here, c))
        for f in sorted(os.listdir(here)):
            if f.lower().endswith((".png", ".jpg", ".jpeg")):
                with Image.open(os.path.join(here, f)) as image:
                    pictures.append(np.asarray(image.convert("RGB").resize((side, side), Image.BICUBIC)))
                labels.append(label)
    if not pictures:
        sys.exit("distill.py: no pictures in '%s'" % os.path.join(folder, split))
    return torch.from_numpy(np.stack(pictures)), torch.tensor(labels)


def draw_views(views, count, shift, seed):
    """[views,count,3]: rows and columns of the shift (0 to 2 * shift) and whether the picture is flipped."""
    gen = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, n, (views, count), generator=gen) for n in (2 * shift + 1, 2 * shift + 1, 2)], 2)


def see(padded, idx, view, side):
    """Pictures idx of padded [N,side + 2 * shift,...] as view [B,3] says: uint8 [B,side,side,channels]."""
    r = torch.arange(side)
    cols = torch.where(view[:, 2:] == 1, side - 1 - r, r.expand(len(idx), side)) + view[:, 1:2]
    rows = r + view[:, :1]
    return padded[idx[:, None, None], rows[:, :, None], cols[:, None, :]]


# ------------------------------------------------------------------- the student

class Student(nn.Module):
    """ViTForImageClassification or DeiTForImageClassificationWithTeacher, with the names of their tensors."""

    def __init__(self, c):
        super().__init__()
        wrong = [k for k, v in (("model_type", c.get("model_type") in ("vit", "deit")), ("hidden_act", c.get("hidden_act", "gelu") == "gelu"),
                                ("image_size", isinstance(c.get("image_size"), int) and c["image_size"] % c["patch_size"] == 0),
                                ("num_attention_heads", c["hidden_size"] % c["num_attention_heads"] == 0),
                                ("num_channels", c.get("num_channels", 3) == 3), ("id2label", bool(c.get("id2label")))) if not v]
        if wrong:
            sys.exit("distill.py: the student is a ViT or DeiT with GELU, square inputs, three channels and id2label; not so: " + ", ".join(wrong))
        dim, mlp, patch = c["hidden_size"], c["intermediate_size"], c["patch_size"]
        self.kind, self.patch, self.side, self.heads = c["model_type"], patch, c["image_size"], c["num_attention_heads"]
        self.eps, self.depth, classes = c.get("layer_norm_eps", 1e-12), c["num_hidden_layers"], len(c["id2label"])
        self.token = c["architectures"] == ["DeiTForImageClassificationWithTeacher"]
        self.front = 1 + self.token
        bias = c.get("qkv_bias", True)

        def linear(name, inputs, outputs, bias=True):
            weight = torch.empty(outputs, inputs)
            nn.init.xavier_uniform_(weight)
            self.put(name + ".weight", weight)
            if bias:
                self.put(name + ".bias", torch.zeros(outputs))

        def norm(name):
            self.put(name + ".weight", torch.ones(dim))
            self.put(name + ".bias", torch.zeros(dim))

        def rows(name, n):
            self.put(name, nn.init.trunc_normal_(torch.empty(1, n, dim), std=0.02))

        e = self.kind + ".embeddings."
        rows(e + "cls_token", 1)
        if self.token:
            rows(e + "distillation_token", 1)
        rows(e + "position_embeddings", self.front + (self.side // patch) ** 2)
        linear(e + "patch_embeddings.projection", 3 * patch * patch, dim)
        self.put(e + "patch_embeddings.projection.weight", self.get(e + "patch_embeddings.projection.weight").data.view(dim, 3, patch, patch))
        for i in range(self.depth):
            b = "%s.encoder.layer.%d." % (self.kind, i)
            norm(b + "layernorm_before")
            for which in ("query", "key", "value"):
                linear(b + "attention.attention." + which, dim, dim, bias)
            linear(b + "attention.output.dense", dim, dim)
            norm(b + "layernorm_after")
            linear(b + "intermediate.dense", dim, mlp)
            linear(b + "output.dense", mlp, dim)
        norm(self.kind + ".layernorm")
        for head in ("cls_classifier", "distillation_classifier") if self.token else ("classifier",):
            linear(head, dim, classes)

    def put(self, name, value):
        """Modules of PyTorch have no dots in the names of their parameters: they are kept with colons."""
        self.register_parameter(name.replace(".", ":"), nn.Parameter(value))

    def get(self, name):
        return self._parameters.get(name.replace(".", ":"))

    def tensors(self):
        return {n.replace(":", "."): p.detach() for n, p in self.named_parameters()}

    def linear(self, x, dtype, *names):
        """Several linears of the same rows side by side."""
        w = torch.cat([self.get(n + ".weight").flatten(1) for n in names]) if len(names) > 1 else self.get(names[0] + ".weight").flatten(1)
        b = [self.get(n + ".bias") for n in names]
        b = None if b[0] is None else torch.cat(b).to(dtype)
        return F.linear(x.to(dtype), w.to(dtype), b)

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.get(name + ".weight"), self.get(name + ".bias"), self.eps)

    def forward(self, pictures, dtype=torch.float32):
        """uint8 [B,side,side,1 or 3] -> logits of the class token, those that learn from the teacher, the pooled features. Pictures
        are prepared as preprocessor_config.json says: mean and deviation 0.5."""
        n, p, g = len(pictures), self.patch, self.side // self.patch
        x = (pictures.float() / 127.5 - 1).expand(-1, -1, -1, 3).view(n, g, p, g, p, 3).permute(0, 1, 3, 5, 2, 4).reshape(n, g * g, -1)
        e = self.kind + ".embeddings."
        x = self.linear(x, dtype, e + "patch_embeddings.projection").float()
        front = [self.get(e + t) for t in (["cls_token", "distillation_token"] if self.token else ["cls_token"])]
        x = torch.cat([t.expand(n, -1, -1) for t in front] + [x], 1) + self.get(e + "position_embeddings")
        for i in range(self.depth):
            x = self.block(x, dtype, "%s.encoder.layer.%d." % (self.kind, i), i + 1 == self.depth)
        x = self.norm(x, self.kind + ".layernorm")
        heads = ("cls_classifier", "distillation_classifier") if self.token else ("classifier",)
        z = [self.linear(x[:, i], torch.float32, h) for i, h in enumerate(heads)]
        return z[0], z[-1], x[:, :self.front].mean(1)

    def block(self, x, dtype, b, last):
        n, t, d = x.shape
        a = b + "attention."
        y = self.linear(self.norm(x, b + "layernorm_before"), dtype, *(a + "attention." + w for w in ("query", "key", "value")))
        q, k, v = y.view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if last:  # nothing behind it reads the patches
            x, q, t = x[:, :self.front], q[:, :, :self.front], self.front
        q, k, v = (m.reshape(n * self.heads, -1, d // self.heads) for m in (q, k, v))
        s = torch.bmm(q * (d // self.heads) ** -0.5, k.transpose(1, 2)).float().softmax(-1)
        y = torch.bmm(s.to(dtype), v).view(n, self.heads, t, -1).transpose(1, 2).reshape(n, t, d)
        x = x + self.linear(y, dtype, a + "output.dense").float()
        y = F.gelu(self.linear(self.norm(x, b + "layernorm_after"), dtype, b + "intermediate.dense").float())
        return x + self.linear(y, dtype, b + "output.dense").float()


def export(folder, config, student, grey, half):
    """A Hugging Face folder. A student of grey pictures, whose channels were equal, is made to judge a coloured one by its luma: the
    weights of a patch are summed over the channels and handed out again by ITU-R 601, which says the same of grey."""
    os.makedirs(folder, exist_ok=True)
    tensors = student.tensors()
    if grey:
        name = student.kind + ".embeddings.patch_embeddings.projection.weight"
        tensors[name] = tensors[name].sum(1, keepdim=True) * torch.tensor(LUMA).view(1, 3, 1, 1)
    kind = np.float16 if half else np.float32
    arrays = {n: np.ascontiguousarray(t.numpy(), dtype=kind) for n, t in tensors.items()}
    bad = [n for n, t in arrays.items() if not np.isfinite(t).all()]
    if bad:
        sys.exit("distill.py: '%s' is not finite%s" % (bad[0], " in half precision" if half else ""))
    written = dict(config, torch_dtype="float16" if half else "float32")
    processor = {"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
                 "image_processor_type": "DeiTImageProcessor" if student.kind == "deit" else "ViTImageProcessor", "image_std": [0.5] * 3,
                 "resample": 2, "rescale_factor": 1 / 255, "size": {"height": student.side, "width": student.side}}
    if student.kind == "deit":
        processor["do_center_crop"] = False
    for file, write in (("config.json", lambda p: cases.write_json(p, written)),
                        ("preprocessor_config.json", lambda p: cases.write_json(p, processor)),
                        ("model.safetensors", lambda p: cases.write_safetensors(p, arrays))):
        path = os.path.join(folder, file)
        write(path + ".tmp")
        os.replace(path + ".tmp", path)


# ------------------------------------------------------------------- the teacher

def fingerprint(o, count, classes):
    """What the kept answers depend on."""
    weights = hashlib.sha256()
    for f in sorted(os.listdir(o.teacher)):
        if f.endswith((".json", ".safetensors")):
            with open(os.path.join(o.teacher, f), "rb") as file:
                weights.update(f.encode() + hashlib.sha256(file.read()).digest())
    return {"teacher": weights.hexdigest(), "precision": o.teacher_precision, "pictures": count, "classes": classes, "views": o.views,
            "shift": o.shift, "view_seed": o.view_seed, "side": o.side, "data": os.path.abspath(o.data)}


def answers(o, what, padded, views, labels):
    """The teacher's logits or features of every version of every picture, [views,count,width] on disk; what an interrupted run has
    of them is kept."""
    import libvireo
    folder = o.answers or os.path.join(o.work, "answers")
    os.makedirs(folder, exist_ok=True)
    path, state = os.path.join(folder, what + ".npy"), os.path.join(folder, what + ".json")
    count, batch = len(padded), 32
    key, done = fingerprint(o, count, labels), 0
    if os.path.exists(state):
        with open(state) as f:
            known = json.load(f)
        done = known.pop("done")
        if known != key:
            sys.exit("distill.py: '%s' holds answers of another teacher, of other pictures or versions; give another --answers" % folder)
    if done == o.views * count:
        return torch.from_numpy(np.load(path))
    head = libvireo.LOGITS if what == "logits" else libvireo.FEATURES
    teacher = libvireo.Session(o.libvireo, o.teacher, head, "cpu", o.teacher_precision, batch, o.threads)
    if what == "logits" and teacher.labels != labels:
        sys.exit("distill.py: teacher and student have different classes: %s, %s" % (teacher.labels[:12], labels[:12]))
    kept = np.load(path, mmap_mode="r+") if done else None
    bar, saved, begun = Progress("teacher's " + what), time.time(), done

    def save():
        kept.flush()
        cases.write_json(state + ".tmp", dict(key, done=done))
        os.replace(state + ".tmp", state)

    while done < o.views * count:
        view, first = divmod(done, count)
        idx = torch.arange(first, min(first + batch, count))
        shown = see(padded, idx, views[view, idx], o.side)
        y = teacher(shown.expand(-1, -1, -1, 3).numpy())
        if kept is None:
            kept = np.lib.format.open_memmap(path, "w+", np.float32, (o.views, count, y.shape[1]))
        kept[view, first:first + len(idx)] = y
        done += len(idx)
        bar((done - begun) / (o.views * count - begun), "picture %d, version %d of %d" % (first, view + 1, o.views))
        if time.time() - saved > 20:
            saved = time.time()
            save()
    save()
    teacher.close()
    return torch.from_numpy(np.array(kept))


def check_export(o, folder, student, pictures):
    """Vireo's answers from the folder beside the student's own: the largest difference, over the largest logit."""
    import libvireo
    vireo = libvireo.Session(o.libvireo, folder, batch=len(pictures), threads=o.threads)
    theirs = torch.from_numpy(vireo(pictures.expand(-1, -1, -1, 3).numpy()))
    vireo.close()
    with torch.no_grad():
        z, taught, _ = student(pictures)
    ours = (z + taught) / 2
    return float((ours - theirs).abs().max() / ours.abs().max())


# ------------------------------------------------------------------- training

def parse_loss(text):
    terms = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            terms[name] = float(weight or 1)
        except ValueError:
            terms[name] = -1
        if name not in TERMS or not 0 < terms[name] < math.inf:
            raise argparse.ArgumentTypeError("'%s' is none of %s, with =WEIGHT above 0" % (part, ", ".join(TERMS)))
    return terms


def loss_of(o, outputs, labels, logits, features, projection):
    """The weighted sum of --loss's terms. logits and features are the teacher's; projection is None where the widths are the same."""
    z, taught, pooled = outputs
    total = 0.0
    for term, weight in o.loss.items():
        if term == "ce":
            value = F.cross_entropy(z, labels, label_smoothing=o.smoothing)
        elif term == "kl":
            t = F.log_softmax(logits / o.temperature, 1)
            s = F.log_softmax(taught / o.temperature, 1)
            value = o.temperature ** 2 * (t.exp() * (t - s)).sum(1).mean()
        elif term == "hard":
            value = F.cross_entropy(taught, logits.argmax(1))
        elif term == "mse":
            value = F.mse_loss(taught, logits)
        else:
            value = F.mse_loss(pooled if projection is None else projection(pooled), features)
        total = total + weight * value
    return total


@torch.no_grad()
def accuracy(student, pictures, labels, batch=250):
    """Top-1 in percent, float32."""
    right = 0
    for i in range(0, len(pictures), batch):
        z, taught, _ = student(pictures[i:i + batch])
        right += int((((z + taught) / 2).argmax(1) == labels[i:i + batch]).sum())
    return 100.0 * right / len(pictures)


def train(o):
    with open(o.student) as f:
        config = json.load(f)
    torch.manual_seed(o.seed)
    student = Student(config)
    o.side = student.side
    classes = [config["id2label"][str(i)] for i in range(len(config["id2label"]))]
    pictures, labels = load(o.data, "train", o.side, classes)
    grey = pictures.shape[3] == 1
    os.makedirs(o.work, exist_ok=True)
    padded = F.pad(pictures, (0, 0) + (o.shift,) * 4)
    views = draw_views(o.views, len(pictures), o.shift, o.view_seed)
    needs = {"kl": "logits", "hard": "logits", "mse": "logits", "features": "features"}
    needs = sorted({needs[t] for t in o.loss if t != "ce"})
    told = {what: answers(o, what, padded, views, classes) for what in needs}
    projection = None
    if "features" in told:
        told["features"] /= told["features"].std()
        width = told["features"].shape[2]
        if width != config["hidden_size"]:
            projection = nn.Linear(config["hidden_size"], width)
    used = len(pictures) - o.hold
    steps = used // o.batch
    total = o.epochs * steps
    if not steps:
        sys.exit("distill.py: %d pictures are no batch of %d" % (used, o.batch))
    params = list(student.named_parameters()) + (list(projection.named_parameters()) if projection else [])
    decay = [p for n, p in params if p.dim() > 1 and not n.endswith(("token", "position_embeddings"))]
    ids = {id(p) for p in decay}
    params = [p for _, p in params]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": o.weight_decay},
                                   {"params": [p for p in params if id(p) not in ids], "weight_decay": 0.0}], lr=o.lr, foreach=True)
    gen = torch.Generator().manual_seed(o.seed)
    dtype = torch.bfloat16 if o.half else torch.float32
    checkpoint, step, spent = os.path.join(o.work, "checkpoint.pt"), 0, 0.0
    # What a run that goes on must have in common with its beginning.
    settings = {k: getattr(o, k) for k in ("loss", "temperature", "smoothing", "epochs", "warmup", "batch", "lr", "weight_decay", "views", "view_seed",
                                           "shift", "hold", "seed", "half")}
    settings["student"] = {k: v for k, v in config.items() if k != "torch_dtype"}
    order, done_losses = None, []

    def log(values):
        with open(os.path.join(o.work, "log.jsonl"), "a") as f:
            f.write(json.dumps(values) + "\n")

    def save():
        torch.save({"settings": settings, "student": student.state_dict(), "projection": projection and projection.state_dict(),
                    "optimizer": optimizer.state_dict(), "gen": gen.get_state(), "order": order, "losses": done_losses, "step": step,
                    "spent": time.time() - begin}, checkpoint + ".tmp")
        os.replace(checkpoint + ".tmp", checkpoint)

    if os.path.exists(checkpoint):
        c = torch.load(checkpoint)
        changed = [k for k in settings if c["settings"].get(k) != settings[k]]
        if changed:
            sys.exit("distill.py: '%s' is of a run with another %s; give another --work" % (checkpoint, ", ".join(changed)))
        student.load_state_dict(c["student"])
        if projection:
            projection.load_state_dict(c["projection"])
        optimizer.load_state_dict(c["optimizer"])
        gen.set_state(c["gen"])
        order, done_losses, step, spent = c["order"], c["losses"], c["step"], c["spent"]
        print("goes on at step %d of %d" % (step, total), flush=True)
    else:
        log(dict(settings, parameters=sum(p.numel() for p in student.parameters()), teacher=o.teacher, steps=total, threads=o.threads))
    begin = time.time() - spent
    bar, saved = Progress(os.path.basename(os.path.abspath(o.work))), time.time()
    while step < total:
        at = step % steps
        if at == 0:
            order, done_losses = torch.randperm(used, generator=gen), []
        idx = order[at * o.batch:(at + 1) * o.batch]
        which = torch.randint(0, o.views, (o.batch,), generator=gen)
        part = step / total
        rate = part / o.warmup if part < o.warmup else 0.5 + 0.5 * math.cos(math.pi * (part - o.warmup) / (1 - o.warmup))
        for g in optimizer.param_groups:
            g["lr"] = max(o.lr * rate, 1e-6)
        outputs = student(see(padded, idx, views[which, idx], o.side), dtype)
        loss = loss_of(o, outputs, labels[idx], *(told[k][which, idx] if k in told else None for k in ("logits", "features")), projection)
        if not torch.isfinite(loss):
            sys.exit("distill.py: the loss is not finite at step %d; a smaller --lr may help" % step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        step += 1
        done_losses.append(float(loss))
        spent = time.time() - begin
        bar(step / total, "step %d of %d, loss %.3f" % (step, total, sum(done_losses[-50:]) / len(done_losses[-50:])), spent)
        if step % steps == 0:
            values = {"epoch": step // steps, "minutes": round(spent / 60, 2), "loss": round(sum(done_losses) / len(done_losses), 4)}
            if o.hold:
                values["held_out_top1"] = accuracy(student, pictures[used:], labels[used:])
            log(values)
        if step == o.stop:
            save()
            return print("stopped after step %d" % step)
        if time.time() - saved > 30 or step == total:
            saved = time.time()
            save()
    out = o.out or os.path.join(o.work, "export")
    export(out, config, student, grey, o.fp16_file)
    result = {"final": True, "steps": step, "minutes": round(spent / 60, 2)}
    name, tested = ("held_out_top1", (pictures[used:], labels[used:])) if o.hold else ("test_top1", load(o.data, "test", o.side, classes))
    result[name] = round(accuracy(student, *tested), 4)
    if o.libvireo:
        difference = check_export(o, out, student, tested[0][:64])
        result["vireo_differs_by"] = float("%.2g" % difference)
        if not difference < (5e-3 if o.fp16_file else 1e-4):
            sys.exit("distill.py: Vireo's answers from '%s' differ by %.2g of the largest logit" % (out, difference))
    log(result)
    print(json.dumps(result), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--student", required=True, metavar="FILE", help="its config.json")
    p.add_argument("--data", default=FASHION, help="Fashion-MNIST's idx files, or train/CLASS/ and test/CLASS/")
    p.add_argument("--work", required=True, help="folder for the checkpoint, the log and the export")
    p.add_argument("--out", help="where the Hugging Face folder is written (default: WORK/export)")
    p.add_argument("--fp16-file", action="store_true", help="store its weights as F16")
    p.add_argument("--teacher", help="a folder that Vireo opens")
    p.add_argument("--libvireo", help="libvireo.so, of a build with -DBUILD_SHARED_LIBS=ON")
    p.add_argument("--teacher-precision", default="checkpoint", help="in Vireo: checkpoint, fp32, fp16, int8 or w8a8")
    p.add_argument("--answers", metavar="DIR", help="the teacher's answers, for runs to share (default: WORK/answers)")
    p.add_argument("--loss", type=parse_loss, help="TERM=WEIGHT,...; ce=1 without a teacher, ce=0.1,kl=0.9 with one")
    p.add_argument("--temperature", type=float, default=2.0, help="of kl")
    p.add_argument("--smoothing", type=float, default=0.1, help="of the labels in ce")
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--warmup", type=float, default=0.05, help="part of the schedule; then cosine")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--lr", type=float, default=2e-3, help="at its highest")
    p.add_argument("--weight-decay", type=float, default=0.05)
    p.add_argument("--views", type=int, default=4, help="versions of each picture")
    p.add_argument("--view-seed", type=int, default=0)
    p.add_argument("--shift", type=int, default=1, help="pixels, of a version")
    p.add_argument("--hold", type=int, default=0, metavar="N", help="hold out the last N training pictures and leave the test alone")
    p.add_argument("--stop", type=int, metavar="STEP", help="stop after this step, as if interrupted")
    p.add_argument("--fp32", action="store_true", help="train in float32 where bfloat16 would be faster")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    o = p.parse_args()
    o.loss = o.loss or ({"ce": 0.1, "kl": 0.9} if o.teacher else {"ce": 1.0})
    if set(o.loss) != {"ce"} and not (o.teacher and o.libvireo):
        p.error("%s: needs --teacher and --libvireo" % ", ".join(t for t in o.loss if t != "ce"))
    if o.temperature <= 0 or o.views < 1 or o.shift < 0 or o.epochs < 1 or o.hold < 0:
        p.error("--temperature is above 0, --views and --epochs are at least 1, --shift and --hold are not negative")
    o.half = not o.fp32 and multiplies_bfloat16()
    torch.set_num_threads(o.threads)
    train(o)


if __name__ == "__main__":
    main()
