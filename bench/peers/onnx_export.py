#!/usr/bin/python3
"""onnx_export.py: writes vpt_step.py's ViT as ONNX files for onnx_infer.py, with a picture and its logits beside.

    onnx_export.py --model vit-ti16 --prompts 50 --form kv --out FOLDER

Prints the file's name, which ends in a digest of vpt_step.py; the picture is in the .npz of that name. Runs with Debian's
PyTorch, whose exporter needs no further package. The batch is free in the file; who runs it fixes it. A file that is
there already is kept: the weights are always the same.
"""
import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy
import torch

from vpt_step import PromptedViT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, default=0)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--form", choices=["textbook", "kv"], default="textbook")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    code = hashlib.sha256(Path(__file__).with_name("vpt_step.py").read_bytes()).hexdigest()[:8]
    target = Path(options.out) / f"{options.model}-p{options.prompts}-{options.form}-{code}.onnx"
    print(target)
    if target.exists():
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = PromptedViT(options.model, options.prompts, options.classes, options.form).eval()
    for p in model.parameters():
        p.requires_grad_(False)
    image = torch.randn(1, 3, model.side, model.side)
    numpy.savez(target.with_suffix(".npz"), image=image.numpy(), logits=model(image).numpy())
    part = target.with_suffix(".part")  # a file of that name is whole
    torch.onnx.export(model, torch.cat([image, image]), str(part), opset_version=14, input_names=["images"],
                      output_names=["logits"], dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}})
    os.replace(part, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
