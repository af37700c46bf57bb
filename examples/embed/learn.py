#!/usr/bin/env python3
"""learn.py: the host of learn.c in Python, by ctypes alone: no packages, no compiler.

    examples/embed/learn.py [PLACE/lib/libvitrine_c.so]
"""
import ctypes
import pathlib
import sys

SIDE, COUNT = 32, 8


class Picture(ctypes.Structure):
    _fields_ = [("rgb", ctypes.c_char_p), ("width", ctypes.c_int), ("height", ctypes.c_int),
                ("row_bytes", ctypes.c_size_t), ("prepared", ctypes.POINTER(ctypes.c_float))]


class TuningOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("method", ctypes.c_char_p), ("prompts", ctypes.c_int64),
                ("optimizer", ctypes.c_char_p), ("learning_rate", ctypes.c_double), ("weight_decay", ctypes.c_double),
                ("steps", ctypes.c_int64), ("warmup", ctypes.c_int64), ("label_smoothing", ctypes.c_double),
                ("largest_gradient", ctypes.c_double), ("recompute", ctypes.c_int64), ("seed", ctypes.c_uint64)]


class Vitrine:
    """Calls by their names without `vitrine_`; what a call refuses is an exception with its message."""

    def __init__(self, path):
        self.library = ctypes.CDLL(path)
        for kind in ("", "backbone_", "task_", "tuning_"):
            getattr(self.library, f"vitrine_{kind}message").restype = ctypes.c_char_p

    def call(self, name, *arguments, speaker, kind=""):
        if getattr(self.library, "vitrine_" + name)(*arguments) != 0:
            raise RuntimeError(getattr(self.library, f"vitrine_{kind}message")(speaker).decode())


def main():
    vitrine = Vitrine(sys.argv[1] if len(sys.argv) > 1 else "libvitrine_c.so.1")
    library, backbone, tuning = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    vitrine.call("open", vitrine.library.vitrine_abi(), None, ctypes.byref(library), speaker=library)
    vitrine.call("backbone_open_builtin", library, b"builtin", None, ctypes.byref(backbone), speaker=library)

    def stripes(i):
        return bytes(200 if ((p % SIDE if i % 2 else p // SIDE) // (2 + i // 2)) % 2 else 40
                     for p in range(SIDE * SIDE) for _ in range(3))

    pictures = (Picture * COUNT)(*(Picture(stripes(i), SIDE, SIDE) for i in range(COUNT)))
    labels = (ctypes.c_int64 * COUNT)(*(i % 2 for i in range(COUNT)))
    names = (ctypes.c_char_p * 2)(b"stripes across", b"stripes down")
    options = TuningOptions(size=ctypes.sizeof(TuningOptions), learning_rate=0.01)
    vitrine.call("tuning_open", backbone, ctypes.byref(options), names, ctypes.c_size_t(2), ctypes.byref(tuning),
                 speaker=backbone, kind="backbone_")
    loss = ctypes.c_double()
    for _ in range(20):
        vitrine.call("tuning_step", tuning, pictures, labels, ctypes.c_size_t(COUNT), ctypes.byref(loss), speaker=tuning,
                     kind="tuning_")
    probabilities = (ctypes.c_float * 2)()
    vitrine.call("tuning_predict", tuning, ctypes.byref(pictures[1]), ctypes.c_size_t(1), probabilities, ctypes.c_size_t(2),
                 speaker=tuning, kind="tuning_")
    best = max(range(2), key=lambda c: probabilities[c])
    print(f"loss {loss.value:.3f}; picture 1: {names[best].decode()}, {100 * probabilities[1]:.0f} %")
    size = ctypes.c_size_t()
    vitrine.library.vitrine_tuning_save(tuning, None, ctypes.c_size_t(0), ctypes.byref(size))  # how large is it?
    task = ctypes.create_string_buffer(size.value)
    vitrine.call("tuning_save", tuning, task, size, ctypes.byref(size), speaker=tuning, kind="tuning_")
    pathlib.Path("learned.safetensors").write_bytes(task.raw)
    for kind, handle in (("tuning_", tuning), ("backbone_", backbone), ("", library)):
        getattr(vitrine.library, f"vitrine_{kind}close")(handle)


if __name__ == "__main__":
    main()
