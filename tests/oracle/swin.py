"""Swin Transformer (Liu et al., arXiv 2103.14030) and Swin V2 (arXiv 2111.09883) stated in PyTorch, under the tensor names
and config keys of Hugging Face (SwinForImageClassification, Swinv2ForImageClassification and their backbones), with the map
to torchvision's names (swin_t, swin_v2_t).

What a reader of such files has to know:

- Patch embedding: convolution with bias and stride = patch, LayerNorm. An input that the patch does not divide is padded
  with zeros on the right and at the bottom. The norms of embeddings, of patch merging and of hidden_states_norms have eps
  1e-5 whatever layer_norm_eps says.
- A stage is blocks, then (but in the last) patch merging. Every second block is shifted by window // 2.
- V1 block: x += attention(norm_before(x)); x += mlp(norm_after(x)). V2: the norms stand behind:
  x += norm_before(attention(x)); x += norm_after(mlp(x)).
- Patch merging pads odd maps with zeros and joins the four neighbours in the order (0,0), (1,0), (0,1), (1,1) of
  (row, column). V1: norm of 4C, then reduction without bias. V2: reduction, then norm of 2C.
- Attention pads the map with zeros to multiples of the window (V1: behind the norm). Padding takes part in attention.
  Tokens of a shifted window that come from different regions of the map get -100 on their score (Hugging Face's V2 adds
  that twice: it matters only where logit_scale makes scores of that size).
- V1 adds relative_position_bias_table[(dy + W - 1) * (2W - 1) + dx + W - 1]; scores are scaled by head^-0.5.
- V2 has cosine attention (q and k divided by max(length, 1e-12)) times exp(min(logit_scale, ln 100)), key without bias, and
  a bias of 16 * sigmoid(mlp(offset)): mlp = 2 -> 512 (bias, ReLU) -> heads (no bias), offset = sign(t) * log2(1 + |t|) / 3
  with t = 8 * (dy, dx) / (pretrained window - 1), or / (window - 1) where pretrained_window_sizes has 0.
- The window of a stage ("rules" below) depends on who made the file:
    swin             H, W the map: where min(H, W) <= window the block is not shifted and the window is min(H, W). The bias
                     table is made for the configured window, so a map smaller than the window cannot be run.
    swin backbone    (of UPerNet) the configured window and shift always, smaller maps are padded to a window.
    swinv2           from config.json's image_size, whatever is run: r = (image_size[0] // patch) >> stage, window =
                     min(r, window), not shifted if r <= window. (A map is rounded up when merged, r is rounded down.)
    torchvision      the configured window always; no shift along an axis whose padded size is at most the window.
- relative_position_index (I64), relative_coords_table (F32) and num_batches_tracked are in many files and are not weights.
- Classification: layernorm, mean over tokens, classifier. A backbone hands out the maps before patch merging; Swin's pass
  hidden_states_norms.stageN, Swin V2's do not pass a norm.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from mobilevit import ACTIVATIONS, pick

EPS = 1e-5


def pair(x):
    return tuple(x) if isinstance(x, (list, tuple)) else (x, x)


def offsets(window):
    """[W*W, W*W, 2]: row and column of the first pixel less those of the second."""
    r = torch.arange(window)
    place = torch.stack([r.repeat_interleave(window), r.repeat(window)], 1)
    return place[:, None] - place[None]


def regions(length, window, shift):
    """Which piece of the original axis each place of the rolled one comes from."""
    i = torch.arange(length)
    return (i >= length - window).long() + (i >= length - shift).long() if shift else torch.zeros_like(i)


class Attention(nn.Module):
    """attention.self and attention.output of one block."""

    def __init__(self, c, v2, dim, heads, window, pretrained, mask):
        super().__init__()
        self.v2, self.heads, self.window, self.mask = v2, heads, window, mask
        assert dim % heads == 0
        bias, own = c["qkv_bias"], {}
        own["query"] = nn.Linear(dim, dim, bias=bias)
        own["key"] = nn.Linear(dim, dim, bias=bias and not v2)
        own["value"] = nn.Linear(dim, dim, bias=bias)
        if v2:
            own["continuous_position_bias_mlp"] = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
        self.add_module("self", pick(**own))
        inner = self._modules["self"]
        index = offsets(window) + window - 1
        index = index[..., 0] * (2 * window - 1) + index[..., 1]
        inner.register_buffer("relative_position_index", index)
        if v2:
            inner.register_parameter("logit_scale", nn.Parameter(torch.full((heads, 1, 1), math.log(10))))
            t = torch.arange(1 - window, window, dtype=torch.float32)
            t = torch.stack(torch.meshgrid(t, t, indexing="ij"), 2)[None]
            reach = pretrained - 1 if pretrained > 0 else window - 1
            t = 8 * t / reach if reach else 8 * t
            inner.register_buffer("relative_coords_table", t.sign() * torch.log2(1 + t.abs()) / 3)
        else:
            inner.register_parameter("relative_position_bias_table", nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads)))
        self.output = pick(dense=nn.Linear(dim, dim))

    def bias(self):
        inner, n = self._modules["self"], self.window ** 2
        if self.v2:
            table = inner["continuous_position_bias_mlp"](inner.relative_coords_table).view(-1, self.heads)
            table = 16 * torch.sigmoid(table)
        else:
            table = inner.relative_position_bias_table
        return table[inner.relative_position_index.view(-1)].view(n, n, self.heads).permute(2, 0, 1)

    def forward(self, x, window, shift):
        """x [B,H,W,C] -> the same; shift = (rows, columns)."""
        assert window == self.window, "a map smaller than the window of the bias table"
        b, h, w, d = x.shape
        inner = self._modules["self"]
        x = F.pad(x, (0, 0, 0, -w % window, 0, -h % window))
        H, W = x.shape[1:3]
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
        rows, cols, n = H // window, W // window, window * window

        def windows(t):  # [B,H,W,D] -> [B, windows, n, D]
            return t.view(-1, rows, window, cols, window, t.shape[-1]).transpose(2, 3).reshape(-1, rows * cols, n, t.shape[-1])

        x = windows(x)
        q, k, v = (inner[p](x).view(b, rows * cols, n, self.heads, -1) for p in ("query", "key", "value"))
        if self.v2:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        q, k, v = (t.transpose(2, 3) for t in (q, k, v))
        if self.v2:
            scores = q @ k.transpose(3, 4) * torch.exp(torch.clamp(inner.logit_scale, max=math.log(100)))
        else:
            scores = q @ k.transpose(3, 4) * (d // self.heads) ** -0.5
        scores = scores + self.bias()
        if any(shift):
            piece = 3 * regions(H, window, shift[0])[:, None] + regions(W, window, shift[1])
            piece = windows(piece[None, :, :, None]).view(rows * cols, 1, n)
            scores = scores - self.mask * (piece != piece.transpose(1, 2))[None, :, None].to(scores.dtype)
        y = (scores.softmax(-1) @ v).transpose(2, 3).reshape(b, rows * cols, n, d)
        y = self.output["dense"](y)
        y = y.view(b, rows, cols, window, window, d).transpose(2, 3).reshape(b, H, W, d)
        if any(shift):
            y = torch.roll(y, shift, (1, 2))
        return y[:, :h, :w]


class Layer(nn.Module):
    def __init__(self, c, v2, dim, heads, window, pretrained, mask):
        super().__init__()
        inner = int(c["mlp_ratio"] * dim)
        self.v2, self.act = v2, ACTIVATIONS[c["hidden_act"]]
        self.attention = Attention(c, v2, dim, heads, window, pretrained, mask)
        self.layernorm_before = nn.LayerNorm(dim, eps=c["layer_norm_eps"])
        self.layernorm_after = nn.LayerNorm(dim, eps=c["layer_norm_eps"])
        self.intermediate = pick(dense=nn.Linear(dim, inner))
        self.output = pick(dense=nn.Linear(inner, dim))

    def mlp(self, x):
        return self.output["dense"](self.act(self.intermediate["dense"](x)))

    def forward(self, x, window, shift):
        if self.v2:
            x = x + self.layernorm_before(self.attention(x, window, shift))
            return x + self.layernorm_after(self.mlp(x))
        x = x + self.attention(self.layernorm_before(x), window, shift)
        return x + self.mlp(self.layernorm_after(x))


class Merging(nn.Module):
    def __init__(self, v2, dim):
        super().__init__()
        self.v2 = v2
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm((2 if v2 else 4) * dim, eps=EPS)

    def forward(self, x):
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, row::2, col::2] for col in (0, 1) for row in (0, 1)], -1)
        return self.norm(self.reduction(x)) if self.v2 else self.reduction(self.norm(x))


class Swin(nn.Module):
    """The names of SwinModel and Swinv2Model. rules: "model", "backbone" or "torchvision" (see above)."""

    def __init__(self, c, rules="model", norms=()):
        super().__init__()
        assert not c.get("use_absolute_embeddings") and rules in ("model", "backbone", "torchvision")
        v2 = c["model_type"] == "swinv2"
        depths, dim, self.patch, self.rules, self.v2 = c["depths"], c["embed_dim"], c["patch_size"], rules, v2
        self.window = c["window_size"]
        self.resolution = [s // self.patch for s in pair(c["image_size"])]
        self.channels = [dim] + [dim << i for i in range(len(depths))]
        self.embeddings = pick(
            patch_embeddings=pick(projection=nn.Conv2d(c.get("num_channels", 3), dim, self.patch, self.patch)),
            norm=nn.LayerNorm(dim, eps=EPS))
        stages, mask = [], 200.0 if v2 and rules != "torchvision" else 100.0
        for i, depth in enumerate(depths):
            window = self.plan(i, 0, 0)[0] if v2 else self.window
            pretrained = (c.get("pretrained_window_sizes") or [0] * len(depths))[i] if v2 else 0
            stages.append(pick(blocks=nn.ModuleList(
                Layer(c, v2, dim << i, c["num_heads"][i], window, pretrained, mask) for _ in range(depth))))
            if i + 1 < len(depths):
                stages[-1].add_module("downsample", Merging(v2, dim << i))
        self.encoder = pick(layers=nn.ModuleList(stages))
        if norms:  # a backbone of Hugging Face has no layernorm at its end
            self.hidden_states_norms = nn.ModuleDict({n: nn.LayerNorm(self.channels[int(n[5:])], eps=EPS) for n in norms})
        elif rules != "backbone":
            self.layernorm = nn.LayerNorm(self.channels[-1], eps=c["layer_norm_eps"])

    def plan(self, stage, h, w):
        """Window of a stage and the shift (rows, columns) of its odd blocks."""
        window, shift = self.window, self.window // 2
        if self.rules == "torchvision":
            return window, tuple(0 if window >= n + -n % window else shift for n in (h, w))
        if self.v2:
            r = self.resolution[0] >> stage
            return (r, (0, 0)) if r <= window else (window, (shift, shift))
        if self.rules == "model" and min(h, w) <= window:
            return min(h, w), (0, 0)
        return window, (shift, shift)

    def features(self, x):
        """[B,H,W,C] maps: embeddings, then each stage before its patch merging."""
        x = F.pad(x, (0, -x.shape[3] % self.patch, 0, -x.shape[2] % self.patch))
        x = self.embeddings["norm"](self.embeddings["patch_embeddings"]["projection"](x).permute(0, 2, 3, 1))
        maps = [x]
        for i, stage in enumerate(self.encoder["layers"]):
            window, shift = self.plan(i, *x.shape[1:3])
            for j, layer in enumerate(stage["blocks"]):
                x = layer(x, window, shift if j % 2 else (0, 0))
            maps.append(x)
            if "downsample" in stage:
                x = stage["downsample"](x)
        return maps

    def forward(self, x):
        return self.layernorm(self.features(x)[-1]).mean((1, 2))


class SwinForImageClassification(nn.Module):
    def __init__(self, c, rules="model"):
        super().__init__()
        self.prefix = c["model_type"]
        self.add_module(self.prefix, Swin(c, rules))
        self.classifier = nn.Linear(c["embed_dim"] << (len(c["depths"]) - 1), len(c["id2label"]))

    def forward(self, x):
        return self.classifier(self._modules[self.prefix](x))


# ------------------------------------------------------------------- torchvision's names

BLOCK = [
    ("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("attn.proj", "attention.output.dense"),
    ("mlp.0", "intermediate.dense"), ("mlp.3", "output.dense"),
    ("attn.cpb_mlp.0", "attention.self.continuous_position_bias_mlp.0"),
    ("attn.cpb_mlp.2", "attention.self.continuous_position_bias_mlp.2"),
    ("attn.logit_scale", "attention.self.logit_scale"),
    ("attn.relative_position_bias_table", "attention.self.relative_position_bias_table"),
    ("attn.relative_position_index", "attention.self.relative_position_index"),
    ("attn.relative_coords_table", "attention.self.relative_coords_table"),
]


def names(state, v2):
    """(torchvision's name, name above) of every tensor of torchvision's but qkv, of which "query" stands for the three."""
    for name in state:
        part = name.split(".")
        if part[0] == "classifier":
            yield "head." + part[1], name
        elif part[0] == "layernorm":
            yield "norm." + part[1], name
        elif part[0] == "embeddings":
            yield "features.0.%s.%s" % ("2" if part[1] == "norm" else "0", part[-1]), name
        elif part[3] == "downsample":
            yield "features.%d.%s" % (2 * int(part[2]) + 2, ".".join(part[4:])), name
        else:
            block, rest = "features.%d.%s." % (2 * int(part[2]) + 1, part[4]), ".".join(part[5:])
            if rest.startswith("attention.self.query."):
                yield block + "attn.qkv." + part[-1], name
            elif not rest.startswith(("attention.self.key.", "attention.self.value.")):
                old, new = next((o, n) for o, n in BLOCK if rest == n or rest.startswith(n + "."))
                yield block + old + rest[len(new):], name


def to_torchvision(state, v2, key_bias=None):
    """A state dict of Swin (without "swin.", with classifier.*) under torchvision's names. V2's files hold a bias of the key
    too, which is never used: key_bias(tensor like it) makes one up."""
    out = {}
    for old, new in names(state, v2):
        if ".qkv." in old:
            three = [state.get(new.replace("query", n)) for n in ("query", "key", "value")]
            if three[1] is None:
                three[1] = key_bias(three[0]) if key_bias else torch.zeros_like(three[0])
            out[old] = torch.cat(three)
        else:
            out[old] = state[new].flatten() if old.endswith("_index") else state[new]
    return out


BASE = {
    "num_channels": 3, "patch_size": 4, "mlp_ratio": 4.0, "qkv_bias": True, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "drop_path_rate": 0.1, "initializer_range": 0.02,
    "use_absolute_embeddings": False, "encoder_stride": 32, "path_norm": True,
}


def config(model_type="swin", **changes):
    """config.json of swin-tiny-patch4-window7-224 or swinv2-tiny-patch4-window8-256, less labels, with changes."""
    c = {**BASE, "model_type": model_type, "embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24],
         "window_size": 7, "image_size": 224}
    if model_type == "swinv2":
        c.update(window_size=8, image_size=256, pretrained_window_sizes=[0, 0, 0, 0])
    c.update(changes)
    c["num_layers"] = len(c["depths"])
    c["hidden_size"] = c["embed_dim"] << (len(c["depths"]) - 1)
    return c
