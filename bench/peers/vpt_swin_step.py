#!/usr/bin/python3
"""vpt_swin_step.py: times one training step of VPT-deep on a Swin Transformer (v1) in plain PyTorch.

The peer of `vitrine bench step --model swin-t`; step.py holds the options, the clock and the line of JSON. Weights and
images are random; only the prompts and the head require a gradient. Images of 224 fit the windows: nothing is padded.

Two forms of the same mathematics:
  textbook  a block's prompts stand before the tokens and are full tokens of every window; what the windows make of them
            is averaged, and the next block's prompts take their place (Jia et al., "Visual Prompt Tuning", ECCV 2022);
            those of the last block take part in the mean that the head sees;
  kv        what becomes of the prompts is thrown away in every block but the last, so there they only add keys and
            values, made once per step, not once per window; the last block is as in the textbook.
`--check` shows in f64 on a small model that both give the same logits and gradients.
"""
import sys

import torch
import torch.nn.functional as F
from torch import nn

import step

EPS = 1e-5
MODELS = {  # width, depths, heads, window, patch side, image side
    "swin-t": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 4, 224),
    "swin-b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 7, 4, 224),
    "check": (16, (2, 2, 2), (2, 4, 8), 4, 4, 64),
}


def relative_index(window):
    """Row of the bias table for each pair of tokens of a window, flat (window^4)."""
    axis = torch.arange(window)
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    row, column = row.flatten(), column.flatten()
    down, right = (a[:, None] - a[None, :] + window - 1 for a in (row, column))
    return (down * (2 * window - 1) + right).flatten()


def windows(x, window):
    """Maps (B, H, W, ...) -> windows of tokens (B, H W / window^2, window^2, ...)."""
    batch, height, width, *rest = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, *rest).transpose(2, 3)
    return x.reshape(batch, -1, window * window, *rest)


def maps(x, side, window):
    """The way back: (B, windows, window^2, C) -> (B, side, side, C)."""
    batch, channels = x.shape[0], x.shape[-1]
    x = x.reshape(batch, side // window, side // window, window, window, channels).transpose(2, 3)
    return x.reshape(batch, side, side, channels)


def shift_mask(side, window, shift):
    """(windows, 1, window^2, window^2): -100 between tokens that were no neighbours before the roll."""
    region = torch.zeros(side)
    region[-window:-shift] = 1
    region[-shift:] = 2
    region = windows((3 * region[:, None] + region[None, :])[None], window)[0]
    return (region[:, None, :, None] != region[:, None, None, :]) * -100.0


class Block(nn.Module):
    """Pre-norm block of windowed attention and MLP on tokens (B, L, C) of a map of side^2 tokens."""
    fused = False  # attention by PyTorch's own op, in all blocks

    def __init__(self, width, heads, side, window, shifted):
        super().__init__()
        self.heads, self.side, self.window = heads, side, window
        self.shift = window // 2 if shifted and side > window else 0
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.register_buffer("index", relative_index(window), persistent=False)
        self.register_buffer("mask", shift_mask(side, window, self.shift) if self.shift else None, persistent=False)

    def partition(self, x):
        """Tokens (B, side^2, C) -> windows (B, nW, n, C), n = window^2."""
        x = x.reshape(x.shape[0], self.side, self.side, -1)
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        return windows(x, self.window)

    def join(self, x):
        """Windows (B, nW, n, C) -> tokens (B, side^2, C)."""
        x = maps(x, self.side, self.window)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x.flatten(1, 2)

    def split(self, x):
        """(N, n, k C) -> k tensors (N, heads, n, C / heads)."""
        number, tokens, columns = x.shape
        parts = columns // self.proj.in_features
        return x.reshape(number, tokens, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def bias(self, queries, keys):
        """Bias and mask (1 or nW, heads, queries + n, keys + n) for so many prompts before the tokens: 0 for prompts."""
        n = self.window ** 2
        bias = self.relative_position_bias_table[self.index].reshape(n, n, -1).permute(2, 0, 1).unsqueeze(0)
        if self.mask is not None:
            bias = bias + self.mask
        return F.pad(bias, (keys, 0, queries, 0))

    def attend(self, q, k, v, bias):
        """Heads of queries, keys and values of all windows -> projected output (N, n, C)."""
        if self.fused:
            mask = bias if len(bias) == 1 else bias.repeat(len(q) // len(bias), 1, 1, 1)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.expand(len(q), -1, -1, -1))
            return self.proj(mixed.transpose(1, 2).flatten(2))
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        scores = (scores.unflatten(0, (-1, bias.shape[0])) + bias).flatten(0, 1)
        mixed = scores.softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(self.norm2(x))))

    def forward(self, x, count):
        """x (B, count + side^2, C), prompts first."""
        batch = x.shape[0]
        y = self.norm1(x)
        tokens = self.partition(y[:, count:])
        number = tokens.shape[1]
        prompts = y[:, None, :count].expand(-1, number, -1, -1)
        y = torch.cat([prompts, tokens], 2).flatten(0, 1)
        y = self.attend(*self.split(self.qkv(y)), self.bias(count, count)).unflatten(0, (batch, number))
        x = x + torch.cat([y[:, :, :count].mean(1), self.join(y[:, :, count:])], 1)
        return x + self.mlp(x)

    def forward_kv(self, x, prompts):
        """x (B, side^2, C) without prompts, prompts (P, C)."""
        batch, _, width = x.shape
        extra = F.linear(self.norm1(prompts).unsqueeze(0), self.qkv.weight[width:], self.qkv.bias[width:])
        prompt_k, prompt_v = self.split(extra)  # (1, heads, P, C / heads), shared by the windows of all images
        tokens = self.partition(self.norm1(x))
        number = tokens.shape[1]
        q, k, v = self.split(self.qkv(tokens.flatten(0, 1)))
        k = torch.cat([prompt_k.expand(len(k), -1, -1, -1), k], 2)
        v = torch.cat([prompt_v.expand(len(v), -1, -1, -1), v], 2)
        y = self.attend(q, k, v, self.bias(0, len(prompts))).unflatten(0, (batch, number))
        x = x + self.join(y)
        return x + self.mlp(x)


class Merging(nn.Module):
    """Four neighbours become one token of twice the width: (B, side^2, C) -> (B, side^2 / 4, 2 C)."""

    def __init__(self, width, side):
        super().__init__()
        self.side = side
        self.norm = nn.LayerNorm(4 * width, eps=EPS)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        x = x.reshape(x.shape[0], self.side, self.side, -1)
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.reduction(self.norm(x.flatten(1, 2)))


class PromptedSwin(nn.Module):
    """Frozen Swin with deep prompts (blocks, P, C) for each stage and a linear head that are trained."""

    def __init__(self, model, prompts, classes, form):
        super().__init__()
        width, depths, heads, window, patch, self.side = MODELS[model]
        self.form, self.count = form, prompts
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.patch_norm = nn.LayerNorm(width, eps=EPS)
        self.stages, self.mergings, self.prompts = nn.ModuleList(), nn.ModuleList(), nn.ParameterList()
        side = self.side // patch
        for stage, depth in enumerate(depths):
            if stage:
                self.mergings.append(Merging(width, side))
                width, side = 2 * width, side // 2
            self.stages.append(nn.ModuleList(Block(width, heads[stage], side, window, j % 2 == 1) for j in range(depth)))
            self.prompts.append(nn.Parameter(torch.empty(depth, prompts, width)))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.head = nn.Linear(width, classes)
        for name, p in self.named_parameters():
            if "norm" not in name:
                nn.init.trunc_normal_(p, std=0.02)
            p.requires_grad_(name.split(".")[0] in ("prompts", "head"))

    def forward(self, images):
        x = self.patch_norm(self.patch(images).flatten(2).transpose(1, 2))  # (B, side^2, C)
        batch, last = x.shape[0], self.stages[-1][-1]
        for stage, blocks in enumerate(self.stages):
            if stage:
                x = self.mergings[stage - 1](x)
            # Prompts and head may be wider than the backbone: f32 beside bf16.
            for block, prompts in zip(blocks, self.prompts[stage].to(x.dtype)):
                if self.form == "kv" and block is not last:
                    x = block.forward_kv(x, prompts)
                    continue
                x = block(torch.cat([prompts.expand(batch, -1, -1), x], 1), self.count)
                if block is not last:
                    x = x[:, self.count:]
        return self.head(self.norm(x).mean(1).to(self.head.weight.dtype))


def check():
    """The two forms on images of 64 x 64: two stages have shifted windows, the last is one window; then the same with fused
    attention in the second."""
    return step.same_forms_twice(lambda form: PromptedSwin("check", 5, 7, form), Block)


def fuse():
    Block.fused = True


if __name__ == "__main__":
    sys.exit(step.main(["swin-t"], "swin-t", PromptedSwin, check))
