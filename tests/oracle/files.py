"""files.py: what the oracles share: safetensors files, labels, and how a program gives up.

Not a program. Shares no code with Vitrine.
"""
import json
import os
import struct
import sys

import numpy
import torch

NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1"}


def fail(message):
    """Says one line on stderr and ends the program with status 1."""
    print(f"{os.path.basename(sys.argv[0]).removesuffix('.py')}: {message}", file=sys.stderr)
    sys.exit(1)


# --- safetensors: u64 length of a JSON header, the header, then the bytes ---

def read_safetensors(path):
    """Two dictionaries: name -> torch tensor, in the type of the file (BF16 as f32); metadata, string -> string."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    try:
        length, = struct.unpack_from("<Q", content)
        header = json.loads(content[8:8 + length])
        metadata = header.pop("__metadata__", {})
        tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            data = content[8 + length + begin:8 + length + end]
            if entry["dtype"] == "BF16":  # a bf16 is the upper half of an f32
                array = (numpy.frombuffer(data, "<u2").astype(numpy.uint32) << 16).view(numpy.float32)
            else:
                array = numpy.frombuffer(data, NUMPY_TYPES[entry["dtype"]])
            tensors[name] = torch.from_numpy(array.reshape(entry["shape"]).copy())
        return tensors, metadata
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        fail(f"{path}: not a safetensors file that this program can read ({error!r})")


def write_safetensors(path, tensors):
    """Writes every tensor as F64."""
    header, blobs, offset = {}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.detach().double().contiguous().numpy().astype("<f8").tobytes()
        header[name] = {"dtype": "F64", "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


# --- what is computed from the images of a file ---

def read_images(path):
    """The tensors of a file that must hold `images` (B, 3, H, W)."""
    inputs, _ = read_safetensors(path)
    if "images" not in inputs or inputs["images"].dim() != 4:
        fail(f"{path}: expected a tensor 'images' (B, 3, H, W)")
    return inputs


def read_labels(text, inputs, batch, classes):
    """The labels (B) that --grad names: `3,1,4` or an integer tensor of the images file."""
    try:
        labels = inputs[text].long() if text in inputs else torch.tensor([int(part) for part in text.split(",")])
    except ValueError:
        fail(f"--grad: expected labels such as 3,1,4 or the name of a tensor in the images file, got '{text}'")
    if labels.shape != (batch,) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        fail(f"--grad: expected {batch} labels from 0 to {classes - 1}, got {labels.tolist()}")
    return labels


def results(run, inputs, trained, grad):
    """`logits` = run(images); with labels in `grad` also `loss` (mean cross entropy) and `grad.*` of the trained tensors."""
    if not grad:
        with torch.no_grad():
            return {"logits": run(inputs["images"])}
    for tensor in trained.values():
        tensor.requires_grad_(True)
    logits = run(inputs["images"])
    labels = read_labels(grad, inputs, *logits.shape)
    loss = (torch.logsumexp(logits, 1) - logits[torch.arange(len(labels)), labels]).mean()
    gradients = torch.autograd.grad(loss, list(trained.values()))
    return {"logits": logits, "loss": loss, **{"grad." + name: g for name, g in zip(trained, gradients)}}
