"""UPerNet (Xiao et al., arXiv 1807.10221) on MobileViT, Swin, Swin V2 and plain ViT, stated in PyTorch: as Hugging Face
names it (UperNetForSemanticSegmentation, "openmmlab/upernet-swin-tiny") and as the code of "Compressing Vision Transformers
for Low-Resource Visual Learning" (arXiv 2309.02617) does, which is another network.

Both give logits [B, classes, H, W] of the input's size: the head's logits resized, bilinear, align_corners False.

Hugging Face ("PPM" = pyramid pooling, C = hidden_size, ReLU, batch norm eps 1e-5, all resizes bilinear, align_corners False):

- Every ConvModule is conv (no bias, .conv), batch norm (.batch_norm), ReLU.
- Features f1..fn are the backbone's maps of out_indices / out_features; the last goes through PPM: for each of pool_scales
  adaptive average pooling to s x s (s may exceed the map), 1x1 ConvModule psp_modules.i.1, resize to the map; then the map
  itself and those in this order through the 3x3 bottleneck.
- lateral_convs.i (1x1) on f1..fn-1; top-down: lateral[i-1] += resize(lateral[i]), from the top; fpn_convs.i (3x3) on all
  but the top; all resized to f1's size and joined, lowest first; 3x3 fpn_bottleneck; 1x1 classifier with bias.
- auxiliary_head.* is for training: in the file, not used.
- Backbones under "backbone.", without a "swin." or "vit." prefix. Stage names are ["stem", "stage1", ...], out_indices
  counts them from 0 = stem:
    swin       hidden_states_norms.stageN on each tap; the window never shrinks (swin.py, rules "backbone")
    swinv2     no norms on the taps
    dinov2     Dinov2Backbone: stageN = after layer N; with apply_layernorm each tap goes through layernorm; the class token
               is dropped, the rest is a map of H/patch x W/patch. All taps have one size.
    vit        Hugging Face has no ViTBackbone: as dinov2, with the tensor names of ViTModel (backbone.embeddings.*,
               backbone.encoder.layer.N.*, backbone.layernorm) and the same config keys
    mobilevit  Hugging Face has none either: MobileViTModel's names; stem = conv_stem, stageN = encoder.layer[N-1].
               The paper taps encoder.layer[1..4]: out_indices [2, 3, 4, 5]. conv_1x1_exp may be in the file, unused.

The paper's code (class UperNet; state dict names backbone., PPN., FPN., head.; resizes inside it align_corners True):

- PPN: bins 1, 2, 4, 6; width of each = (channels of the last map) / 4; stages.i.1 (1x1, no bias), stages.i.2 (batch norm),
  ReLU; resized, joined behind the map; bottleneck.0 (3x3, no bias), bottleneck.1 (batch norm), ReLU: back to the channels
  of the last map.
- FPN: C = channels of the first map. conv1x1.i (with bias) on maps 2..n. Sums of neighbours only, not top-down: P = resize
  (f[i]) + f[i-1]. smooth_conv.i (3x3 with bias) on each P; the three entries of the list are one and the same layer, so the
  file holds it three times. Joined from fine to coarse, then f[n] itself; all resized to the first's size;
  conv_fusion.0 (3x3, no bias), conv_fusion.1 (batch norm), ReLU. head is a 3x3 convolution with bias.
- Backbones: MobileViTModel of Hugging Face (taps encoder.layer[1..4]) and torchvision's swin_v2_t / swin_v2_b (taps
  features[1, 3, 5, 7]; its norm and head are in the file, unused).
- That code has no config.json. Here: architectures ["UperNet"], model_type "upernet", hidden_size, pool_scales and
  backbone_config as in Hugging Face's; the tensor names (PPN., FPN.) tell which network it is.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from mobilevit import ACTIVATIONS, MobileViT, pick
from swin import Swin, pair


def resize(x, like, corners=False):
    size = like if isinstance(like, tuple) else tuple(like.shape[2:])
    return F.interpolate(x, size=size, mode="bilinear", align_corners=corners)


def taps(c, stages):
    """out_indices of a backbone_config, from either spelling; the last stage where there is none."""
    if c.get("out_indices"):
        return list(c["out_indices"])
    if c.get("out_features"):
        return [0 if n == "stem" else int(n[5:]) for n in c["out_features"]]
    return [stages]


# --------------------------------------------------------------- plain ViT

class ViTLayer(nn.Module):
    def __init__(self, c, dino):
        super().__init__()
        d, eps, bias = c["hidden_size"], c["layer_norm_eps"], c["qkv_bias"]
        self.heads, self.act, self.dino = c["num_attention_heads"], ACTIVATIONS[c["hidden_act"]], dino
        self.attention = pick(attention=pick(**{n: nn.Linear(d, d, bias=bias) for n in ("query", "key", "value")}),
                              output=pick(dense=nn.Linear(d, d)))
        if dino:
            inner = int(d * c["mlp_ratio"])
            self.norm1, self.norm2 = nn.LayerNorm(d, eps=eps), nn.LayerNorm(d, eps=eps)
            self.mlp = pick(fc1=nn.Linear(d, inner), fc2=nn.Linear(inner, d))
            for i in (1, 2):
                scale = nn.Module()
                scale.lambda1 = nn.Parameter(torch.full((d,), float(c["layerscale_value"])))
                self.add_module("layer_scale%d" % i, scale)
        else:
            inner = c["intermediate_size"]
            self.layernorm_before, self.layernorm_after = nn.LayerNorm(d, eps=eps), nn.LayerNorm(d, eps=eps)
            self.intermediate, self.output = pick(dense=nn.Linear(d, inner)), pick(dense=nn.Linear(inner, d))

    def forward(self, x):
        b, n, d = x.shape
        y = (self.norm1 if self.dino else self.layernorm_before)(x)
        parts = self.attention["attention"]
        q, k, v = (parts[p](y).view(b, n, self.heads, -1).transpose(1, 2) for p in ("query", "key", "value"))
        a = (q @ k.transpose(2, 3) * (d // self.heads) ** -0.5).softmax(-1)
        y = self.attention["output"]["dense"]((a @ v).transpose(1, 2).reshape(b, n, d))
        if self.dino:
            x = x + y * self.layer_scale1.lambda1
            return x + self.mlp["fc2"](self.act(self.mlp["fc1"](self.norm2(x)))) * self.layer_scale2.lambda1
        x = x + y
        return x + self.output["dense"](self.act(self.intermediate["dense"](self.layernorm_after(x))))


class ViT(nn.Module):
    """ViTModel's or Dinov2Model's names; the input has the size the positions were made for."""

    def __init__(self, c):
        super().__init__()
        d, p = c["hidden_size"], c["patch_size"]
        dino = c["model_type"] == "dinov2"
        self.grid = tuple(s // p for s in pair(c["image_size"]))
        self.norm_taps = c.get("apply_layernorm", True)
        self.channels = [d] * (c["num_hidden_layers"] + 1)
        self.embeddings = pick(patch_embeddings=pick(projection=nn.Conv2d(c.get("num_channels", 3), d, p, p)))
        self.embeddings.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.embeddings.position_embeddings = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1] + 1, d))
        if dino:
            self.embeddings.mask_token = nn.Parameter(torch.zeros(1, d))
        self.encoder = pick(layer=nn.ModuleList(ViTLayer(c, dino) for _ in range(c["num_hidden_layers"])))
        self.layernorm = nn.LayerNorm(d, eps=c["layer_norm_eps"])

    def features(self, x):
        e = self.embeddings
        x = e["patch_embeddings"]["projection"](x)
        assert tuple(x.shape[2:]) == self.grid
        x = torch.cat([e.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1) + e.position_embeddings
        states = [x]
        for layer in self.encoder["layer"]:
            states.append(layer(states[-1]))
        maps = []
        for s in states:
            s = self.layernorm(s) if self.norm_taps else s
            maps.append(s[:, 1:].transpose(1, 2).reshape(len(s), -1, *self.grid))
        return maps


# --------------------------------------------------------------- UPerNet as Hugging Face has it

class Backbone(nn.Module):
    """Any backbone_config; forward gives the tapped maps, [B,C,H,W]. Its names stand directly under "backbone."."""

    @staticmethod
    def make(c, rules="backbone"):
        kind = c["model_type"]
        if kind == "mobilevit":
            net, last = MobileViT(c, expand_output=False), 5
        elif kind in ("swin", "swinv2"):
            last = len(c["depths"])
            names = ["stage%d" % i for i in taps(c, last)] if kind == "swin" and rules == "backbone" else ()
            net = Swin(c, rules, names)
        else:
            net, last = ViT(c), c["num_hidden_layers"]
        net.taps = taps(c, last)
        return net


def tapped(net, x):
    maps = net.features(x)
    out = []
    for i in net.taps:
        y = maps[i]
        if isinstance(net, Swin):
            if hasattr(net, "hidden_states_norms"):
                y = net.hidden_states_norms["stage%d" % i](y)
            y = y.permute(0, 3, 1, 2)
        out.append(y)
    return out


class ConvModule(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.batch_norm = nn.BatchNorm2d(outputs, eps=1e-5)

    def forward(self, x):
        return F.relu(self.batch_norm(self.conv(x)))


class DecodeHead(nn.Module):
    def __init__(self, c, channels):
        super().__init__()
        width, self.scales = c["hidden_size"], c["pool_scales"]
        self.psp_modules = nn.ModuleList(pick(**{"1": ConvModule(channels[-1], width, 1)}) for _ in self.scales)
        self.bottleneck = ConvModule(channels[-1] + len(self.scales) * width, width, 3)
        self.lateral_convs = nn.ModuleList(ConvModule(n, width, 1) for n in channels[:-1])
        self.fpn_convs = nn.ModuleList(ConvModule(width, width, 3) for n in channels[:-1])
        self.fpn_bottleneck = ConvModule(len(channels) * width, width, 3)
        self.classifier = nn.Conv2d(width, len(c["id2label"]), 1)

    def forward(self, maps):
        top = maps[-1]
        pools = [resize(m["1"](F.adaptive_avg_pool2d(top, s)), top) for m, s in zip(self.psp_modules, self.scales)]
        x = self.bottleneck(torch.cat([top] + pools, 1))
        outs = [x]
        for lateral, fpn, m in reversed(list(zip(self.lateral_convs, self.fpn_convs, maps))):
            x = lateral(m) + resize(x, m)
            outs.insert(0, fpn(x))
        x = torch.cat([outs[0]] + [resize(o, outs[0]) for o in outs[1:]], 1)
        return self.classifier(self.fpn_bottleneck(x))


class AuxiliaryHead(nn.Module):
    def __init__(self, c, inputs):
        super().__init__()
        width, convs = c["auxiliary_channels"], []
        for i in range(c["auxiliary_num_convs"]):
            convs.append(ConvModule(inputs if i == 0 else width, width, 3))
        self.convs = nn.Sequential(*convs)
        self.classifier = nn.Conv2d(width, len(c["id2label"]), 1)

    def forward(self, maps):
        return self.classifier(self.convs(maps[2]))


class UperNetForSemanticSegmentation(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.backbone = Backbone.make(c["backbone_config"])
        channels = [self.backbone.channels[i] for i in self.backbone.taps]
        self.decode_head = DecodeHead(c, channels)
        if c.get("use_auxiliary_head", True):
            self.auxiliary_head = AuxiliaryHead(c, channels[2])

    def forward(self, x):
        return resize(self.decode_head(tapped(self.backbone, x)), tuple(x.shape[2:]))


# --------------------------------------------------------------- as the paper's code has it

def conv_norm(inputs, outputs, kernel, first):
    """Conv and batch norm under the numbers they have in a Sequential."""
    return pick(**{str(first): nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
                   str(first + 1): nn.BatchNorm2d(outputs, eps=1e-5)})


def run(pair_of_layers, x):
    conv, norm = pair_of_layers.values()
    return F.relu(norm(conv(x)))


class UperNet(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.backbone = Backbone.make(c["backbone_config"], rules="torchvision")
        channels = [self.backbone.channels[i] for i in self.backbone.taps]
        top, width, self.bins = channels[-1], channels[0], c["pool_scales"]
        assert c["hidden_size"] == width
        part = top // len(self.bins)
        self.PPN = pick(stages=nn.ModuleList(conv_norm(top, part, 1, 1) for _ in self.bins),
                        bottleneck=conv_norm(top + part * len(self.bins), top, 3, 0))
        smooth = nn.Conv2d(width, width, 3, padding=1)
        self.FPN = pick(conv1x1=nn.ModuleList(nn.Conv2d(n, width, 1) for n in channels[1:]),
                        smooth_conv=nn.ModuleList([smooth] * (len(channels) - 1)),
                        conv_fusion=conv_norm(len(channels) * width, width, 3, 0))
        self.head = nn.Conv2d(width, len(c["id2label"]), 3, padding=1)

    def forward(self, x):
        size = tuple(x.shape[2:])
        maps = tapped(self.backbone, x)
        top = maps[-1]
        pools = [resize(run(s, F.adaptive_avg_pool2d(top, n)), top, True) for s, n in zip(self.PPN["stages"], self.bins)]
        maps[-1] = run(self.PPN["bottleneck"], torch.cat([top] + pools, 1))
        maps = maps[:1] + [conv(m) for conv, m in zip(self.FPN["conv1x1"], maps[1:])]
        sums = [resize(coarse, fine, True) + fine for fine, coarse in zip(maps, maps[1:])]
        outs = [conv(s) for conv, s in zip(self.FPN["smooth_conv"], sums)] + [maps[-1]]
        x = torch.cat([outs[0]] + [resize(o, outs[0], True) for o in outs[1:]], 1)
        return resize(self.head(run(self.FPN["conv_fusion"], x)), size)


BASE = {
    "architectures": ["UperNetForSemanticSegmentation"], "model_type": "upernet", "hidden_size": 512,
    "pool_scales": [1, 2, 3, 6], "use_auxiliary_head": True, "auxiliary_loss_weight": 0.4, "auxiliary_channels": 256,
    "auxiliary_num_convs": 1, "auxiliary_concat_input": False, "initializer_range": 0.02, "loss_ignore_index": 255,
}


def config(backbone, **changes):
    """config.json of openmmlab/upernet-*, less labels, over another backbone_config."""
    c = {**BASE, "backbone_config": backbone}
    c.update(changes)
    if c["use_auxiliary_head"]:
        c.setdefault("auxiliary_in_channels", 384)
    return c
