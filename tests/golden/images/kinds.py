"""The kinds of each format, one small picture each: called by generate.py.

What Pillow cannot write is encoded here: BMP with masks and runs, GIF frames
that do not cover the canvas, TIFF in tiles, planes and both byte orders, Targa
palettes, EXIF of every sort.
"""
import io
import struct
import zlib

import numpy as np
from PIL import Image

W, H = 13, 9
g = None  # the module generate


def write(file, data, note, golden_of=None):
    g.write_bytes(file, data)
    g.add(file, note, golden_of)


def saved(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def picture():
    return g.rgb(W, H, 7)


# --------------------------------------------------------------------- EXIF

def exif(orientation, order="<", kind=3, count=1, more=b""):
    """A TIFF block with two entries; `orientation` as SHORT, or LONG (kind 4)."""
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *([orientation, 0] if kind == 3 else [orientation]))
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, 2) + \
        struct.pack(order + "HHI", 0x0100, 4, 1) + struct.pack(order + "I", W) + \
        struct.pack(order + "HHI", 0x0112, kind, count) + value + b"\0\0\0\0" + more


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(chunk, after=False):
    """A PNG with one more chunk, in front of its data or behind it."""
    png = saved(Image.fromarray(picture()), "PNG")
    at = png.index(b"IEND") - 4 if after else 33
    return png[:at] + chunk + png[at:]


def jpeg_with(app1):
    jpeg = saved(Image.fromarray(picture()), "JPEG", quality=90, subsampling=0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + jpeg[2:]


def orientations():
    for o in range(10):
        write("exif-%d.jpg" % o, jpeg_with(b"Exif\0\0" + exif(o)), "orientation %d" % o)
    for o in (2, 5, 6, 8):
        write("exif-%d-big.jpg" % o, jpeg_with(b"Exif\0\0" + exif(o, ">")), "orientation %d, big-endian" % o)
    write("exif-6-long.jpg", jpeg_with(b"Exif\0\0" + exif(6, kind=4)), "orientation as LONG")
    write("exif-6-twice.jpg", jpeg_with(b"Exif\0\0" + exif(6))[:2] + jpeg_with(b"Exif\0\0" + exif(3))[2:100] +
          jpeg_with(b"Exif\0\0" + exif(6))[2:], "two segments: the first counts")
    for name, block in (("short", exif(6)[:20]), ("far", b"II*\0" + struct.pack("<I", 0xfffffff0)), ("order", b"XX" + exif(6)[2:])):
        write("exif-%s.jpg" % name, jpeg_with(b"Exif\0\0" + block), "damaged EXIF: ignored", "plain")
    for o in (3, 6, 7):
        write("exif-%d.png" % o, png_with(png_chunk(b"eXIf", exif(o, ">"))), "eXIf, orientation %d" % o)
    write("exif-behind.png", png_with(png_chunk(b"eXIf", exif(8)), True), "eXIf behind the data")
    profile = "\nexif\n%8d\n%s\n" % (len(exif(6)) + 6, (b"Exif\0\0" + exif(6)).hex())
    write("exif-profile.png", png_with(png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile.encode()))),
          "ImageMagick's EXIF")
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="5"/></x:xmpmeta>'
    write("xmp.png", png_with(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)), "orientation 5 in XMP")
    write("xmp-packed.png", png_with(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp))), "XMP, compressed")
    write("exif-1-xmp-5.png", png_with(png_chunk(b"eXIf", exif(1)) + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)),
          "EXIF before XMP")
    for o in (4, 6):
        write("exif-%d.webp" % o, saved(Image.fromarray(picture()), "WEBP", lossless=True, exif=exif(o)), "EXIF, orientation %d" % o)
    for o in range(1, 9):
        write("orientation-%d.tif" % o, tiff(picture(), 2, tags={274: (3, [o])}), "orientation %d: turned once" % o, "plain")


# ---------------------------------------------------------------------- PNG

def pngs():
    rgba = np.dstack([picture(), g.alpha(W, H)])
    wide = (np.arange(W * H).reshape(H, W) * 557).astype(np.uint16)
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for depth in depths:
            n = min(1 << depth, 200)
            channels = (1, 0, 3, 1, 2, 0, 4)[colour]
            if depth == 16:
                a = np.dstack([wide, wide[::-1], 65535 - wide, wide[:, ::-1]])[:, :, :channels]
            elif depth < 8 or colour == 3:
                a = g.indices(n, W, H)[:, :, None]
            else:
                a = rgba[:, :, [0, 3][:channels] if channels <= 2 else range(channels)]
            plte = g.palette(n) if colour == 3 else None
            for interlace in (0, 1):
                file = "kind-%d-%d%s.png" % (colour, depth, "-i" * interlace)
                g.write_png(file, a, colour, depth, bool(interlace), plte)
                g.add(file, "colour type %d, %d bits%s" % (colour, depth, ", Adam7" * interlace))
            if colour in (0, 2, 3):
                file = "kind-%d-%d-t.png" % (colour, depth)
                trns = bytes([0, 128, 255])[:n] if colour == 3 else b"".join(struct.pack(">H", int(v)) for v in a[3, 3])
                g.write_png(file, a, colour, depth, False, plte, trns)
                g.add(file, "colour type %d, %d bits, tRNS: ignored" % (colour, depth))
    g.write_png("short-palette.png", g.indices(64, W, H), 3, 8, plte=g.palette(20))
    g.add("short-palette.png", "20 entries for indices to 63: the others are grey")
    small = np.minimum(wide, 255)
    g.write_png("grey16-small.png", small, 0, 16)
    g.add("grey16-small.png", "16-bit grey, nothing above 255")
    write("gamma.png", png_with(png_chunk(b"gAMA", struct.pack(">I", 100000))), "gAMA: ignored")
    png = saved(Image.fromarray(picture()), "PNG")
    write("no-iend.png", png[:-12], "the last chunk is missing")
    write("no-last-checksum.png", png[:-16], "the last checksum is missing as well")


# ---------------------------------------------------------------------- BMP

def bmp(rows, bits, compression=0, palette=None, header=40, masks=(), down=False, width=W, height=H):
    """rows: the pixels as they go into the file."""
    colours = b"" if palette is None else b"".join(bytes(c[::-1]) + b"\0" * (header != 12) for c in palette.tolist())
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, width, -height if down else height, 1, bits, compression, len(rows), 2835, 2835,
                           0 if palette is None else len(palette), 0)
        bit = struct.pack("<%dI" % len(masks), *masks)
        info += bit if header == 40 else bit + b"\0" * (header - 40 - len(bit))
    offset = 14 + len(info) + len(colours)
    return struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset) + info + colours + rows


def padded(raw):
    raw = np.ascontiguousarray(raw).view(np.uint8).reshape(len(raw), -1)
    return np.pad(raw, ((0, 0), (0, -raw.shape[1] % 4))).tobytes()


def packed_bits(a, bits):
    wide = np.unpackbits(a.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - bits:].reshape(len(a), -1)
    return np.packbits(wide, axis=1)


def rle(a, four, absolute):
    """Rows of the file; `absolute`: literal runs of even length, else pairs of count and value."""
    out = b""
    for row in a.tolist():
        if absolute:
            n = len(row) // 4 * 4
            data = bytes(row[:n]) if not four else bytes(row[i] << 4 | row[i + 1] for i in range(0, n, 2))
            out += bytes([0, n]) + data + b"\0" * (len(data) % 2)
            row = row[n:]
        for v in row:
            out += bytes([1, v << 4 if four else v])
        out += b"\0\0"
    return out + b"\0\1"


def bmps():
    up = picture()[::-1].astype(np.uint16)
    r, gr, b = up[:, :, 0], up[:, :, 1], up[:, :, 2]
    p555 = (r >> 3 << 10 | gr >> 3 << 5 | b >> 3).astype("<u2")
    p565 = (r >> 3 << 11 | gr >> 2 << 5 | b >> 3).astype("<u2")
    x = np.zeros_like(r)
    for bits in (1, 4, 8):
        n = min(1 << bits, 200)
        rows = padded(packed_bits(g.indices(n, W, H), bits))
        write("%dbit.bmp" % bits, bmp(rows, bits, palette=g.palette(n)), "%d bits" % bits)
        write("%dbit-os2.bmp" % bits, bmp(rows, bits, palette=g.palette(1 << bits), header=12), "%d bits, OS/2" % bits)
    write("8bit-few.bmp", bmp(padded(g.indices(64, W, H)), 8, palette=g.palette(20)), "20 entries for indices to 63")
    write("555.bmp", bmp(padded(p555), 16), "16 bits, 555")
    write("555-masks.bmp", bmp(padded(p555), 16, 3, masks=(0x7c00, 0x3e0, 0x1f)), "16 bits, masks 555")
    write("565.bmp", bmp(padded(p565), 16, 3, masks=(0xf800, 0x7e0, 0x1f)), "16 bits, masks 565")
    write("565-v4.bmp", bmp(padded(p565), 16, 3, masks=(0xf800, 0x7e0, 0x1f, 0), header=108), "565 in a V4 header")
    write("565-v5-down.bmp", bmp(padded(p565[::-1]), 16, 3, masks=(0xf800, 0x7e0, 0x1f, 0), header=124, down=True), "565, V5, rows down")
    write("24-os2.bmp", bmp(padded(up.astype(np.uint8)[:, :, ::-1]), 24, header=12), "24 bits, OS/2")
    for name, order, masks in (("bgrx", (b, gr, r, x), (0xff0000, 0xff00, 0xff)), ("xbgr", (x, b, gr, r), (0xff000000, 0xff0000, 0xff00)),
                               ("rgba", (r, gr, b, x), (0xff, 0xff00, 0xff0000, 0xff000000))):
        header = 108 if len(masks) == 4 else 40
        if name == "xbgr":
            header, masks = 108, masks + (0,)
        write("32-%s.bmp" % name, bmp(np.dstack(order).astype(np.uint8).tobytes(), 32, 3, masks=masks, header=header), "masks " + name)
    for four in (0, 1):
        a = np.repeat(g.indices(16 if four else 100, W // 2 + 1, H), 2, axis=1)[:, :W]
        for absolute in (0, 1):
            write("rle%d-%s.bmp" % (4 if four else 8, "absolute" if absolute else "runs"),
                  bmp(rle(a, four, absolute), 4 if four else 8, 2 if four else 1, g.palette(16 if four else 100)), "runs")
    # Pillow 9.4 reads the two bytes of a jump twice, and literal runs of odd length in RLE4 one byte short.
    skipped = g.indices(100, W, H)
    skip = rle(skipped[:4], 0, 0)[:-2] + b"\0\2\3\1" + bytes([W - 3, 9]) + b"\0\0" + rle(skipped[6:], 0, 0)
    skipped[4:6] = 0
    skipped[5, 3:] = 9
    write("rle8-skip.bmp", bmp(skip, 8, 1, g.palette(100)), "a jump: what it leaves out is colour 0", g.palette(100)[skipped[::-1]])
    row, odd = list(range(W)), b""
    for y in range(H):
        odd += bytes([0, 7]) + b"\x01\x23\x45\x60" + bytes([0, 6]) + b"\x78\x9a\xbc\0" + b"\0\0"
    write("rle4-odd.bmp", bmp(odd + b"\0\1", 4, 2, g.palette(16)), "literal runs of odd length", g.palette(16)[np.array([row] * H)])
    empty = rle(g.indices(100, W, H)[:3], 0, 0)[:-2] + b"\0\0\0\1"
    lines = np.zeros((H, W), int)
    lines[:3] = g.indices(100, W, H)[:3]
    write("rle8-ends.bmp", bmp(empty, 8, 1, g.palette(100)), "the end mark before the last row: colour 0", g.palette(100)[lines[::-1]])


# ---------------------------------------------------------------------- GIF

def lzw(indices, bits):
    """Codes of constant width: the table is cleared before it grows."""
    clear, out = 1 << bits, []
    for i, v in enumerate(indices):
        if i % ((1 << bits) - 2) == 0:
            out.append(clear)
        out.append(v)
    text = "".join(format(c, "0%db" % (bits + 1))[::-1] for c in out + [clear + 1])
    data = bytes(int(text[i:i + 8][::-1], 2) for i in range(0, len(text), 8))
    return bytes([bits]) + b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255)) + b"\0"


def gif(frames, colours=None, canvas=(W, H), background=0, end=b";"):
    """frames: dicts of a (indices), at, transparent, colours, interlace."""
    out = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0xf4 if colours is not None else 0x70, background, 0)
    out += b"" if colours is None else colours.tobytes()
    for f in frames:
        a, (x, y) = f["a"], f.get("at", (0, 0))
        if f.get("transparent") is not None:
            out += b"!\xf9\4\1\0\0" + bytes([f["transparent"], 0])
        local = f.get("colours")
        flags = (0x84 if local is not None else 0) | (0x40 if f.get("interlace") else 0)
        out += b"," + struct.pack("<HHHHB", x, y, a.shape[1], a.shape[0], flags)
        out += b"" if local is None else local.tobytes()
        if f.get("interlace"):
            a = np.concatenate([a[s::t] for s, t in ((0, 8), (4, 8), (2, 4), (1, 2))])
        out += lzw(a.ravel().tolist(), 5)
    return out + end


def gifs():
    a, colours = g.indices(32, W, H), g.palette(32)
    small = g.indices(32, 7, 4) ^ 5
    part = dict(a=small, at=(4, 3))
    write("offset.gif", gif([part], colours), "a frame in the middle: colour 0 around it")
    write("offset-background.gif", gif([part], colours, background=9), "the background of the header: ignored")
    write("offset-transparent.gif", gif([dict(part, transparent=6)], colours), "the transparent colour around it")
    write("offset-local.gif", gif([dict(part, colours=colours[::-1].copy())], colours), "a palette of the frame")
    write("offset-interlaced.gif", gif([dict(part, interlace=True)], colours), "interlaced, in the middle")
    write("local-only.gif", gif([dict(a=a, colours=colours)]), "no palette but the frame's")
    write("no-palette.gif", gif([dict(a=a)]), "no palette: grey")
    write("beyond.gif", gif([dict(a=a, at=(5, 2))], colours), "a frame beyond the canvas makes it larger")
    write("two-offset.gif", gif([part, dict(a=a)], colours), "of two frames the first")
    write("87a.gif", b"GIF87a" + gif([dict(a=a)], colours)[6:], "GIF87a")
    write("no-end.gif", gif([dict(a=a)], colours, end=b""), "no end mark")


# ---------------------------------------------------------------------- PNM

def pnms():
    grey, rgb, bit = g.grey(W, H), picture(), (g.grey(W, H) > 128).astype(np.uint8)

    def text(a):
        return "\n".join(" ".join(str(v) for v in row.ravel()) for row in a).encode() + b"\n"
    size = b"%d %d\n" % (W, H)
    write("plain.pbm", b"P1\n# a comment\n" + size + text(bit), "P1, a comment")
    write("tight.pbm", b"P1 " + size + text(bit).replace(b" ", b""), "P1 without blanks")
    write("plain.pgm", b"P2\n" + size + b"255\n" + text(grey), "P2")
    write("comments.pgm", b"P2\n# one\n%d # two\n%d\n# three\n255\n" % (W, H) + text(grey).replace(b"\n", b" # row\n"), "P2 with comments")
    write("plain.ppm", b"P3\n" + size + b"255\n" + text(rgb), "P3")
    write("levels.ppm", b"P3\n" + size + b"100\n" + text(rgb * (100 / 255.001)).replace(b".", b" ")[:0] +
          text((rgb.astype(int) * 100 // 255)), "P3, highest level 100")
    write("raw.pbm", b"P4\n" + size + np.packbits(bit, axis=1).tobytes(), "P4")
    write("levels.pgm", b"P5\n" + size + b"31\n" + (grey // 8).tobytes(), "P5, highest level 31")
    write("grey16.pgm", b"P5\n" + size + b"65535\n" + (grey.astype(">u2") * 5).tobytes(), "P5 of 16 bits: clips at 255")
    write("grey12.pgm", b"P5\n" + size + b"4095\n" + grey.astype(">u2").tobytes(), "P5 of 12 bits: brought to 16, clips")
    write("grey12-text.pgm", b"P2\n" + size + b"4095\n" + text(grey // 9), "P2 of 12 bits")
    write("colour16.ppm", b"P6\n" + size + b"65535\n" + (rgb.astype(">u2") * 257 - 3 * (rgb > 9)).astype(">u2").tobytes(), "P6 of 16 bits")
    write("levels6.ppm", b"P6\n# c\n" + size + b"7\n" + (rgb // 32).tobytes(), "P6, highest level 7")


# ---------------------------------------------------------------------- TGA

def tga(rows, kind, depth, flags=0, palette=b"", entries=(0, 0, 0), text=b""):
    first, count, bits = entries
    return struct.pack("<BBBHHBHHHHBB", len(text), int(bits > 0), kind, first, count, bits, 0, 0, W, H, depth, flags) + text + palette + rows


def tga_runs(rows, step):
    pixels = [rows[i:i + step] for i in range(0, len(rows), step)]
    out, i = b"", 0
    while i < len(pixels):
        n = 1
        while i + n < len(pixels) and n < 128 and pixels[i + n] == pixels[i]:
            n += 1
        if n == 1:
            while i + n < len(pixels) and n < 20 and pixels[i + n] != pixels[i + n - 1]:
                n += 1
            out += bytes([n - 1]) + b"".join(pixels[i:i + n])
        else:
            out += bytes([127 + n]) + pixels[i]
        i += n
    return out


def tgas():
    rgb, grey = picture(), g.grey(W, H)
    flat = rgb // 64 * 64
    bgr = rgb[::-1, :, ::-1]
    bgra = np.dstack([bgr, g.alpha(W, H)])
    five = (rgb[::-1].astype(int) >> 3)
    p555 = (five[:, :, 0] << 10 | five[:, :, 1] << 5 | five[:, :, 2]).astype("<u2")
    ix = g.indices(30, W, H)
    pal = g.palette(30)[:, ::-1]
    write("24.tga", tga(bgr.tobytes(), 2, 24, text=b"a comment"), "24 bits, bottom up")
    write("24-down.tga", tga(bgr[::-1].tobytes(), 2, 24, 0x20), "24 bits, top down")
    write("24-left.tga", tga(bgr.tobytes(), 2, 24, 0x10), "right to left")
    write("32.tga", tga(bgra.tobytes(), 2, 32, 8), "32 bits: alpha is dropped")
    write("16.tga", tga(p555.tobytes(), 2, 16), "16 bits, 555")
    write("grey.tga", tga(grey[::-1].tobytes(), 3, 8), "grey")
    write("grey-alpha.tga", tga(np.dstack([grey[::-1], g.alpha(W, H)]).tobytes(), 3, 16, 8), "grey and alpha")
    write("palette.tga", tga(ix.tobytes(), 1, 8, 0, pal.tobytes(), (0, 30, 24)), "palette")
    write("palette-first.tga", tga((ix + 5).tobytes(), 1, 8, 0, pal.tobytes(), (5, 30, 24)), "palette from 5 on")
    write("rle24.tga", tga(tga_runs(flat[::-1, :, ::-1].tobytes(), 3), 10, 24), "runs")
    write("rle-grey.tga", tga(tga_runs((grey[::-1] // 64 * 64).tobytes(), 1), 11, 8), "runs, grey")
    write("rle-palette.tga", tga(tga_runs((ix // 8).tobytes(), 1), 9, 8, 0x20, pal.tobytes(), (0, 30, 24)), "runs, palette")


# --------------------------------------------------------------------- WebP

def webps():
    rgb = picture()
    rgba = np.dstack([rgb, g.alpha(W, H)])
    write("lossy.webp", saved(Image.fromarray(g.rgb(29, 19)), "WEBP", quality=70), "lossy")
    write("lossless.webp", saved(Image.fromarray(rgb), "WEBP", lossless=True), "lossless")
    write("alpha.webp", saved(Image.fromarray(rgba), "WEBP", lossless=True, exact=True), "lossless with alpha, which is dropped")
    write("lossy-alpha.webp", saved(Image.fromarray(rgba), "WEBP", quality=80), "lossy with alpha")
    frames = [Image.fromarray(g.rgb(W, H, s)) for s in (8, 9)]
    write("animated.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True), "of two frames the first")
    # a frame that covers a part of its canvas
    part = saved(Image.fromarray(rgb[:4, :6]), "WEBP", lossless=True)[12:]
    u24 = lambda v: struct.pack("<I", v)[:3]
    anmf = u24(2) + u24(1) + u24(5) + u24(3) + u24(50) + b"\0" + part
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + u24(W - 1) + u24(H - 1) + \
        b"ANIM" + struct.pack("<I", 6) + b"\x20\x40\x60\xff\0\0" + b"ANMF" + struct.pack("<I", len(anmf)) + anmf + b"\0" * (len(anmf) % 2)
    write("offset.webp", b"RIFF" + struct.pack("<I", len(body)) + body, "a frame in the middle: black around it")


# --------------------------------------------------------------------- TIFF

def tiff(a, light, order="<", compression=1, bits=8, planar=1, tile=None, rows=None, tags=None, pages=1):
    """A TIFF of samples [h,w,c] (or bytes packed already, [h,bytes]); tags: {number: (type, values)}."""
    a = a if a.ndim == 3 else a[:, :, None]
    height = a.shape[0]
    width = W if bits < 8 else a.shape[1]
    a = a.astype(order + "u2" if a.dtype == np.uint16 else order + "u4" if a.dtype == np.uint32 else
                 order + "f4" if a.dtype == np.float32 else order + "i2" if a.dtype == np.int16 else np.uint8)
    layers = [a] if planar == 1 else [a[:, :, c:c + 1] for c in range(a.shape[2])]
    blocks = []
    for layer in layers:
        if tile:
            th, tw = tile
            for y in range(0, height, th):
                for x in range(0, width, tw):
                    part = layer[y:y + th, x:x + tw]
                    blocks.append(np.pad(part, ((0, th - part.shape[0]), (0, tw - part.shape[1]), (0, 0))).tobytes())
        else:
            step = rows or height
            blocks += [layer[y:y + step].tobytes() for y in range(0, height, step)]
    if compression == 8:
        blocks = [zlib.compress(b) for b in blocks]
    if compression == 32773:
        blocks = [b"".join(bytes([len(b[i:i + 100]) - 1]) + b[i:i + 100] for i in range(0, len(b), 100)) for b in blocks]
    samples = a.shape[2]
    entries = {256: (3, [width]), 257: (3, [height]), 258: (3, [bits] * samples), 259: (3, [compression]), 262: (3, [light]),
               277: (3, [samples]), 284: (3, [planar])}
    if tile:
        entries.update({322: (3, [tile[1]]), 323: (3, [tile[0]])})
    else:
        entries[278] = (3, [rows or height])
    entries.update(tags or {})
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8))
    for page in range(pages):
        offsets = 324 if tile else 273
        table = dict(entries)
        table[offsets] = (4, [0] * len(blocks))
        table[offsets + 1 if tile else 279] = (4, [len(b) for b in blocks])
        start = len(out)
        data_at = start + 2 + 12 * len(table) + 4
        extra = b""

        def pack(kind, values):
            return struct.pack(order + "%d%s" % (len(values), {1: "B", 3: "H", 4: "I"}[kind]), *values)
        sizes = {k: len(pack(*v)) for k, v in table.items()}
        first = data_at + sum(s + s % 2 for s in sizes.values() if s > 4)
        at, places = first, []
        for b in blocks:
            places.append(at)
            at += len(b) + len(b) % 2
        table[offsets] = (4, places)
        ifd = struct.pack(order + "H", len(table))
        for k in sorted(table):
            kind, values = table[k]
            data = pack(kind, values)
            ifd += struct.pack(order + "HHI", k, kind, len(values))
            if len(data) <= 4:
                ifd += data.ljust(4, b"\0")
            else:
                ifd += struct.pack(order + "I", data_at + len(extra))
                extra += data + b"\0" * (len(data) % 2)
        ifd += struct.pack(order + "I", at if page + 1 < pages else 0)
        out += ifd + extra + b"".join(b + b"\0" * (len(b) % 2) for b in blocks)
    return bytes(out)


def tiffs():
    rgb, grey, alpha = picture(), g.grey(W, H), g.alpha(W, H)
    rgba = np.dstack([rgb, alpha])
    wide = (np.arange(W * H).reshape(H, W) * 557).astype(np.uint16)
    image = Image.fromarray(rgb)
    for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "raw"):
        write("pillow-%s.tif" % c.replace("tiff_", ""), saved(image, "TIFF", compression=None if c == "raw" else c), c)
    write("jpeg-grey.tif", saved(Image.fromarray(grey), "TIFF", compression="jpeg"), "grey JPEG")
    write("group4.tif", saved(Image.fromarray(grey > 128), "TIFF", compression="group4"), "1 bit, fax")
    write("lzw-predictor.tif", saved(image, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}), "LZW with predictor")
    write("cmyk.tif", tiff(np.dstack([255 - rgb, grey // 3]), 5), "CMYK")
    write("cmyk-deflate.tif", tiff(np.dstack([255 - rgb, grey // 3]), 5, ">", 8), "CMYK, big-endian, deflate")
    for order, name in (("<", "le"), (">", "be")):
        write("rgb-%s.tif" % name, tiff(rgb, 2, order), "RGB")
        write("rgb-%s-strips.tif" % name, tiff(rgb, 2, order, 8, rows=4), "RGB in strips")
        write("rgb-%s-tiles.tif" % name, tiff(g.rgb(40, 21), 2, order, 8, tile=(16, 16)), "RGB in tiles")
        write("rgb-%s-planes.tif" % name, tiff(rgb, 2, order, planar=2, rows=4), "RGB in planes")
        write("rgb16-%s.tif" % name, tiff(np.dstack([wide, wide[::-1], 65535 - wide]), 2, order, bits=16), "RGB of 16 bits: the high byte")
        write("rgb16-%s-deflate.tif" % name, tiff(np.dstack([wide, wide[::-1], 65535 - wide]), 2, order, 8, bits=16), "RGB of 16 bits")
        write("grey16-%s.tif" % name, tiff(wide // 40, 1, order, bits=16), "16-bit grey: clips at 255")
        write("grey16-%s-deflate.tif" % name, tiff(wide // 40, 1, order, 8, bits=16), "16-bit grey: clips at 255")
        write("float-%s.tif" % name, tiff((wide / 99.0 - 50).astype(np.float32), 1, order, bits=32, tags={339: (3, [3])}), "floats: cut to 0..255")
        write("palette-%s.tif" % name, tiff(g.indices(256, W, H), 3, order, tags={320: (3, (g.palette().T.ravel().astype(int) * 257).tolist())}), "palette")
    write("rgb-tiles-raw.tif", tiff(g.rgb(32, 16), 2, tile=(16, 16)), "whole tiles, uncompressed")
    write("rgb-planes-tiles.tif", tiff(g.rgb(40, 21), 2, compression=8, planar=2, tile=(16, 16)), "tiles in planes")
    write("packbits.tif", tiff(rgb, 2, compression=32773, rows=3), "packbits")
    write("rgba.tif", tiff(rgba, 2, tags={338: (3, [2])}), "alpha is dropped")
    write("rgba-premultiplied.tif", tiff(np.dstack([rgb // 255.0 * 0 + rgb * (alpha[:, :, None] / 255.0), alpha]).astype(np.uint8), 2,
                                         tags={338: (3, [1])}), "colours multiplied by alpha: divided again")
    write("rgbx.tif", tiff(rgba, 2, tags={338: (3, [0])}), "a fourth sample of nothing known")
    write("rgba16.tif", tiff(np.dstack([wide, wide[::-1], 65535 - wide, wide[:, ::-1]]), 2, bits=16, tags={338: (3, [2])}), "16 bits and alpha")
    write("grey-alpha.tif", tiff(np.dstack([grey, alpha]), 1, tags={338: (3, [2])}), "grey and alpha")
    write("grey-inverted.tif", tiff(grey, 0), "0 is white")
    for bits in (1, 2, 4):
        few = packed_bits(g.indices(1 << bits, W, H), bits)
        for light in (0, 1):
            write("grey%d-%d.tif" % (bits, light), tiff(few, light, bits=bits), "%d bits, %s" % (bits, ("0 is white", "0 is black")[light]))
        write("palette%d.tif" % bits, tiff(few, 3, bits=bits, tags={320: (3, (g.palette(1 << bits).T.ravel().astype(int) * 257).tolist())}), "%d-bit palette" % bits)
    write("bits-reversed.tif", tiff(np.packbits(g.indices(2, W, H).astype(bool), axis=1, bitorder="little"), 1, bits=1, tags={266: (3, [2])}), "fill order 2")
    write("signed16.tif", tiff((wide.astype(int) - 30000).astype(np.int16), 1, bits=16, tags={339: (3, [2])}), "signed 16 bits: cut to 0..255")
    write("int32.tif", tiff((np.arange(W * H).reshape(H, W) * 3).astype(np.uint32), 1, bits=32), "32 bits: clips at 255")
    write("pages.tif", tiff(rgb, 2, pages=2), "of two pages the first")


def make(generate):
    global g
    g = generate
    pngs()
    bmps()
    gifs()
    pnms()
    tgas()
    webps()
    tiffs()
    orientations()
