#!/usr/bin/env python3
"""Makes the goldens of this folder: small pictures of many kinds.

Each picture FILE comes with FILE.npy = numpy.asarray(ImageOps.exif_transpose(
Image.open(FILE)).convert("RGB")), uint8 [h,w,3], as Pillow reads it. manifest.json lists file,
golden, width, height, the mode Pillow opens it in and a note.

    python3 tests/golden/images/generate.py

Needs numpy and Pillow. What Pillow cannot write (interlaced PNG, unusual bit
depths, JPEG with restart markers or rare samplings) is encoded here.
"""
import json
import math
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

import kinds

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 29, 19
manifest = []


# --------------------------------------------------------------- pictures

def rgb(width=W, height=H, seed=0, noise=6):
    """Gradients, a disc with a hard edge, a little noise."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width] / max(1, max(width, height) - 1)
    a = np.stack([x, y, 1 - (x + y) / 2], 2) * 255
    a[(x - 0.4) ** 2 + (y - 0.35) ** 2 < 0.05] = (240, 30, 60)
    return np.clip(np.rint(a + rng.normal(0, noise, a.shape)), 0, 255).astype(np.uint8)


def grey(width=W, height=H, seed=1):
    return np.asarray(Image.fromarray(rgb(width, height, seed)).convert("L"))


def alpha(width=W, height=H):
    y, x = np.mgrid[0:height, 0:width]
    return ((x * 255 // max(1, width - 1)) * (y % 5 != 0)).astype(np.uint8)


def palette(n=256):
    i = np.arange(n)
    return np.stack([i * 37 % 256, i * 91 % 256, 255 - i * 255 // max(1, n - 1)], 1).astype(np.uint8)


def indices(n, width=W, height=H):
    y, x = np.mgrid[0:height, 0:width]
    return ((x + 3 * y + (x * y) // 7) % n).astype(np.uint8)


# -------------------------------------------------------------------- PNG

def png_rows(a, depth):
    """Filtered scan lines of samples [h,w,c]; the filter goes 0,1,2,3,4,0,..."""
    h, w, c = a.shape
    bpp = max(1, c * depth // 8)
    if depth == 16:
        raw = np.frombuffer(a.astype(">u2").tobytes(), np.uint8).reshape(h, -1)
    elif depth == 8:
        raw = a.astype(np.uint8).reshape(h, -1)
    else:
        bits = np.unpackbits(a.astype(np.uint8).reshape(h, -1, 1), axis=2)[:, :, 8 - depth:]
        raw = np.packbits(bits.reshape(h, -1), axis=1)
    out, above = b"", np.zeros(raw.shape[1], int)
    for y in range(h):
        row = raw[y].astype(int)
        left = np.concatenate([np.zeros(bpp, int), row])[:len(row)]
        upleft = np.concatenate([np.zeros(bpp, int), above])[:len(row)]
        kind = y % 5
        if kind == 4:
            p = left + above - upleft
            pa, pb, pc = abs(p - left), abs(p - above), abs(p - upleft)
            guess = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, above, upleft))
        else:
            guess = (0, left, above, (left + above) // 2)[kind]
        out += bytes([kind]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    return out


def write_png(file, a, colour, depth, interlace=False, plte=None, trns=None, split=None):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    a = a if a.ndim == 3 else a[:, :, None]
    h, w, _ = a.shape
    data = b""
    if interlace:  # Adam7
        for y0, x0, dy, dx in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4),
                               (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
            part = a[y0::dy, x0::dx]
            if part.size:
                data += png_rows(part, depth)
    else:
        data = png_rows(a, depth)
    data = zlib.compress(data, 9)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
    if plte is not None:
        out += chunk(b"PLTE", plte.tobytes())
    if trns is not None:
        out += chunk(b"tRNS", trns)
    step = split or len(data)
    for i in range(0, len(data), step):
        out += chunk(b"IDAT", data[i:i + step])
    with open(os.path.join(HERE, file), "wb") as f:
        f.write(out + chunk(b"IEND", b""))


def pngs():
    def save(file, array, mode=None, note="", **options):
        image = Image.fromarray(array, mode)
        image.save(os.path.join(HERE, file), optimize=True, **options)
        add(file, note)

    g16 = (np.arange(W * H).reshape(H, W) * 119).astype(np.uint16)
    rgba = np.dstack([rgb(), alpha()])
    save("rgb8.png", rgb(), note="colour type 2")
    save("grey8.png", grey(), note="colour type 0")
    save("rgba8.png", rgba, note="alpha is dropped, not blended")
    save("la8.png", np.dstack([grey(), alpha()]), "LA", note="alpha is dropped")
    save("one-pixel.png", rgb(1, 1), note="1x1")
    Image.fromarray(grey() > 128).save(os.path.join(HERE, "bit1.png"))
    add("bit1.png", "1-bit grey: 0 or 255")

    write_png("filters.png", rgb(), 2, 8, split=100)
    add("filters.png", "all five row filters; many IDAT chunks")
    write_png("grey2.png", indices(4), 0, 2)
    add("grey2.png", "2-bit grey: 0, 85, 170, 255")
    write_png("grey4.png", indices(16), 0, 4)
    add("grey4.png", "4-bit grey: multiples of 17")
    write_png("grey16.png", g16, 0, 16)
    add("grey16.png", "Pillow opens mode I; convert clips to 255: min(value, 255), no division by 257")
    write_png("rgb16.png", np.dstack([g16, g16[::-1], 65535 - g16]), 2, 16)
    add("rgb16.png", "the high byte of every sample")
    write_png("la16.png", np.dstack([g16, g16[:, ::-1]]), 4, 16)
    add("la16.png", "the high byte of every sample; alpha is dropped")
    write_png("rgba16.png", np.dstack([g16, g16[::-1], 65535 - g16, g16[:, ::-1]]), 6, 16)
    add("rgba16.png", "the high byte of every sample; alpha is dropped")
    write_png("grey8-trns.png", grey(), 0, 8, trns=struct.pack(">H", int(grey()[3, 3])))
    add("grey8-trns.png", "one transparent grey: ignored")
    write_png("rgb8-trns.png", rgb(), 2, 8, trns=struct.pack(">3H", *map(int, rgb()[3, 3])))
    add("rgb8-trns.png", "one transparent colour: ignored")
    for bits in (1, 2, 4, 8):
        n = 1 << bits if bits < 8 else 200
        write_png("palette%d.png" % bits, indices(n), 3, bits, plte=palette(n))
        add("palette%d.png" % bits, "%d colours" % n)
    write_png("palette8-trns.png", indices(64), 3, 8, plte=palette(64), trns=bytes(range(0, 256, 8)))
    add("palette8-trns.png", "tRNS for 32 of 64 entries: ignored")
    write_png("interlaced-rgb8.png", rgb(), 2, 8, interlace=True)
    add("interlaced-rgb8.png", "Adam7")
    write_png("interlaced-rgba8.png", rgba, 6, 8, interlace=True)
    add("interlaced-rgba8.png", "Adam7")
    write_png("interlaced-grey1.png", indices(2), 0, 1, interlace=True)
    add("interlaced-grey1.png", "Adam7, 1 bit")
    write_png("interlaced-palette4.png", indices(16), 3, 4, interlace=True, plte=palette(16))
    add("interlaced-palette4.png", "Adam7, 4 bits")
    write_png("interlaced-rgb16.png", np.dstack([g16, g16[::-1], 65535 - g16]), 2, 16, interlace=True)
    add("interlaced-rgb16.png", "Adam7, 16 bits")
    write_png("interlaced-tiny.png", rgb(3, 2), 2, 8, interlace=True)
    add("interlaced-tiny.png", "Adam7 with empty passes")


# --------------------------------------------------------- BMP, GIF, PNM

def others():
    def save(file, image, note, **options):
        image.save(os.path.join(HERE, file), **options)
        add(file, note)

    indexed = Image.fromarray(indices(100), "P")
    indexed.putpalette(palette(100).tobytes())
    save("rgb24.bmp", Image.fromarray(rgb()), "bottom-up, rows padded to 4 bytes")
    save("grey8.bmp", Image.fromarray(grey()), "256 grey palette entries")
    save("palette8.bmp", indexed, "palette")
    save("bit1.bmp", Image.fromarray(grey() > 128), "1 bit")
    save("rgba32.bmp", Image.fromarray(np.dstack([rgb(), alpha()])), "32 bits; the fourth byte is dropped")
    rows = [np.concatenate([r[:, ::-1].ravel(), np.zeros(-W * 3 % 4, np.uint8)]) for r in rgb(seed=2)]
    data = np.concatenate(rows).tobytes()
    with open(os.path.join(HERE, "topdown.bmp"), "wb") as f:
        f.write(struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54))
        f.write(struct.pack("<IiiHHIIiiII", 40, W, -H, 1, 24, 0, len(data), 2835, 2835, 0, 0) + data)
    add("topdown.bmp", "negative height")

    save("plain.gif", indexed, "not interlaced", interlace=0)
    save("interlaced.gif", indexed, "interlaced", interlace=1)
    save("transparent.gif", indexed, "one transparent entry: ignored", interlace=0, transparency=7)
    second = Image.fromarray(indices(100)[::-1].copy(), "P")
    second.putpalette(palette(100).tobytes())
    save("animated.gif", indexed, "two frames: the first is read", save_all=True, append_images=[second], duration=50)
    save("grey.gif", Image.fromarray(grey()), "grey palette")

    save("rgb8.ppm", Image.fromarray(rgb()), "P6")
    save("grey8.pgm", Image.fromarray(grey()), "P5")


# ------------------------------------------------------------------- JPEG

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
# the luminance Huffman tables of the standard's annex K, for every component
DC = (bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]), bytes(range(12)))
AC = (bytes([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125]), bytes.fromhex(
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435"
    "363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798"
    "999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4"
    "f5f6f7f8f9fa"))


def huffman(table):
    codes, code, k = {}, 0, 0
    for length, count in enumerate(table[0], 1):
        for _ in range(count):
            codes[table[1][k]] = (code, length)
            code, k = code + 1, k + 1
        code <<= 1
    return codes


def write_jpeg(file, a, samplings, restart=0, adobe=None, step=6):
    """A baseline JPEG of samples [h,w,c], stored as they are.

    samplings: (h,v) factors of each component. adobe: None or the transform
    flag of an Adobe marker. step: every entry of the quantisation table.
    """
    height, width, comps = a.shape
    hmax, vmax = max(s[0] for s in samplings), max(s[1] for s in samplings)
    mx, my = -(-width // (8 * hmax)), -(-height // (8 * vmax))
    k = np.arange(8)
    dct = np.cos((2 * k[None, :] + 1) * k[:, None] * math.pi / 16) * np.where(k == 0, math.sqrt(1 / 8), 0.5)[:, None]
    planes = []
    for c, (sh, sv) in enumerate(samplings):
        full = np.pad(a[:, :, c].astype(float), ((0, my * 8 * vmax - height), (0, mx * 8 * hmax - width)), "edge")
        fh, fv = hmax // sh, vmax // sv
        planes.append(full.reshape(full.shape[0] // fv, fv, full.shape[1] // fh, fh).mean((1, 3)) - 128)

    dc, ac = huffman(DC), huffman(AC)
    out, bits, last = bytearray(), "", [0] * comps

    def flush(bits):
        bits += "1" * (-len(bits) % 8)
        data = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        return data.replace(b"\xff", b"\xff\x00")

    def symbol(code):
        return format(code[0], "0%db" % code[1])

    def magnitude(v):
        n = abs(v).bit_length()
        return n, format(v if v > 0 else v + (1 << n) - 1, "0%db" % n) if n else ""

    for mcu in range(mx * my):
        if restart and mcu and mcu % restart == 0:
            out += flush(bits) + bytes([0xFF, 0xD0 + (mcu // restart - 1) % 8])
            bits, last = "", [0] * comps
        for c, (sh, sv) in enumerate(samplings):
            for v in range(sv):
                for h in range(sh):
                    y, x = 8 * (mcu // mx * sv + v), 8 * (mcu % mx * sh + h)
                    q = np.rint(dct @ planes[c][y:y + 8, x:x + 8] @ dct.T / step).astype(int).ravel()
                    n, text = magnitude(int(q[0]) - last[c])
                    last[c] = int(q[0])
                    bits += symbol(dc[n]) + text
                    run = 0
                    for i in ZIGZAG[1:]:
                        if q[i] == 0:
                            run += 1
                            continue
                        while run > 15:
                            bits += symbol(ac[0xF0])
                            run -= 16
                        n, text = magnitude(int(q[i]))
                        bits += symbol(ac[run * 16 + n]) + text
                        run = 0
                    if run:
                        bits += symbol(ac[0])
    out += flush(bits)

    def segment(marker, data):
        return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data

    head = b"\xff\xd8"
    if adobe is not None:
        head += segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe))
    head += segment(0xDB, bytes([0] + [step] * 64))
    head += segment(0xC0, struct.pack(">BHHB", 8, height, width, comps) + b"".join(
        bytes([c + 1, sh * 16 + sv, 0]) for c, (sh, sv) in enumerate(samplings)))
    head += segment(0xC4, b"\x00" + DC[0] + DC[1]) + segment(0xC4, b"\x10" + AC[0] + AC[1])
    if restart:
        head += segment(0xDD, struct.pack(">H", restart))
    head += segment(0xDA, bytes([comps]) + b"".join(bytes([c + 1, 0]) for c in range(comps)) + bytes([0, 63, 0]))
    with open(os.path.join(HERE, file), "wb") as f:
        f.write(head + bytes(out) + b"\xff\xd9")


def jpegs():
    def save(file, array, note, mode=None, **options):
        Image.fromarray(array, mode).save(os.path.join(HERE, file), **options)
        add(file, note)

    big = rgb(45, 37, 3)
    cmyk = np.dstack([255 - big, np.full(big.shape[:2], 20, np.uint8)])
    ycc = np.asarray(Image.fromarray(big).convert("YCbCr"))
    exif = Image.Exif()
    exif[0x0112] = 6
    save("444.jpg", big, "4:4:4, odd size", quality=90, subsampling=0)
    save("422.jpg", big, "4:2:2, odd size", quality=85, subsampling=1)
    save("420.jpg", big, "4:2:0, odd size", quality=80, subsampling=2)
    save("420-low.jpg", rgb(64, 48, 4), "4:2:0, whole MCUs, quality 30", quality=30, subsampling=2)
    save("420-1x1.jpg", rgb(1, 1), "one pixel", quality=80, subsampling=2)
    save("420-3x40.jpg", rgb(3, 40, 5), "narrower than half a chroma block", quality=80, subsampling=2)
    save("grey.jpg", grey(45, 37), "one component", quality=85)
    save("optimised.jpg", big, "its own Huffman tables", quality=75, optimize=True)
    save("progressive-444.jpg", big, "progressive", quality=85, subsampling=0, progressive=True)
    save("progressive-420.jpg", big, "progressive", quality=85, subsampling=2, progressive=True)
    save("progressive-grey.jpg", grey(45, 37), "progressive", quality=85, progressive=True)
    save("cmyk.jpg", cmyk, "Adobe, transform 0, inverted", mode="CMYK", quality=90)
    save("exif-orientation6.jpg", big, "Exif asks for a rotation", quality=90, exif=exif)
    write_jpeg("restart-420.jpg", ycc, [(2, 2), (1, 1), (1, 1)], restart=1)
    add("restart-420.jpg", "a restart marker after every MCU; no JFIF marker")
    write_jpeg("restart-grey.jpg", grey(45, 37)[:, :, None], [(1, 1)], restart=3)
    add("restart-grey.jpg", "restart interval 3")
    write_jpeg("440.jpg", ycc, [(1, 2), (1, 1), (1, 1)])
    add("440.jpg", "4:4:0")
    write_jpeg("411.jpg", ycc, [(4, 1), (1, 1), (1, 1)])
    add("411.jpg", "4:1:1")
    write_jpeg("rgb-adobe.jpg", big, [(1, 1)] * 3, adobe=0)
    add("rgb-adobe.jpg", "Adobe, transform 0: the components are RGB")
    # the file holds 255-C, 255-M, 255-Y; its YCC is that of the colours C, M, Y
    ycck = np.dstack([np.asarray(Image.fromarray(255 - big).convert("YCbCr")), 255 - cmyk[:, :, 3:]])
    write_jpeg("ycck.jpg", ycck, [(2, 2), (1, 1), (1, 1), (2, 2)], adobe=2)
    add("ycck.jpg", "Adobe, transform 2: YCCK")


def write_bytes(file, data):
    with open(os.path.join(HERE, file), "wb") as f:
        f.write(data)


def add(file, note, golden_of=None):
    """golden_of: "plain" without exif_transpose, where Pillow 9.4 stumbles over it; or the pixels, where it reads wrongly."""
    image = Image.open(os.path.join(HERE, file))
    mode = image.mode
    if isinstance(golden_of, np.ndarray):
        golden = golden_of
    else:
        golden = np.asarray((image if golden_of == "plain" else ImageOps.exif_transpose(image)).convert("RGB"))
    np.save(os.path.join(HERE, file + ".npy"), golden)
    manifest.append({"file": file, "golden": file + ".npy", "width": golden.shape[1], "height": golden.shape[0],
                     "mode": mode, "note": note})


def main():
    pngs()
    others()
    jpegs()
    kinds.make(sys.modules[__name__])
    with open(os.path.join(HERE, "manifest.json"), "w") as f:
        f.write("[\n" + ",\n".join("  " + json.dumps(m) for m in manifest) + "\n]\n")


if __name__ == "__main__":
    main()
