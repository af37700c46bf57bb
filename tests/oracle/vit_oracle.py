#!/usr/bin/python3
"""vit_oracle.py: an independent Vision Transformer with visual prompts, to compare whole models with.

Needs Debian's python3-torch (and python3-pil for --predict), nothing else; safetensors files are read and written by
files.py. Shares no code with Vitrine or with bench/peers. All arithmetic is f64 unless --dtype f32.

    # logits of tensor `images` (B, 3, H, W), already normalised, as tensor `logits` (B, C)
    vit_oracle.py --backbone vit.safetensors --task task.safetensors --images in.safetensors --out out.safetensors

    # also `loss` (mean cross entropy), `grad.prompts`, `grad.head.weight`, `grad.head.bias`
    vit_oracle.py ... --grad 3,1,4      # the labels, or the name of an integer tensor (B) in the images file

    # top-1 of every image below a folder, one JSON line each: resize 256 bicubic, center crop 224, ImageNet mean / std
    vit_oracle.py --backbone deit_tiny.safetensors --predict photos/

Backbone: timm's key names (cls_token, pos_embed, patch_embed.proj, blocks.N.norm1, ...). Pre-norm blocks, LayerNorm
eps 1e-6, erf GELU, fused qkv. Optional: blocks.N.ls1.gamma / ls2.gamma (LayerScale), norm_pre, no qkv bias.
Task file (optional): `prompts` (P, D) is VPT-shallow, (L, P, D) is VPT-deep, absent means a linear probe;
`head.weight` (C, D), `head.bias` (C). Without a task file the backbone's own head is used.
Prompts stand behind the class token and get no position. Shallow prompts live through all layers; deep ones are
replaced before each layer (Jia et al., "Visual Prompt Tuning", ECCV 2022, eq. 4 to 6).
Pooling: `token` takes the class token after `norm`; `avg` the mean of the image tokens (neither class token nor
prompts) after `norm`, or, where the backbone has `fc_norm` instead, fc_norm of their mean.
Exit status 1 with one line on stderr when an input does not fit.
"""
import argparse
import json
import math
import os

import numpy
import torch

from files import fail, read_images, read_safetensors, results, write_safetensors

HEADS_BY_WIDTH = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- the model, as functions of a dictionary of weights ---

def layer_norm(w, name, x, eps):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * w[name + ".weight"] + w[name + ".bias"]


def linear(w, name, x):
    y = torch.einsum("bnd,od->bno", x, w[name + ".weight"])
    return y + w[name + ".bias"] if name + ".bias" in w else y


def attention(w, name, x, heads):
    batch, tokens, width = x.shape
    q, k, v = (t.reshape(batch, tokens, heads, width // heads) for t in linear(w, name + ".qkv", x).split(width, -1))
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(width // heads)
    scores = torch.exp(scores - scores.max(-1, keepdim=True).values.detach())
    weights = scores / scores.sum(-1, keepdim=True)
    return linear(w, name + ".proj", torch.einsum("bhnm,bmhd->bnhd", weights, v).reshape(batch, tokens, width))


def mlp(w, name, x):
    x = linear(w, name + ".fc1", x)
    return linear(w, name + ".fc2", 0.5 * x * (1 + torch.erf(x / math.sqrt(2))))


def scaled(w, name, x):
    return x * w[name + ".gamma"] if name + ".gamma" in w else x


def block(w, name, x, heads, eps):
    x = x + scaled(w, name + ".ls1", attention(w, name + ".attn", layer_norm(w, name + ".norm1", x, eps), heads))
    return x + scaled(w, name + ".ls2", mlp(w, name + ".mlp", layer_norm(w, name + ".norm2", x, eps)))


def embed(w, images):
    """Images (B, 3, H, W) -> class token and patches with positions (B, 1 + patches, D)."""
    weight = w["patch_embed.proj.weight"]
    side = weight.shape[-1]
    batch, channels, height, width = images.shape
    if channels != weight.shape[1] or height % side or width % side:
        fail(f"images: expected {weight.shape[1]} channels and sides that are multiples of {side}, got {tuple(images.shape)}")
    patches = images.reshape(batch, channels, height // side, side, width // side, side)
    x = torch.einsum("bciyjx,dcyx->bijd", patches, weight).flatten(1, 2)
    if "patch_embed.proj.bias" in w:
        x = x + w["patch_embed.proj.bias"]
    x = torch.cat([w["cls_token"].expand(batch, 1, -1), x], 1)
    if w["pos_embed"].shape[1] != x.shape[1]:
        fail(f"pos_embed: expected {x.shape[1]} positions for images of {height} x {width}, got {w['pos_embed'].shape[1]}")
    return x + w["pos_embed"]


def forward(w, images, prompts, head, heads, pool, eps):
    """Logits (B, C). prompts: None, (P, D) or (L, P, D); head: (weight, bias or None)."""
    x = embed(w, images)
    if "norm_pre.weight" in w:
        x = layer_norm(w, "norm_pre", x, eps)
    batch = x.shape[0]
    depth = 1 + max(int(key.split(".")[1]) for key in w if key.startswith("blocks."))
    count = 0 if prompts is None else prompts.shape[-2]
    if prompts is not None and prompts.dim() == 3 and prompts.shape[0] != depth:
        fail(f"prompts: expected one set for each of {depth} layers, got {tuple(prompts.shape)}")
    for layer in range(depth):
        if prompts is not None and (layer == 0 or prompts.dim() == 3):
            own = prompts[layer] if prompts.dim() == 3 else prompts
            images_from = 1 if layer == 0 else 1 + count
            x = torch.cat([x[:, :1], own.expand(batch, -1, -1), x[:, images_from:]], 1)
        x = block(w, f"blocks.{layer}", x, heads, eps)
    if pool == "avg" and "fc_norm.weight" in w:
        pooled = layer_norm(w, "fc_norm", x[:, 1 + count:].mean(1), eps)
    else:
        x = layer_norm(w, "norm", x, eps)
        pooled = x[:, 0] if pool == "token" else x[:, 1 + count:].mean(1)
    weight, bias = head
    logits = torch.einsum("bd,cd->bc", pooled, weight)
    return logits if bias is None else logits + bias


# --- images ---

def load_image(path, resize, crop):
    """File -> normalised (1, 3, crop, crop): shorter side to `resize` by Pillow's bicubic, then the middle."""
    from PIL import Image
    with Image.open(path) as image:
        image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    width, height = (resize if side == short else int(resize * side / short) for side in (width, height))
    image = image.resize((width, height), Image.BICUBIC)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    pixels = numpy.asarray(image.crop((left, top, left + crop, top + crop)), dtype=numpy.float64) / 255
    return torch.from_numpy(((pixels - MEAN) / STD).transpose(2, 0, 1).copy()).unsqueeze(0)


def predict(run, folder, resize, crop):
    """Prints {"image", "top1", "top5"} for each image below the folder, in bytewise order of the paths."""
    suffixes = (".jpg", ".jpeg", ".png", ".bmp", ".ppm")
    paths = [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names
             if name.lower().endswith(suffixes)]
    if not paths:
        fail(f"{folder}: no image found")
    for path in sorted(paths, key=os.fsencode):
        logits = run(load_image(path, resize, crop))[0]
        best = logits.topk(min(5, logits.numel())).indices.tolist()
        print(json.dumps({"image": os.path.relpath(path, folder), "top1": best[0], "top5": best}), flush=True)


# --- the command ---

def main():
    parser = argparse.ArgumentParser(description="Independent ViT with visual prompts; see the head of this file.")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--task", help="prompts and head; without it the backbone's own head is used")
    parser.add_argument("--images", help="safetensors file with `images` (B, 3, H, W)")
    parser.add_argument("--out", help="safetensors file to write")
    parser.add_argument("--grad", metavar="LABELS", help="labels (3,1,4 or a tensor's name): write loss and gradients too")
    parser.add_argument("--predict", metavar="DIR", help="print the top-1 class of each image below DIR")
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--heads", type=int, help="attention heads, where the width does not tell")
    parser.add_argument("--pool", choices=["token", "avg"], default="token")
    parser.add_argument("--eps", type=float, default=1e-6)
    parser.add_argument("--dtype", choices=["f64", "f32"], default="f64")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if bool(options.predict) == bool(options.images) or bool(options.images) != bool(options.out):
        parser.error("expected either --images and --out, or --predict")

    torch.set_num_threads(options.threads)
    dtype = torch.float64 if options.dtype == "f64" else torch.float32
    w = {name: tensor.to(dtype) for name, tensor in read_safetensors(options.backbone)[0].items()}
    task = {name: tensor.to(dtype) for name, tensor in read_safetensors(options.task)[0].items()} if options.task else w
    for name, holder in (("cls_token", w), ("pos_embed", w), ("patch_embed.proj.weight", w), ("head.weight", task)):
        if name not in holder:
            fail(f"tensor '{name}' is missing")
    width = w["cls_token"].shape[-1]
    heads = options.heads or HEADS_BY_WIDTH.get(width)
    if not heads or width % heads:
        fail(f"--heads: expected a divisor of the width {width}, got {heads}")
    prompts = task.get("prompts")
    if prompts is not None and (prompts.dim() not in (2, 3) or prompts.shape[-1] != width):
        fail(f"prompts: expected (P, {width}) or (layers, P, {width}), got {tuple(prompts.shape)}")
    trained = {name: task[name] for name in ("prompts", "head.weight", "head.bias") if name in task}

    def run(images):
        head = (task["head.weight"], task.get("head.bias"))
        return forward(w, images.to(dtype), prompts, head, heads, options.pool, options.eps)

    if options.predict:
        with torch.no_grad():
            predict(run, options.predict, options.resize, options.crop)
        return
    write_safetensors(options.out, results(run, read_images(options.images), trained, options.grad))


if __name__ == "__main__":
    main()
