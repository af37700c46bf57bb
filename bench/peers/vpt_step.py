#!/usr/bin/python3
"""vpt_step.py: times one training step of VPT-deep on a Vision Transformer in plain PyTorch.

The peer of `vitrine bench step`; step.py holds the options, the clock and the line of JSON. Weights and images are
random; only the prompts and the head require a gradient.

Two forms of the same mathematics:
  textbook  the prompt tokens of a layer stand behind the class token as full tokens, and each layer replaces them
            (Jia et al., "Visual Prompt Tuning", ECCV 2022, eq. 6);
  kv        a layer's prompt outputs are thrown away, so prompts only add keys and values (made once per step, not once
            per image), and the last block computes the class token's row alone.
Either with attention written out (plain) or by PyTorch's own op (fused). `--check` shows in f64 on a small model that the
two forms give the same logits and gradients, and with a PyTorch that has it, fused attention as well.
"""
import sys

import torch
import torch.nn.functional as F
from torch import nn

import step

EPS = 1e-6
MODELS = {  # width, depth, heads, patch side, image side
    "vit-ti16": (192, 12, 3, 16, 224),
    "vit-b16": (768, 12, 12, 16, 224),
    "vit-l16": (1024, 24, 16, 16, 224),
    "check": (48, 3, 4, 8, 32),
}


class Block(nn.Module):
    """Pre-norm block: x += proj(attention(norm1(x))); x += fc2(gelu(fc1(norm2(x))))."""
    fused = False  # attention by PyTorch's own op, in all blocks

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def split(self, x):
        """(B, N, k D) -> k tensors (B, H, N, D / H)."""
        batch, tokens, columns = x.shape
        parts = columns // self.proj.in_features
        return x.reshape(batch, tokens, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q, k, v):
        """Heads of queries, keys and values -> projected output (B, N, D)."""
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def mlp(self, x):
        return self.fc2(F.gelu(self.fc1(self.norm2(x))))

    def forward(self, x):
        x = x + self.attend(*self.split(self.qkv(self.norm1(x))))
        return x + self.mlp(x)

    def forward_kv(self, x, prompts, only_class):
        """x (B, N, D) without prompts, prompts (P, D); with only_class the result is the class token's row (B, 1, D)."""
        width = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        y = self.norm1(x)
        if only_class:
            q, = self.split(F.linear(y[:, :1], weight[:width], bias[:width]))
            k, v = self.split(F.linear(y, weight[width:], bias[width:]))
            x = x[:, :1]
        else:
            q, k, v = self.split(self.qkv(y))
        if len(prompts):
            extra = F.linear(self.norm1(prompts).unsqueeze(0), weight[width:], bias[width:])
            prompt_k, prompt_v = self.split(extra)  # (1, H, P, D / H), shared by the batch
            batch = x.shape[0]
            k = torch.cat([prompt_k.expand(batch, -1, -1, -1), k], 2)
            v = torch.cat([prompt_v.expand(batch, -1, -1, -1), v], 2)
        x = x + self.attend(q, k, v)
        return x + self.mlp(x)


class PromptedViT(nn.Module):
    """Frozen ViT (class token, learned positions) with deep prompts (L, P, D) and a linear head that are trained."""

    def __init__(self, model, prompts, classes, form):
        super().__init__()
        width, depth, heads, patch, side = MODELS[model]
        self.form, self.side = form, side
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, (side // patch) ** 2 + 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.prompts = nn.Parameter(torch.empty(depth, prompts, width))
        self.head = nn.Linear(width, classes)
        for name, p in self.named_parameters():
            if "norm" not in name:
                nn.init.trunc_normal_(p, std=0.02)
            p.requires_grad_(name.split(".")[0] in ("prompts", "head"))

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)  # (B, patches, D)
        batch = x.shape[0]
        x = torch.cat([self.cls_token.expand(batch, -1, -1), x], 1) + self.pos_embed
        # Prompts and head may be wider than the backbone: f32 beside bf16.
        all_prompts = self.prompts.to(x.dtype)
        if self.form == "kv":
            for i, block in enumerate(self.blocks):
                x = block.forward_kv(x, all_prompts[i], i + 1 == len(self.blocks))
        else:
            skip = 1  # first image token: no prompts stand in the sequence before the first layer
            for i, block in enumerate(self.blocks):
                if len(all_prompts[i]):
                    x = torch.cat([x[:, :1], all_prompts[i].expand(batch, -1, -1), x[:, skip:]], 1)
                skip = 1 + all_prompts.shape[1]
                x = block(x)
        return self.head(self.norm(x)[:, 0].to(self.head.weight.dtype))


def check():
    """The two forms on images of 32 x 32; then the same with fused attention in the second."""
    return step.same_forms_twice(lambda form: PromptedViT("check", 5, 7, form), Block)


def fuse():
    Block.fused = True


if __name__ == "__main__":
    sys.exit(step.main(["vit-ti16", "vit-b16"], "vit-b16", PromptedViT, check, fuse))
