#!/usr/bin/python3
"""Makes what picture_golden_test.cpp compares Vitrine's pixels with: Pillow's, and torchvision's numbers.

    /usr/bin/python3 tests/golden/make_pixels.py [ASSETS]

writes tests/golden/pictures/ (small files of every kind) and tests/golden/pixels.h: the first 32 bits of the SHA-256 of
what Pillow resizes drawn pictures to, of what it decodes those files to, and of what torchvision's Resize, CenterCrop,
ToTensor and Normalize make of them. ASSETS is a folder of real photographs, which stay outside; the same of some of them
is written down too. Needs Debian's python3-pil, python3-numpy and python3-torchvision: Pillow 9.4, torchvision 0.14.
"""
import hashlib
import os
import random
import struct
import sys
import zlib

import numpy
from PIL import Image, ImageOps
from torchvision import transforms

here = os.path.dirname(os.path.abspath(__file__))
folder = os.path.join(here, "pictures")
FILTERS = {"nearest": Image.NEAREST, "box": Image.BOX, "bilinear": Image.BILINEAR, "hamming": Image.HAMMING,
           "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def digest(data):
    return "0x" + hashlib.sha256(data).hexdigest()[:8]


def drawn(width, height, seed, channels=3):
    """(H, W, channels) bytes: noise by a formula; every third picture is black and white, where filters overshoot."""
    y, x, c = numpy.meshgrid(*(numpy.arange(n, dtype=numpy.uint32) for n in (height, width, channels)), indexing="ij")
    v = x * numpy.uint32(374761393) + y * numpy.uint32(668265263) + c * numpy.uint32(2246822519)
    v = v + numpy.uint32(seed * 3266489917 % 2**32)
    v = (v ^ (v >> 15)) * numpy.uint32(2654435761)
    v = (v ^ (v >> 13)) * numpy.uint32(2246822519)
    v = v >> 24
    return (numpy.where(v < 128, 0, 255) if seed % 3 == 0 else v).astype(numpy.uint8)


def smooth(width, height, channels=3):
    """A picture that JPEG makes small."""
    y, x, c = numpy.meshgrid(numpy.arange(height), numpy.arange(width), numpy.arange(channels), indexing="ij")
    return (127 + 120 * numpy.sin((x * (3 + c) + y * (5 - c)) / 23 + c)).astype(numpy.uint8)


# --- resizing ---

EDGES = [((1, 1), (1, 1)), ((1, 1), (37, 5)), ((2, 1), (1, 2)), ((1, 700), (224, 1)), ((700, 1), (1, 224)),
         ((3000, 2), (1, 1)), ((2, 3000), (3, 7)), ((1, 1), (500, 1)), ((1, 1), (1, 500)), ((4096, 1), (3, 1)),
         ((1, 4096), (1, 3)), ((5, 3), (640, 2)), ((3, 5), (2, 640)), ((256, 256), (224, 224)), ((224, 224), (256, 256)),
         ((32, 32), (224, 224)), ((320, 240), (32, 32)), ((333, 1), (334, 1)), ((99, 100), (100, 99)), ((64, 64), (64, 31)),
         ((64, 64), (31, 64)), ((17, 23), (17, 23)), ((2, 2), (3, 3)), ((3, 3), (2, 2)), ((1000, 3), (999, 4))]


def resize_cases():
    rng = random.Random(9)
    for name, count in (("bilinear", 260), ("bicubic", 260), ("nearest", 90), ("box", 90), ("hamming", 90),
                        ("lanczos", 90)):
        for i in range(count):
            if i < len(EDGES):
                source, target = EDGES[i]
            else:
                limit = rng.choice([4, 12, 40, 120, 300])
                source = [rng.randint(1, limit), rng.randint(1, limit)]
                target = [rng.randint(1, limit), rng.randint(1, limit)]
                if i % 7 == 0:
                    target[i // 7 % 2] = source[i // 7 % 2]
                if i % 5 == 0:  # far from square
                    source[i % 2] = rng.randint(1, 3)
            picture = Image.fromarray(drawn(*source, i), "RGB")
            yield (*source, *target, name, i, digest(picture.resize(tuple(target), FILTERS[name]).tobytes()))


# --- files ---

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def filtered(rows, pixel, first):
    """PNG's scan lines: each row is filtered another way."""
    above, out = bytes(len(rows[0])), bytearray()
    for number, row in enumerate(rows):
        how = (first + number) % 5
        out.append(how)
        for i, value in enumerate(row):
            a, b, c = (row[i - pixel] if i >= pixel else 0), above[i], (above[i - pixel] if i >= pixel else 0)
            p = a + b - c
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            out.append((value - (0, a, b, (a + b) // 2, near)[how]) % 256)
        above = row
    return bytes(out)


def png(width, height, color, depth, interlaced, seed, palette=b"", transparent=b"", before=b"", parts=1):
    channels = CHANNELS[color]
    if depth == 16:
        samples = drawn(width, height, seed, channels * 2).astype(int).reshape(height, width, channels, 2)
        samples = samples[..., 0] * 256 + samples[..., 1]
    else:
        samples = drawn(width, height, seed, channels).astype(int) >> (8 - depth)
    data = b""
    for x0, y0, dx, dy in PASSES if interlaced else [(0, 0, 1, 1)]:
        part = samples[y0::dy, x0::dx]
        if part.size == 0:
            continue
        bits = (part.reshape(part.shape[0], -1, 1) >> numpy.arange(depth - 1, -1, -1)) & 1
        rows = numpy.packbits(bits.reshape(part.shape[0], -1).astype(numpy.uint8), axis=1)
        data += filtered([bytes(row) for row in rows], max(1, channels * depth // 8), seed)
    data = zlib.compress(data, 9)
    step = -(-len(data) // parts)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)) +
            before + (chunk(b"PLTE", palette) if palette else b"") + (chunk(b"tRNS", transparent) if transparent else b"") +
            b"".join(chunk(b"IDAT", data[i:i + step]) for i in range(0, len(data), step)) + chunk(b"IEND", b""))


def exif(order, orientation):
    """A TIFF structure with the maker's tag and the orientation."""
    mark = "<" if order == "little" else ">"
    return ((b"II" if order == "little" else b"MM") + struct.pack(mark + "HIH", 42, 8, 2) +
            struct.pack(mark + "HHIHH", 0x010F, 3, 1, 7, 0) + struct.pack(mark + "HHIHH", 0x0112, 3, 1, orientation, 0) +
            struct.pack(mark + "I", 0))


def write(name, data):
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def save(name, picture, **how):
    picture.save(os.path.join(folder, name), **how)


def write_pictures():
    colors = bytes(drawn(16, 16, 1).reshape(-1))
    seed = 0
    for color, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for depth in depths:
            for interlaced in (0, 1):
                seed += 1
                palette = colors[:3 * 2**depth] if color == 3 else b""
                write(f"png-{color}-{depth}{'-interlaced' if interlaced else ''}.png",
                      png(13, 11, color, depth, interlaced, seed, palette))
    for width, height in ((1, 1), (1, 9), (9, 1), (3, 2), (5, 5), (2, 8)):
        write(f"png-passes-{width}x{height}.png", png(width, height, 2, 8, 1, width))
        write(f"png-bits-{width}x{height}.png", png(width, height, 0, 1, 1, height))
    write("png-transparent-grey.png", png(7, 5, 0, 8, 0, 1, transparent=b"\0\x50"))
    write("png-transparent-rgb.png", png(7, 5, 2, 8, 0, 2, transparent=b"\0\x50\0\x60\0\x70"))
    write("png-transparent-rgb-16.png", png(7, 5, 2, 16, 0, 2, transparent=b"\1\x50\2\x60\3\x70"))
    write("png-transparent-palette.png", png(7, 5, 3, 8, 0, 4, colors, transparent=bytes(range(0, 200))))
    write("png-parts.png", png(13, 11, 6, 8, 1, 5, parts=17))
    write("png-gamma.png", png(7, 5, 2, 8, 0, 7, before=chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"tEXt", b"a\0b")))
    # Indices that the palette lacks: Pillow's palette starts as the greys.
    write("png-short-palette.png", png(13, 11, 3, 8, 0, 8, colors[:30]))
    write("png-short-palette-4.png", png(13, 11, 3, 4, 0, 8, colors[:9], transparent=b"\0\1"))
    write("png-orientation-6.png", png(5, 3, 2, 8, 0, 10, before=chunk(b"eXIf", exif("big", 6))))

    small = Image.fromarray(smooth(29, 19), "RGB")
    for name, sampling in (("444", 0), ("422", 1), ("420", 2)):
        save(f"jpeg-{name}.jpg", small, quality=85, subsampling=sampling)
    save("jpeg-progressive.jpg", small, quality=85, progressive=True)
    save("jpeg-optimized.jpg", small, quality=30, optimize=True)
    save("jpeg-grey.jpg", small.convert("L"), quality=85)
    save("jpeg-grey-progressive.jpg", small.convert("L"), quality=85, progressive=True)
    save("jpeg-cmyk.jpg", Image.fromarray(smooth(29, 19, 4), "CMYK"), quality=85)
    save("jpeg-photo.jpg", Image.fromarray(smooth(300, 211), "RGB"), quality=40)
    save("jpeg-tall.jpg", Image.fromarray(smooth(41, 260), "RGB"), quality=40)
    for orientation in range(1, 9):
        for order in ("little", "big"):
            save(f"jpeg-orientation-{orientation}-{order}.jpg", Image.fromarray(smooth(7, 4), "RGB"), quality=60,
                 exif=b"Exif\0\0" + exif(order, orientation))

    save("bmp-24.bmp", small.resize((7, 5)))
    save("bmp-grey.bmp", small.resize((7, 5)).convert("L"))
    save("bmp-palette.bmp", small.resize((7, 5)).quantize(5))
    save("bmp-1.bmp", small.resize((37, 5)).convert("1"))
    save("bmp-16-colors.bmp", small.resize((9, 5)).quantize(16))
    for bits, width in ((1, 13), (4, 7), (8, 5)):  # OS/2's short header, three bytes a color
        rows = drawn((width * bits + 31) // 32 * 4, 3, bits, 1).tobytes()
        table_ = colors[:3 * 2**bits]
        start = 26 + len(table_)
        write(f"bmp-short-header-{bits}.bmp", b"BM" + struct.pack("<IIIIHHHH", start + len(rows), 0, start, 12, width, 3, 1,
                                                                  bits) + table_ + rows)
        write(f"bmp-from-top-{bits}.bmp", b"BM" + struct.pack("<IIIIiiHHIIIIII", 54 + 2**bits * 4 + len(rows), 0, 54 +
                                                              2**bits * 4, 40, width, -3, 1, bits, 0, 0, 0, 0, 0, 0) +
              bytes(drawn(4, 256, 7, 1).reshape(-1)[:4 * 2**bits]) + rows)
    save("bmp-32.bmp", Image.fromarray(drawn(5, 3, 4, 4), "RGBA"))


def as_rgb(path):
    """Pillow's RGB, but for grey of 16 bits, where its convert("RGB") cuts all values above 255 off."""
    picture = Image.open(path)
    if picture.mode == "I":
        return Image.fromarray((numpy.asarray(picture) >> 8).astype(numpy.uint8), "L").convert("RGB")
    return picture.convert("RGB")


# --- as torchvision prepares them ---

IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5] * 3, [0.5] * 3
CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
PREPARATIONS = [("deit", 256, 224, "bicubic", IMAGENET), ("timm-vit", 248, 224, "bicubic", HALF),
                ("google-vit", (224, 224), 224, "bilinear", HALF), ("moco-v3", 256, 224, "bilinear", IMAGENET),
                ("clip", 224, 224, "bicubic", CLIP), ("swin-384", 438, 384, "bicubic", IMAGENET),
                ("torchvision-swin-t", 232, 224, "bicubic", IMAGENET), ("miil", 256, 224, "bilinear", ([0.0] * 3, [1.0] * 3)),
                ("torchvision-vit-l-16", 242, 224, "bilinear", IMAGENET), ("deit-transformers", (256, 256), 224, "bicubic", IMAGENET)]


def prepared(picture, resize, crop, name, normal):
    chain = transforms.Compose([transforms.Resize(resize, transforms.InterpolationMode(name)), transforms.CenterCrop(crop),
                                transforms.ToTensor(), transforms.Normalize(*normal)])
    return digest(chain(picture).numpy().astype("<f4").tobytes())


def prepared_cases(root, names):
    for number, name in enumerate(names):
        picture = as_rgb(os.path.join(root, name))
        for k, (preset, resize, crop, filter_, normal) in enumerate(PREPARATIONS):
            if (k + number) % 3 == 0 or len(names) < 4:
                yield name, preset, prepared(picture, resize, crop, filter_, normal)


def photographs(assets):
    """Some files of each kind below the folder."""
    found = []
    for top in ("imagenet-100", "flowers5", "cifar10", "sign-digits10", "traffic-signs43"):
        files = sorted(os.path.relpath(os.path.join(at, file), assets) for at, _, inside in os.walk(os.path.join(assets, top))
                       for file in inside if file.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".jpg")))
        found += files[::max(1, len(files) // 8)][:8]
    return found


def table(kind, name, rows, per_line=1):
    rows = ["{" + ", ".join(row) + "}" for row in rows]
    lines = [", ".join(rows[i:i + per_line]) for i in range(0, len(rows), per_line)]
    return f"constexpr {kind} {name}[] = {{\n    " + ",\n    ".join(lines) + "};\n"


def main():
    os.makedirs(folder, exist_ok=True)
    write_pictures()
    names = sorted(os.listdir(folder))
    resizes = [[*map(str, row[:4]), "F::" + row[4], *map(str, row[5:])] for row in resize_cases()]
    pictures = []
    for name in names:
        path = os.path.join(folder, name)
        picture = as_rgb(path)
        turned = ImageOps.exif_transpose(Image.open(path)).convert("RGB") if "orientation" in name else picture
        pictures.append([f'"{name}"', str(picture.width), str(picture.height), digest(picture.tobytes()),
                         digest(turned.tobytes())])
    few = ["jpeg-photo.jpg", "jpeg-tall.jpg", "png-6-8.png"]
    quote = [[f'"{a}"', f'"{b}"', c] for a, b, c in prepared_cases(folder, few)]
    real = []
    if len(sys.argv) > 1:
        real = [[f'"{a}"', f'"{b}"', c] for a, b, c in prepared_cases(sys.argv[1], photographs(sys.argv[1]))]
    with open(os.path.join(here, "pixels.h"), "w") as out:
        out.write("// pixels.h: made by make_pixels.py, which says what it is.\n#pragma once\n\n#include <cstdint>\n\n"
                  '#include "data/resize.h"\n\n// clang-format off\nnamespace golden {\n\nusing F = vitrine::Filter;\n\n'
                  "// A drawn picture (see the seed there), resized.\n"
                  "struct Resized { int width, height, to_width, to_height; F filter; uint32_t seed, hash; };\n"
                  "// A file of pictures/, as stored and as its EXIF block wants it.\n"
                  "struct Decoded { const char* file; int width, height; uint32_t hash, turned; };\n"
                  "// A file as (3, size, size) f32, little-endian.\n"
                  "struct Prepared { const char *file, *preset; uint32_t hash; };\n\n")
        out.write(table("Resized", "resized", resizes, 3) + "\n" + table("Decoded", "decoded", pictures, 1) + "\n" +
                  table("Prepared", "prepared", quote, 2) + "\n" + table("Prepared", "photographs", real, 1) +
                  "\n}  // namespace golden\n// clang-format on\n")
    print(f"{len(resizes)} resized, {len(pictures)} files, {len(quote)} prepared, {len(real)} of photographs")


main()
