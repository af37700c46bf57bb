#!/usr/bin/python3
"""make.py: the checkpoints in this folder, written by PyTorch and numpy themselves, with what they hold.

    tests/golden/make.py        # needs Debian's python3-torch (1.13), python3-numpy and python3-pil

Beside each NAME.EXT stands NAME.EXT.expected, a safetensors file of our own writing with the same tensors, row-major
and of the types that Vitrine reads them as. Keys of storages in files of old PyTorch are addresses, which differ from
run to run; all else is the same each time.
"""
import argparse
import collections
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import torch
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))
out = os.path.join(here, "containers")
seeds = os.path.join(here, "images")

names = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
         torch.int64: "I64", torch.int32: "I32", torch.int8: "I8", torch.uint8: "U8"}
widened = {torch.bool: torch.uint8, torch.int16: torch.int32}


def expected(name, tensors):
    """Writes what a reader should find: a name for each tensor (torch's or numpy's)."""
    header, data = {}, b""
    for key, tensor in sorted(tensors.items()):
        tensor = tensor.detach().contiguous()
        tensor = tensor.to(widened.get(tensor.dtype, tensor.dtype))
        as_bytes = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        raw = as_bytes.numpy().tobytes()
        header[key] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape),
                       "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(out, name + ".expected"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def values(*shape, start=0):
    return torch.sin(torch.arange(start, start + int(np.prod(shape)), dtype=torch.float64)).reshape(shape)


def state():
    """Every form of tensor that a state dict may hold."""
    shared = values(4, 6).float()
    state = collections.OrderedDict()
    state["module.weight"] = shared
    state["module.transposed"] = shared.t()
    state["module.column"] = shared[:, 2]
    state["module.inner"] = shared[1:3, 2:5]
    state["module.rows"] = shared[2:]
    state["module.expanded"] = values(3, 1).float().expand(3, 5)
    state["module.permuted"] = values(2, 3, 4, start=7).float().permute(2, 0, 1)
    state["module.parameter"] = torch.nn.Parameter(values(5).float())
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        state["module." + str(dtype)[6:]] = values(3, 2, start=3).to(dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8):
        state["module." + str(dtype)[6:]] = torch.tensor([-3, 0, 1, 100]).to(dtype)
    state["module.uint8"] = torch.tensor([0, 1, 255], dtype=torch.uint8)
    state["module.bool"] = torch.tensor([True, False, True])
    state["module.scalar"] = torch.tensor(2.5)
    state["module.empty"] = torch.zeros(0, 3)
    state["module.one"] = values(1, 1).float().t()
    return state


def complete():
    inner = state()
    with_more = collections.OrderedDict(inner)
    with_more["complex"] = torch.tensor([1 + 2j])
    with_more["sparse"] = torch.eye(3).to_sparse()
    with_more["quantised"] = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    with_more["array"] = np.arange(3)
    with_more["config"] = argparse.Namespace()
    with_more._metadata = {"": {"version": 1}}
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return inner, {"model": with_more, "optimizer": optimizer.state_dict(), "epoch": 300, "best": 0.875,
                   "args": argparse.Namespace(lr=0.1, tags=["a", {"b"}], big=1 << 80, size=torch.Size([2, 3]),
                                              dtype=torch.float16, device=torch.device("cpu")),
                   "rng": torch.arange(4, dtype=torch.uint8)[:0].numpy()}


def repacked(name, target, method):
    """The same archive by Python's zipfile: other headers, unaligned, maybe compressed."""
    with zipfile.ZipFile(os.path.join(out, name)) as source, \
            zipfile.ZipFile(os.path.join(out, target), "w", method) as copy:
        for entry in source.infolist():
            copy.writestr(zipfile.ZipInfo(entry.filename), source.read(entry), method)


class Storage:
    """A reference to bytes, as torch's pickles have it."""

    def __init__(self, kind, key, numel):
        self.id = ("storage", kind, key, "cpu", numel)


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def named(module, name):
    """A function that pickles by its name, whether it exists in this version or not."""
    def function():
        pass
    function.__module__, function.__qualname__, function.__name__ = module, name, name
    parent = sys.modules.setdefault(module, types.ModuleType(module))
    setattr(parent, name, function)
    return function


def archive(name, obj, storages, more=()):
    """A checkpoint of our own making, where this torch cannot write such a one."""
    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return value.id if isinstance(value, Storage) else None
    program = io.BytesIO()
    Pickler(program, 2).dump(obj)
    with zipfile.ZipFile(os.path.join(out, name), "w") as file:
        for member, data in [("data.pkl", program.getvalue()), *more, ("version", b"3\n"),
                             *((f"data/{key}", data) for key, data in storages.items())]:
            file.writestr(zipfile.ZipInfo("archive/" + member), data)


def protocol5():
    """Beside the weights, values for which only newer protocols have opcodes, and a tensor, as ImageNet's recipe saves."""
    model = collections.OrderedDict({"layer.weight": values(2, 3).float(), "layer.bias": values(3).half()})
    torch.save({"state_dict": model, "best_acc1": torch.tensor(76.25), "tags": frozenset((1, 2)), "big": 1 << 3000,
                "raw": bytearray(b"xyz")}, os.path.join(out, "protocol5.pth"), pickle_protocol=5)
    expected("protocol5.pth", model)


def torch_files():
    inner, whole = complete()
    torch.save(whole, os.path.join(out, "state.pth"))
    torch.save(whole, os.path.join(out, "old.pth"), _use_new_zipfile_serialization=False)
    torch.save(state(), os.path.join(out, "protocol4.pth"), pickle_protocol=4)
    torch.save(state(), os.path.join(out, "old4.pth"), pickle_protocol=4, _use_new_zipfile_serialization=False)
    repacked("state.pth", "stored.pth", zipfile.ZIP_STORED)
    repacked("state.pth", "deflated.pth", zipfile.ZIP_DEFLATED)
    for name in ("state.pth", "old.pth", "protocol4.pth", "old4.pth", "stored.pth", "deflated.pth"):
        expected(name, inner)

    protocol5()

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 2)
            self.scale = torch.nn.Parameter(values(2, 3).float())
            self.register_buffer("steps", torch.tensor(7))
            self.layers = torch.nn.Sequential(torch.nn.LayerNorm(3), torch.nn.Conv2d(3, 2, 2, bias=False))

        def forward(self, x):
            return self.linear(x)

    block = Block()
    with torch.no_grad():
        for i, parameter in enumerate(block.parameters()):
            parameter.copy_(values(*parameter.shape, start=i).float())
    block.scale = torch.nn.Parameter(values(3, 2).float().t())
    torch.jit.script(block.half()).save(os.path.join(out, "script.pt"))
    expected("script.pt", block.state_dict())
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(values(*parameter.shape, start=i).float())
    torch.save(module, os.path.join(out, "module.pth"))
    expected("module.pth", module.state_dict())

    rebuild2, rebuild1 = torch._utils._rebuild_tensor_v2, torch._utils._rebuild_tensor
    rebuild3 = named("torch._utils", "_rebuild_tensor_v3")
    with_state = named("torch._utils", "_rebuild_parameter_with_state")
    untyped = named("torch.storage", "UntypedStorage")
    floats, shorts = np.arange(6, dtype=np.float32) / 4, np.arange(-3, 3, dtype=np.int16)
    hooks = collections.OrderedDict()
    f, s = Storage(torch.FloatStorage, "0", 6), Storage(torch.ShortStorage, "1", 6)
    archive("big_endian.pth",
            {"weight": Call(rebuild2, f, 0, (2, 3), (3, 1), False, hooks),
             "transposed": Call(rebuild1, f, 0, (3, 2), (1, 3)),
             "shorts": Call(rebuild2, s, 1, (5,), (1,), False, hooks)},
            {"0": floats.astype(">f4").tobytes(), "1": shorts.astype(">i2").tobytes()}, [("byteorder", b"big")])
    expected("big_endian.pth", {"weight": torch.tensor(floats).reshape(2, 3),
                                "transposed": torch.tensor(floats).reshape(2, 3).t(),
                                "shorts": torch.tensor(shorts)[1:]})
    u = Storage(untyped, "0", 24)
    size = Call(torch.Size, (2, 3))
    unsigned = {bits: named("torch", f"uint{bits}") for bits in (16, 32, 64)}
    archive("untyped.pth",
            {"weight": Call(rebuild3, u, 0, size, [3, 1], False, hooks, torch.float32),
             "parameter": Call(with_state, Call(rebuild3, u, 2, (4,), (1,), False, hooks, torch.float32, None), True,
                               hooks, {}),
             "words": Call(rebuild3, u, 0, (12,), (1,), False, hooks, unsigned[16]),
             "u32": Call(rebuild3, u, 0, (6,), (1,), False, hooks, unsigned[32]),
             "u64": Call(rebuild3, u, 0, (3,), (1,), False, hooks, unsigned[64]),
             "float8": Call(rebuild3, u, 0, (24,), (1,), False, hooks, named("torch", "float8_e4m3fn")),
             "strange": Call(rebuild3, u, 0, (24,), (1,), False, hooks, named("torch", "strange"))},
            {"0": floats.tobytes()}, [("byteorder", b"little")])
    expected("untyped.pth", {"weight": torch.tensor(floats).reshape(2, 3), "parameter": torch.tensor(floats)[2:],
                             "words": torch.tensor(floats.view(np.uint16).astype(np.int32)),
                             "u32": torch.tensor(floats.view(np.uint32).astype(np.int64))})


def numpy_files():
    arrays = {"params/head/kernel": values(3, 4).float().numpy(), "fortran": np.asfortranarray(values(4, 3, 2).numpy()),
              "big": values(2, 3).numpy().astype(">f4"), "scalar": np.float32(1.5), "empty": np.zeros((0, 4), np.float32),
              "half": values(5).half().numpy(), "bool": np.array([True, False]),
              "u8": np.arange(3, dtype=np.uint8), "i8": np.arange(-3, 0, dtype=np.int8),
              "i16": np.array([-300, 300], np.int16), "big_i16": np.array([-300, 300], ">i2"),
              "i32": np.array([-70000], np.int32), "i64": np.array([-(1 << 40)])}
    more = {"u16": np.array([1, 65535], np.uint16), "u32": np.array([1, 4294967295], np.uint32)}
    bfloat = values(2, 3).to(torch.bfloat16)
    more["bfloat16"] = bfloat.view(torch.int16).numpy().view("V2")
    odd = {"complex": np.array([1j]), "u64": np.array([1], np.uint64), "object": np.array([{"a": 1}, None], object),
           "structure": np.array([(1, 2.0)], [("a", "<i4"), ("b['", "<f8")]), "bytes": np.array([b"abc"]),
           "text": np.array(["abc"]), "date": np.array(["2020-01-01"], "datetime64[D]")}
    whole = {**arrays, **more, **odd}
    np.savez(os.path.join(out, "stored.npz"), **whole)
    np.savez_compressed(os.path.join(out, "deflated.npz"), **whole)
    tensors = {key: torch.tensor(np.ascontiguousarray(a).astype(a.dtype.newbyteorder("="))).reshape(a.shape)
               for key, a in arrays.items()}
    tensors["u16"] = torch.tensor(more["u16"].astype(np.int32))
    tensors["u32"] = torch.tensor(more["u32"].astype(np.int64))
    tensors["bfloat16"] = bfloat
    expected("stored.npz", tensors)
    expected("deflated.npz", tensors)
    for version in ((1, 0), (2, 0), (3, 0)):
        name = f"version{version[0]}.npy"
        with open(os.path.join(out, name), "wb") as file:
            np.lib.format.write_array(file, arrays["fortran"], version)
        expected(name, {"array": torch.tensor(np.ascontiguousarray(arrays["fortran"]))})


def images():
    rows = np.arange(16 * 12 * 3, dtype=np.uint32).reshape(12, 16, 3)
    picture = Image.fromarray((rows * 7919 % 251).astype(np.uint8))
    picture.save(os.path.join(seeds, "colour.jpg"), quality=60)
    picture.convert("L").save(os.path.join(seeds, "grey.jpg"), quality=60, progressive=True)
    picture.save(os.path.join(seeds, "colour.png"))
    picture.convert("P").save(os.path.join(seeds, "palette.png"))
    picture.convert("RGBA").save(os.path.join(seeds, "alpha.png"))
    picture.save(os.path.join(seeds, "colour.bmp"))
    picture.convert("P").save(os.path.join(seeds, "palette.bmp"))


os.makedirs(out, exist_ok=True)
os.makedirs(seeds, exist_ok=True)
torch_files()
numpy_files()
images()
