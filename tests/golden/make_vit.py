#!/usr/bin/python3
"""make_vit.py: known answers for the ViT's descendants, by an independent implementation in PyTorch.

    make_vit.py vit.safetensors

Needs Debian's python3-torch, nothing else; shares no code with Vitrine. Writes what tests/vit_descendants_test.cpp
expects: for each small model its configuration, the names and shapes of its tensors, and in f64 its own logits, and under
shallow and deep prompts with a head logits, mean cross entropy and the gradients of prompts and head. Weights, images,
prompts and labels are not stored: both sides make them by the rule of `numbers` below.

The models are written as their papers and timm's source say, with nothing made fast: prompts are tokens behind those that
stand before the patches, deep ones replaced before each block (arXiv 2203.12119, equations 4 to 6); pooling never looks at
them. What a tuned head gets of a distilled model is the mean of both tokens' rows, which is timm's `pre_logits`.
"""
import json
import pathlib
import sys

import numpy
import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "oracle"))
from files import write_safetensors  # noqa: E402

PLAIN = dict(model="vit", image_size=24, patch=6, width=24, depth=2, heads=4, mlp_width=40, classes=5, pooling="token",
             class_token=True, gelu="erf", epsilon=1e-6)
CASES = {
    "odd sizes": dict(image_size=30, patch=5, width=18, heads=2, mlp_width=68, gelu="tanh", epsilon=1e-12),
    "one block": dict(depth=1, heads=1, layer_scale=True),
    "LayerScale, positions of patches": dict(layer_scale=True, prefix_positions=False),  # DeiT-III
    "registers": dict(layer_scale=True, registers=4, prefix_positions=False),  # DINOv2
    "registers with positions": dict(registers=4),
    "distilled": dict(distillation_token=True),  # DeiT
    "CLIP": dict(norm_pre=True, gelu="quick", epsilon=1e-5, patch_bias=False, head_bias=False),
    "no qkv bias": dict(qkv_bias=False),  # MIIL
    "SigLIP": dict(pooling="map", class_token=False, gelu="tanh", mlp_width=37),
    "gated": dict(gated_mlp=True, layer_scale=True, mlp_width=31),  # DINOv2's giant
    "mean of patches": dict(pooling="mean", registers=2),
    "mean without class token": dict(pooling="mean", class_token=False),
    "mean of normed patches": dict(pooling="normed_mean", class_token=False),
    "all at once": dict(distillation_token=True, registers=3, prefix_positions=False, norm_pre=True, gelu="quick",
                        epsilon=1e-5, layer_scale=True, gated_mlp=True, qkv_bias=False, patch_bias=False,
                        head_bias=False),
    "map behind a prefix": dict(pooling="map", registers=2, layer_scale=True, gated_mlp=True),
}
BATCH, PROMPTS, LABELS = 2, 3, [3, 1]


# --- numbers by a rule ---

def numbers(name, shape):
    """Number k of the tensor `name`: 24 bits of a hash of both, as a fraction, less 1/2; gains are around 1, matrices half."""
    seed = 2166136261
    for byte in name.encode():  # FNV-1a
        seed = (seed ^ byte) * 16777619 & 0xFFFFFFFF
    x = (numpy.arange(int(numpy.prod(shape)), dtype=numpy.uint64) * 0x9E3779B9 + seed) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> numpy.uint64(shift))) * numpy.uint64(factor) & numpy.uint64(0xFFFFFFFF)
    x ^= x >> numpy.uint64(16)
    gain = len(shape) == 1 and name.endswith((".weight", ".gamma"))
    values = (x >> numpy.uint64(8)).astype(numpy.float64) / 2 ** 24 - 0.5
    values = values + 1 if gain else values / 2 if len(shape) > 1 else values
    return torch.from_numpy(values.reshape(shape))


def shapes(c):
    """Name -> shape, as timm names them."""
    d, m, out = c["width"], c["mlp_width"], {}

    def norm(name):
        out[name + ".weight"], out[name + ".bias"] = [d], [d]

    def linear(name, rows, columns, bias=True):
        out[name + ".weight"] = [rows, columns]
        if bias:
            out[name + ".bias"] = [rows]

    prefix = prefix_tokens(c)
    patches = (c["image_size"] // c["patch"]) ** 2
    if c["class_token"]:
        out["cls_token"] = [1, 1, d]
    if c.get("distillation_token"):
        out["dist_token"] = [1, 1, d]
    if c.get("registers"):
        out["reg_token"] = [1, c["registers"], d]
    out["pos_embed"] = [1, patches + (prefix if c.get("prefix_positions", True) else 0), d]
    out["patch_embed.proj.weight"] = [d, 3, c["patch"], c["patch"]]
    if c.get("patch_bias", True):
        out["patch_embed.proj.bias"] = [d]
    if c.get("norm_pre"):
        norm("norm_pre")
    for i in range(c["depth"]):
        block = f"blocks.{i}."
        norm(block + "norm1")
        linear(block + "attn.qkv", 3 * d, d, c.get("qkv_bias", True))
        linear(block + "attn.proj", d, d)
        norm(block + "norm2")
        linear(block + "mlp.fc1", 2 * m if c.get("gated_mlp") else m, d)
        linear(block + "mlp.fc2", d, m)
        if c.get("layer_scale"):
            out[block + "ls1.gamma"] = out[block + "ls2.gamma"] = [d]
    norm("fc_norm" if c["pooling"] == "mean" else "norm")
    if c["pooling"] == "map":
        out["attn_pool.latent"] = [1, 1, d]
        linear("attn_pool.q", d, d)
        linear("attn_pool.kv", 2 * d, d)
        linear("attn_pool.proj", d, d)
        norm("attn_pool.norm")
        linear("attn_pool.mlp.fc1", m, d)
        linear("attn_pool.mlp.fc2", d, m)
    linear("head", c["classes"], d, c.get("head_bias", True))
    if c.get("distillation_token"):
        linear("head_dist", c["classes"], d, c.get("head_bias", True))
    return out


# --- the model, as functions of a dictionary of weights ---

def prefix_tokens(c):
    return int(c["class_token"]) + int(c.get("distillation_token", False)) + c.get("registers", 0)


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def norm(w, c, name, x):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], c["epsilon"])


def activation(c, x):
    if c["gelu"] == "quick":
        return x * torch.sigmoid(1.702 * x)
    if c["gelu"] == "erf":
        return F.gelu(x)
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x ** 3)))


def attend(q, k, v, heads):
    """(B, Tq, D), (B, T, D), (B, T, D) -> (B, Tq, D)"""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
    return (weights @ v).transpose(1, 2).flatten(2)


def mlp(w, c, name, x, gated):
    x = linear(w, name + ".fc1", x)
    if gated:
        gate, x = x.chunk(2, -1)
        return linear(w, name + ".fc2", F.silu(gate) * x)
    return linear(w, name + ".fc2", activation(c, x))


def block(w, c, name, x):
    first = attend(*linear(w, name + ".attn.qkv", norm(w, c, name + ".norm1", x)).chunk(3, -1), c["heads"])
    x = x + w.get(name + ".ls1.gamma", 1) * linear(w, name + ".attn.proj", first)
    second = mlp(w, c, name + ".mlp", norm(w, c, name + ".norm2", x), c.get("gated_mlp", False))
    return x + w.get(name + ".ls2.gamma", 1) * second


def embed(w, c, images):
    patches = F.conv2d(images, w["patch_embed.proj.weight"], w.get("patch_embed.proj.bias"), stride=c["patch"])
    patches = patches.flatten(2).transpose(1, 2)
    before = [w[name].expand(len(images), -1, -1) for name in ("cls_token", "dist_token", "reg_token") if name in w]
    if c.get("prefix_positions", True):
        x = torch.cat(before + [patches], 1) + w["pos_embed"]
    else:
        x = torch.cat(before + [patches + w["pos_embed"]], 1)
    return norm(w, c, "norm_pre", x) if c.get("norm_pre") else x


def encode(w, c, images, prompts):
    """What the last block gives, without prompts: (B, prefix + N, D)."""
    x, first = embed(w, c, images), prefix_tokens(c)
    count = 0
    for i in range(c["depth"]):
        if prompts is not None and (i == 0 or prompts.dim() == 3):
            own = (prompts[i] if prompts.dim() == 3 else prompts).expand(len(images), -1, -1)
            x = torch.cat([x[:, :first], own, x[:, first + count:]], 1)
            count = own.shape[1]
        x = block(w, c, f"blocks.{i}", x)
    return torch.cat([x[:, :first], x[:, first + count:]], 1)


def pool(w, c, x):
    """(B, prefix + N, D) -> the rows that have heads, (B, 1 or 2, D)"""
    first = prefix_tokens(c)
    if c["pooling"] == "mean":
        return norm(w, c, "fc_norm", x[:, first:].mean(1, keepdim=True))
    x = norm(w, c, "norm", x)
    if c["pooling"] == "token":
        return x[:, :2 if c.get("distillation_token") else 1]
    x = x[:, first:]
    if c["pooling"] == "normed_mean":
        return x.mean(1, keepdim=True)
    question = linear(w, "attn_pool.q", w["attn_pool.latent"].expand(len(x), -1, -1))
    x = linear(w, "attn_pool.proj", attend(question, *linear(w, "attn_pool.kv", x).chunk(2, -1), c["heads"]))
    return x + mlp(w, c, "attn_pool.mlp", norm(w, c, "attn_pool.norm", x), False)


def own_logits(w, c, images):
    rows = pool(w, c, encode(w, c, images, None))
    heads = [linear(w, name, rows[:, i]) for i, name in enumerate(("head", "head_dist")[:rows.shape[1]])]
    return sum(heads) / len(heads)


def tuned(w, c, images, prompts, head, bias):
    return F.linear(pool(w, c, encode(w, c, images, prompts)).mean(1), head, bias)


# --- the file ---

def write(path, tensors, metadata):
    """write_safetensors, with metadata."""
    write_safetensors(path, tensors)
    content = pathlib.Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = {"__metadata__": metadata, **json.loads(content[8:8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length:])


def main():
    torch.set_num_threads(1)
    out, metadata = {}, {"made by": "tests/golden/make_vit.py"}
    for name, changes in CASES.items():
        c = {**PLAIN, **changes}
        all_shapes = shapes(c)
        w = {key: numbers(key, shape) for key, shape in all_shapes.items()}
        metadata[name] = json.dumps(c)
        metadata[name + ": tensors"] = "".join(f"{key} ({', '.join(map(str, all_shapes[key]))})\n" for key in sorted(all_shapes))
        images = numbers("images", [BATCH, 3, c["image_size"], c["image_size"]])
        out[name + ": logits"] = own_logits(w, c, images)
        for kind, shape in (("shallow", [PROMPTS, c["width"]]), ("deep", [c["depth"], PROMPTS, c["width"]])):
            leaves = {"prompts": numbers("prompts", shape), "head.weight": numbers("task.head", [c["classes"], c["width"]]),
                      "head.bias": numbers("task.bias", [c["classes"]])}
            for leaf in leaves.values():
                leaf.requires_grad_()
            logits = tuned(w, c, images, *leaves.values())
            loss = F.cross_entropy(logits, torch.tensor(LABELS))
            loss.backward()
            out[f"{name}: {kind}: logits"], out[f"{name}: {kind}: loss"] = logits, loss
            out.update({f"{name}: {kind}: {key}": leaf.grad for key, leaf in leaves.items()})
    write(sys.argv[1], out, metadata)


if __name__ == "__main__":
    main()
