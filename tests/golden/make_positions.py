#!/usr/bin/python3
"""make_positions.py: position embeddings resampled by PyTorch, as each program asks it to.

    tests/golden/make_positions.py       # needs Debian's python3-torch, python3-torchvision and python3-numpy

Writes tests/golden/positions.safetensors: for each filter and pair of grids `FILTER.P.g.n`, what PyTorch makes in f64 of
the embedding (1, P + g g, 3) that follows make_vit.py's rule under the name `pos_embed`; for torchvision's own function
`torchvision.1.g.n`. Antialiasing exists in f32 alone. Shares no code with Vitrine.
"""
import argparse
import pathlib

import torch
import torchvision.models.vision_transformer as vision_transformer
from torch.nn.functional import interpolate

from make_dialects import save_safetensors_at
from make_vit import numbers

WIDTH = 3
PAIRS = [(14, 24), (14, 10), (7, 14), (14, 7), (5, 5), (3, 8), (8, 3), (1, 4), (4, 1), (2, 3), (16, 37), (37, 16)]

FILTERS = {
    "bicubic": lambda grid, g, n: interpolate(grid, size=(n, n), mode="bicubic", align_corners=False),
    "bicubic-antialias": lambda grid, g, n: interpolate(grid.float(), size=(n, n), mode="bicubic", align_corners=False, antialias=True),
    "bicubic-offset": lambda grid, g, n: interpolate(grid, scale_factor=((n + 0.1) / g,) * 2, mode="bicubic"),
    "bicubic-corners": lambda grid, g, n: interpolate(grid, size=(n, n), mode="bicubic", align_corners=True),
    "bilinear": lambda grid, g, n: interpolate(grid, size=(n, n), mode="bilinear", align_corners=False),
    "bilinear-corners": lambda grid, g, n: interpolate(grid, size=(n, n), mode="bilinear", align_corners=True),
}


def resampled(embedding, prefix, g, n, function):
    grid = embedding[:, prefix:].reshape(1, g, g, WIDTH).permute(0, 3, 1, 2)
    grid = function(grid, g, n).to(embedding.dtype)
    assert grid.shape[-2:] == (n, n)
    return torch.cat([embedding[:, :prefix], grid.permute(0, 2, 3, 1).reshape(1, n * n, WIDTH)], dim=1)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    out = {}
    for k, (g, n) in enumerate(PAIRS):
        prefix = k % 3
        embedding = numbers("pos_embed", [1, prefix + g * g, WIDTH])
        for name, function in FILTERS.items():
            out[f"{name}.{prefix}.{g}.{n}"] = resampled(embedding, prefix, g, n, function)
        if prefix == 1 and g != n:
            state = {"encoder.pos_embedding": embedding}
            state = vision_transformer.interpolate_embeddings(image_size=16 * n, patch_size=16, model_state=state)
            out[f"torchvision.{prefix}.{g}.{n}"] = state["encoder.pos_embedding"]
    save_safetensors_at(pathlib.Path(__file__).resolve().parent / "positions.safetensors", {k: v.float() for k, v in out.items()})


if __name__ == "__main__":
    main()
