"""Files put together byte by byte: what programs seldom write, and what folders of pictures hold all the same."""

import io
import struct
import zlib

import numpy as np
from conftest import PROJECT
from PIL import Image

FACE = Image.open(PROJECT / "data/sample/female/001.jpg").convert("RGB")
GREY = np.asarray(FACE.convert("L"))


def encode(image, format, **options):
    """Return the file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def tiff(data, size, bits, photometric=1, tags=(), order="<", pages=1):
    """Return an uncompressed TIFF.

    Args:
        data: of the only strip.
        size: width and height.
        bits: of each channel.
        photometric: 0 white is zero, 1 black is zero, 2 RGB.
        tags: further ones: number, type (3 for 16-bit, 4 for 32-bit numbers), value or (count, offset).
        order: of the bytes, `<` or `>`.
        pages: directories, all with the same strip.
    """
    width, height = size
    depths = struct.pack(f"{order}{len(bits)}H", *bits)
    start = 8 + len(depths) + len(data)
    entries = {256: (4, width), 257: (4, height), 259: (3, 1), 262: (3, photometric), 273: (4, 8 + len(depths))}
    entries |= {277: (3, len(bits)), 278: (4, height), 279: (4, len(data))}
    entries |= {258: (3, bits[0] if len(bits) == 1 else (len(bits), 8))} | {
        tag: (kind, value) for tag, kind, value in tags
    }
    if 2 * len(bits) <= 4 < 2 * len(bits) + 2:  # two values fit into the entry itself
        entries[258] = (3, (2, int.from_bytes(depths, "little" if order == "<" else "big")))
    directory = b"".join(_entry(order, tag, *entries[tag]) for tag in sorted(entries))
    length = 2 + len(directory) + 4
    parts = [struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, start), depths, data]
    for page in range(pages):
        following = start + (page + 1) * length if page + 1 < pages else 0
        parts += [struct.pack(order + "H", len(entries)), directory, struct.pack(order + "I", following)]
    return b"".join(parts)


def _entry(order, tag, kind, value):
    if isinstance(value, tuple):
        return struct.pack(order + "HHII", tag, kind, *value)
    return struct.pack(order + ("HHIHxx" if kind == 3 else "HHII"), tag, kind, 1, value)


def chunk(name, content, checksum=None):
    """Return a chunk of a PNG, with another checksum than its own if one is given."""
    checksum = zlib.crc32(name + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(*chunks, image=FACE, after=b""):
    """Return a PNG with further chunks between its header and its pixels, and bytes between pixels and end."""
    content = encode(image, "PNG")
    return content[:33] + b"".join(chunks) + content[33:-12] + after + content[-12:]


def segment(marker, content):
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(*inserted, image=FACE, **options):
    """Return a JPEG with bytes inserted after its first marker."""
    content = encode(image, "JPEG", **options)
    return content[:2] + b"".join(inserted) + content[2:]


def box(name, content):
    """Return a box of an AVIF, a HEIF or a JPEG 2000."""
    return struct.pack(">I4s", len(content) + 8, name) + content


def bitmap(pixels, size, bits=32, compression=0, masks=(), header=40):
    """Return a BMP, the lowest row first."""
    body = struct.pack("<IiiHHIIiiII", header, *size, 1, bits, compression, len(pixels), 2835, 2835, 0, 0)
    body += struct.pack(f"<{len(masks)}I", *masks)
    body += bytes(max(0, header - len(body))) if header > 40 else b""
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256)) if bits == 8 else b""
    start = 14 + len(body) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + body + palette + pixels


def icon(content, side=64, count=1):
    """Return an ICO whose table says `side` and whose pictures are one PNG or bitmap without file header."""
    entry = struct.pack("<4BHHII", side % 256, side % 256, 0, 0, 1, 32, len(content), 6 + 16 * count)
    return struct.pack("<3H", 0, 1, count) + entry * count + content


def jpeg2000(size, tile, layers=1, precincts=b"", levels=5):
    """Return the headers of a JPEG 2000 codestream of one channel, without pixels."""
    header = struct.pack(">H8IH3B", 0, *size, 0, 0, *tile, 0, 0, 1, 7, 1, 1)
    coding = struct.pack(">BBHB5B", bool(precincts), 0, layers, 0, levels, 4, 4, 0, 0) + precincts
    quantization = bytes([0x40]) + bytes([0x48]) * (3 * levels + 1)
    tail = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14, 0, 1) + b"\xff\x93\xff\xd9"
    return b"\xff\x4f" + segment(0x51, header) + segment(0x52, coding) + segment(0x5C, quantization) + tail
