"""as_containers.py: a safetensors file of f32 as numpy's .npz and as a checkpoint of PyTorch, by Python's own modules alone.

    tests/as_containers.py FILE.safetensors OUT.npz OUT.pth

The checkpoint is what torch.save({"model": weights, "epoch": 3, "args": Namespace(...)}) makes: a zip archive of a pickle and one
member for each storage. torch itself need not be there: its names are stood in for while the pickle is written.
"""

import argparse
import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile


def tensors_of(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (entry["shape"], data[8 + length:][slice(*entry["data_offsets"])]) for name, entry in header.items()}


def write_npz(path, tensors):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (shape, data) in tensors.items():
            words = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({''.join(f'{n}, ' for n in shape)}), }}"
            words += " " * (-(len(words) + 11) % 64) + "\n"
            archive.writestr(name + ".npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words.encode() + data)


class Storage:
    def __init__(self, key, count):
        self.key, self.count = key, count


def write_torch(path, tensors):
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch", "__qualname__": "FloatStorage"})

    def _rebuild_tensor_v2(*_):
        raise RuntimeError("it is only written")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules.update({"torch": torch, "torch._utils": utils})

    class Tensor:
        def __init__(self, key, shape, data):
            self.storage, self.shape = Storage(key, len(data) // 4), shape

        def __reduce__(self):
            strides = [1]
            for extent in reversed(self.shape[1:]):
                strides.insert(0, strides[0] * extent)
            return _rebuild_tensor_v2, (self.storage, 0, tuple(self.shape), tuple(strides[:len(self.shape)]), False,
                                        collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return "storage", torch.FloatStorage, value.key, "cpu", value.count
            return None

    weights = collections.OrderedDict((name, Tensor(str(i), shape, data))
                                      for i, (name, (shape, data)) in enumerate(tensors.items()))
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"model": weights, "epoch": 3, "args": argparse.Namespace(lr=0.1)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        for i, (_, data) in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", data)
        archive.writestr("archive/version", "3\n")


if __name__ == "__main__":
    weights = tensors_of(sys.argv[1])
    write_npz(sys.argv[2], weights)
    write_torch(sys.argv[3], weights)
