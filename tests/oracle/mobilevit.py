"""MobileViT (Mehta and Rastegari, arXiv 2110.02178) stated in PyTorch, under the tensor names and config keys that
Hugging Face publishes it with (MobileViTForImageClassification, "apple/mobilevit-small").

What a reader of such files has to know:

- Every convolution is padded with zeros to keep its size and has no bias. conv_1x1 alone has neither batch norm nor
  activation, reduce_1x1 has no activation. Batch norm eps 1e-5. num_batches_tracked (I64) is in the file and unused.
- Inverted residual: the inner width is in * expand_ratio, rounded to a multiple of 8 (never down by more than 10 %). There
  is a shortcut where stride is 1 and the widths agree.
- A block unfolds its map into patches of P x P pixels. Attention runs among the pixels that stand at the same place of
  their patches: P * P sequences of (H/P) * (W/P) tokens, which share the weights.
- A map that P does not divide is first resized up to the next multiple, and the answer resized back: bilinear,
  align_corners False.
- output_stride 16 gives the last stage stride 1; 8 gives the last two stride 1, and only the depthwise convolution of the
  last downsampling_layer a dilation (of 2): conv_kxk and fusion are never dilated.
- Classification: conv_1x1_exp, mean over pixels, classifier.
- The processor hands over BGR in [0, 1], not normalised (do_flip_channel_order; do_flip_channels in old files).
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

ACTIVATIONS = {
    "silu": F.silu,
    "swish": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
}
BLOCKS = (2, 4, 3)  # transformer layers of the last three stages


def inner_width(channels, ratio, multiple=8):
    width = int(round(channels * ratio))
    rounded = max(multiple, (width + multiple // 2) // multiple * multiple)
    return rounded if rounded >= 0.9 * width else rounded + multiple


def pick(**modules):
    """Modules under names of the file; no forward of its own."""
    return nn.ModuleDict(modules)


class Conv(nn.Module):
    def __init__(self, c, inputs, outputs, kernel, stride=1, groups=1, dilation=1, norm=True, act=True):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2 * dilation, dilation, groups, bias=False)
        self.normalization = nn.BatchNorm2d(outputs, eps=1e-5) if norm else None
        self.act = ACTIVATIONS[c["hidden_act"]] if act else None

    def forward(self, x):
        x = self.convolution(x)
        if self.normalization is not None:
            x = self.normalization(x)
        return x if self.act is None else self.act(x)


class InvertedResidual(nn.Module):
    def __init__(self, c, inputs, outputs, stride, dilation=1):
        super().__init__()
        inner = inner_width(inputs, c["expand_ratio"])
        self.shortcut = stride == 1 and inputs == outputs
        self.expand_1x1 = Conv(c, inputs, inner, 1)
        self.conv_3x3 = Conv(c, inner, inner, 3, stride, groups=inner, dilation=dilation)
        self.reduce_1x1 = Conv(c, inner, outputs, 1, act=False)

    def forward(self, x):
        y = self.reduce_1x1(self.conv_3x3(self.expand_1x1(x)))
        return x + y if self.shortcut else y


class TransformerLayer(nn.Module):
    """Pre-norm; x is [sequences, tokens, width]."""

    def __init__(self, c, width):
        super().__init__()
        self.heads = c["num_attention_heads"]
        assert width % self.heads == 0
        inner, eps, bias = int(width * c["mlp_ratio"]), c["layer_norm_eps"], c["qkv_bias"]
        self.attention = pick(
            attention=pick(**{n: nn.Linear(width, width, bias=bias) for n in ("query", "key", "value")}),
            output=pick(dense=nn.Linear(width, width)))
        self.intermediate = pick(dense=nn.Linear(width, inner))
        self.output = pick(dense=nn.Linear(inner, width))
        self.layernorm_before = nn.LayerNorm(width, eps=eps)
        self.layernorm_after = nn.LayerNorm(width, eps=eps)
        self.act = ACTIVATIONS[c["hidden_act"]]

    def forward(self, x):
        s, n, d = x.shape
        y = self.layernorm_before(x)
        parts = self.attention["attention"]
        q, k, v = (parts[p](y).view(s, n, self.heads, -1).transpose(1, 2) for p in ("query", "key", "value"))
        a = (q @ k.transpose(2, 3) * (d // self.heads) ** -0.5).softmax(-1)
        x = x + self.attention["output"]["dense"]((a @ v).transpose(1, 2).reshape(s, n, d))
        return x + self.output["dense"](self.act(self.intermediate["dense"](self.layernorm_after(x))))


class Block(nn.Module):
    def __init__(self, c, inputs, outputs, width, layers, stride, dilation):
        super().__init__()
        self.patch, kernel = c["patch_size"], c["conv_kernel_size"]
        self.downsampling_layer = InvertedResidual(c, inputs, outputs, stride, dilation)
        self.conv_kxk = Conv(c, outputs, outputs, kernel)
        self.conv_1x1 = Conv(c, outputs, width, 1, norm=False, act=False)
        self.transformer = pick(layer=nn.ModuleList(TransformerLayer(c, width) for _ in range(layers)))
        self.layernorm = nn.LayerNorm(width, eps=c["layer_norm_eps"])
        self.conv_projection = Conv(c, width, outputs, 1)
        self.fusion = Conv(c, 2 * outputs, outputs, kernel)

    def forward(self, x):
        x = self.downsampling_layer(x)
        y = self.conv_1x1(self.conv_kxk(x))
        b, d, h, w = y.shape
        p = self.patch
        rows, cols = -(-h // p), -(-w // p)
        resized = (rows * p, cols * p) != (h, w)
        if resized:
            y = F.interpolate(y, size=(rows * p, cols * p), mode="bilinear", align_corners=False)
        y = y.view(b, d, rows, p, cols, p).permute(0, 3, 5, 2, 4, 1).reshape(b * p * p, rows * cols, d)
        for layer in self.transformer["layer"]:
            y = layer(y)
        y = self.layernorm(y)
        y = y.view(b, p, p, rows, cols, d).permute(0, 5, 3, 1, 4, 2).reshape(b, d, rows * p, cols * p)
        if resized:
            y = F.interpolate(y, size=(h, w), mode="bilinear", align_corners=False)
        return self.fusion(torch.cat([x, self.conv_projection(y)], 1))


class MobileViT(nn.Module):
    """The names of MobileViTModel. features(x) gives [stem, stage1, ... stage5]."""

    def __init__(self, c, expand_output=True):
        super().__init__()
        neck, stride = c["neck_hidden_sizes"], c.get("output_stride", 32)
        assert stride in (8, 16, 32)
        self.channels = neck[:6]
        self.conv_stem = Conv(c, c.get("num_channels", 3), neck[0], 3, stride=2)
        stages = [
            pick(layer=nn.ModuleList([InvertedResidual(c, neck[0], neck[1], 1)])),
            pick(layer=nn.ModuleList(InvertedResidual(c, neck[1 if i == 0 else 2], neck[2], 2 if i == 0 else 1) for i in range(3))),
        ]
        for i, (width, layers) in enumerate(zip(c["hidden_sizes"], BLOCKS)):
            step = 1 if (i == 1 and stride == 8) or (i == 2 and stride <= 16) else 2
            stages.append(Block(c, neck[i + 2], neck[i + 3], width, layers, step, 2 if i == 2 and stride == 8 else 1))
        self.encoder = pick(layer=nn.ModuleList(stages))
        if expand_output:
            self.conv_1x1_exp = Conv(c, neck[5], neck[6], 1)

    def features(self, x):
        maps = [self.conv_stem(x)]
        for stage in self.encoder["layer"]:
            x = maps[-1]
            for layer in stage["layer"] if isinstance(stage, nn.ModuleDict) else [stage]:
                x = layer(x)
            maps.append(x)
        return maps

    def forward(self, x):
        return self.conv_1x1_exp(self.features(x)[-1]).mean((2, 3))


class MobileViTForImageClassification(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.mobilevit = MobileViT(c)
        self.classifier = nn.Linear(c["neck_hidden_sizes"][6], len(c["id2label"]))

    def forward(self, x):
        return self.classifier(self.mobilevit(x))


BASE = {
    "model_type": "mobilevit", "num_channels": 3, "image_size": 256, "patch_size": 2, "num_attention_heads": 4,
    "mlp_ratio": 2.0, "expand_ratio": 4.0, "hidden_act": "silu", "conv_kernel_size": 3, "output_stride": 32,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.1,
    "initializer_range": 0.02, "layer_norm_eps": 1e-5, "qkv_bias": True, "aspp_out_channels": 256,
    "atrous_rates": [6, 12, 18], "aspp_dropout_prob": 0.1, "semantic_loss_ignore_index": 255,
}
SIZES = {
    "small": {"hidden_sizes": [144, 192, 240], "neck_hidden_sizes": [16, 32, 64, 96, 128, 160, 640]},
    "x-small": {"hidden_sizes": [96, 120, 144], "neck_hidden_sizes": [16, 32, 48, 64, 80, 96, 384]},
    "xx-small": {"hidden_sizes": [64, 80, 96], "neck_hidden_sizes": [16, 16, 24, 48, 64, 80, 320], "expand_ratio": 2.0,
                 "hidden_dropout_prob": 0.05},
}


def config(size="small", **changes):
    """config.json of a published size, less its labels; or of another with size=None."""
    return {**BASE, **(SIZES[size] if size else {}), **changes}
