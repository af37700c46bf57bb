#!/usr/bin/env python3
"""pictures.py: writes pictures of three classes as PNG files, for tests of the page.

  pictures.py FOLDER COUNT

FOLDER/<class>/<number>.png, and FOLDER/new/<class>.png, which is none of them. 72 x 60 pixels: a disc, a box or a wedge, anywhere, in any
color on any other, with noise.
"""
import math
import pathlib
import random
import struct
import sys
import zlib

WIDTH, HEIGHT = 72, 60


def disc(x, y, size):
    return math.hypot(x, y) < size


def box(x, y, size):
    return max(abs(x), abs(y)) < 0.9 * size


def wedge(x, y, size):
    return abs(y) < 1.1 * size and abs(x) < (y + 1.1 * size) / 2


def png(rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))


def picture(shape, chance):
    x0, y0, size = chance.uniform(24, 48), chance.uniform(20, 40), chance.uniform(11, 17)
    ink = [chance.randint(90, 160) for _ in range(3)]
    paper = [color + chance.choice((-80, 80)) for color in ink]
    return png([bytes(min(255, max(0, color + chance.randint(-30, 30)))
                      for x in range(WIDTH) for color in (ink if shape(x - x0, y - y0, size) else paper))
                for y in range(HEIGHT)])


def main():
    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(1)
    for shape in (disc, box, wedge):
        own = folder / shape.__name__
        own.mkdir(parents=True)
        for i in range(count):
            (own / f"{i:02}.png").write_bytes(picture(shape, chance))
    (folder / "new").mkdir()
    for shape in (disc, box, wedge):
        (folder / "new" / f"{shape.__name__}.png").write_bytes(picture(shape, chance))


main()
