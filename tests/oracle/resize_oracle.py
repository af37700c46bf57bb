#!/usr/bin/python3
"""Resizes random pictures with Pillow, for the test "resize equals Pillow bit by bit".

    python3 tests/oracle/resize_oracle.py /some/where/resize.bin [pictures]
    VITRINE_RESIZE_ORACLE=/some/where/resize.bin vitrine_tests -tc='resize equals*'

Each record: width, height, new width, new height, 1 for bicubic or 0 for bilinear (32 bits each, little-endian), the
picture and the resized picture (RGB). Needs Pillow and numpy (Debian: python3-pil, python3-numpy).
"""
import random
import struct
import sys

import numpy
from PIL import Image

path = sys.argv[1]
count = int(sys.argv[2]) if len(sys.argv) > 2 else 600
rng = random.Random(1)
noise = numpy.random.default_rng(1)
with open(path, "wb") as out:
    for i in range(count):
        limit = rng.choice([8, 40, 150, 400])
        w, h, to_w, to_h = (rng.randint(1, limit) for _ in range(4))
        if i % 7 == 0:
            to_w = w
        if i % 11 == 0:
            to_h = h
        pixels = noise.integers(0, 256, (h, w, 3), dtype=numpy.uint8)
        if i % 3 == 0:  # hard edges, where bicubic overshoots
            pixels = (pixels // 128 * 255).astype(numpy.uint8)
        bicubic = i % 2
        filter_ = Image.BICUBIC if bicubic else Image.BILINEAR
        resized = Image.fromarray(pixels, "RGB").resize((to_w, to_h), filter_)
        out.write(struct.pack("<5i", w, h, to_w, to_h, bicubic))
        out.write(pixels.tobytes())
        out.write(resized.tobytes())
print(f"{count} pictures resized by Pillow into {path}")
