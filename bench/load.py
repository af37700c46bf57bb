#!/usr/bin/python3
"""load.py: how long a ViT-B/16 takes to open in several programs' files, from the page cache.

    bench/load.py VITRINE [FOLDER]       # needs Debian's python3-torch, python3-torchvision and python3-numpy

Writes random weights (86.6 million) to FOLDER (a temporary one), 350 MB a file, reads each file once so that it lies in the page
cache, and lets `vitrine bench load` open each in turn, once in a process, fifteen rounds. Prints a table.
"""
import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"))
import make_dialects as dialects  # noqa: E402
import make_vit  # noqa: E402

CONFIG = dict(make_vit.PLAIN, image_size=224, patch=16, width=768, depth=12, heads=12, mlp_width=3072, classes=1000)
ROUNDS = 15


def files(folder):
    """File name -> (what it is, options)."""
    torch.manual_seed(0)
    w = {name: 0.02 * torch.randn(shape) for name, shape in make_vit.shapes(CONFIG).items()}
    depth = CONFIG["depth"]
    out = {}

    def path(name, what, *options):
        out[name] = (what, options)
        return folder / name

    deit = ("--backbone-config", "deit")
    dialects.save_safetensors_at(path("timm.safetensors", "safetensors, f32, timm", *deit), w)
    torch.save({"model": w}, path("deit.pth", "PyTorch, f32, DeiT's", *deit))
    half = {name: tensor.half() for name, tensor in w.items()}
    torch.save({"model": half}, path("half.pth", "PyTorch, f16, timm", *deit))

    def qkv(i, which, ending):
        return f"encoder.layer.{i}.attention.attention.{('query', 'key', 'value')[which]}.{ending}"

    hugging = dialects.renamed(dialects.split_qkv(w, qkv), [
        ("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"), ("norm.", "layernorm."),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection")] + dialects.block_pairs(depth, "encoder.layer.{}.", {
            "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
            "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}))
    hugging = {"classifier." + k[5:] if k.startswith("head.") else "vit." + k: t for k, t in hugging.items()}
    dialects.save_safetensors_at(
        path("hugging.safetensors", "safetensors, f32, Hugging Face", "--backbone-config", "google-vit"), hugging)

    jax = {"cls": w["cls_token"], "Transformer/posembed_input/pos_embedding": w["pos_embed"], **dialects.jax_outside(w)}
    for i in range(depth):
        block = dialects.jax_block(w, CONFIG, i, "LayerNorm_2", "MultiHeadDotProductAttention_1", "MlpBlock_3")
        jax.update({f"Transformer/encoderblock_{i}/{name}": t for name, t in block.items()})
    numpy.savez(path("google.npz", "npz, f32, Google"), **{name: t.numpy() for name, t in jax.items()})
    return out


def measure(program, folder):
    described = files(folder)
    found = collections.defaultdict(list)
    memory = collections.defaultdict(list)
    for name in described:
        (folder / name).read_bytes()
    for _ in range(ROUNDS):
        for name, (_, options) in described.items():
            run = subprocess.run([program, "bench", "load", folder / name, *options, "--runs", "1", "--json"],
                                 check=True, capture_output=True, text=True)
            told = json.loads(run.stdout)
            found[name] += told["seconds"]
            memory[name].append(told["memory"] / told["weights"])
    print("| file | size, MB | seconds, middle of 15 | least to most | memory / weights |")
    print("|---|---|---|---|---|")
    for name, (what, _) in described.items():
        s = found[name]
        print(f"| {what} | {(folder / name).stat().st_size / 1e6:.0f} | {statistics.median(s):.3f} | "
              f"{min(s):.3f} to {max(s):.3f} | {max(memory[name]):.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the vitrine to measure")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="where the files go, and stay")
    o = parser.parse_args()
    if o.folder is not None:
        o.folder.mkdir(parents=True, exist_ok=True)
        measure(o.program, o.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(o.program, pathlib.Path(folder))


if __name__ == "__main__":
    main()
