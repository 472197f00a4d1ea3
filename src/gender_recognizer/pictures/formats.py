"""The picture formats that are read: their names, their file endings, and how their files begin."""

FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".jfif-tbnl", ".pjpeg", ".pjp", ".mpo", ".jps"),
        *(".jpg_large", ".jpg_medium", ".jpg_small", ".jpg_orig", ".jpg_thumb", ".jpg-large", ".jpeg_large"),
    ),
    "PNG": (".png", ".apng", ".png_large", ".png-large"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "GIF": (".gif", ".giff"),
    "BMP": (".bmp", ".dib", ".rle"),
    "TIFF": (".tif", ".tiff", ".tf8", ".btf", ".ptif", ".ptiff"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpg2"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "ICO": (".ico",),
    "QOI": (".qoi",),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs", ".avci", ".avcs"),
}
"""Pillow's name of each format that is opened, by content, and the endings of its files, in lower case.

From Pillow's registry, IANA's media types and what programs and sites write. EPS is absent on purpose: it starts
Ghostscript. HEIF needs the extra `heic`.
"""

PILLOW_FORMATS = tuple(name for name in FORMATS if name != "HEIF")
"""Formats that Pillow reads by itself."""

EXTENSIONS = frozenset(ending for endings in FORMATS.values() for ending in endings)
"""File names with these endings (any case) are taken for pictures when a folder is listed."""

JUNK = frozenset(
    ["Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"]
)
"""Files and folders that operating systems leave behind."""

JUNK_EXTENSIONS = frozenset(
    (
        ".txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .toml .ini .cfg .conf .html .htm .css .js .log .db .lnk"
        " .url .py .ipynb .sh .bat .exe .dll .npy .npz .pt .pth .ckpt .onnx .zip .tar .gz .tgz .xmp .aae .thm"
        " .tmp .bak .part"
    ).split()
)
"""Endings of files that lie among pictures and that nobody takes for one; nothing is said when they are left out."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II\0*": "TIFF",
    b"MM*\0": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\0\0\1\0": "ICO",
    b"qoif": "QOI",
    **{b"P%c" % kind: "PPM" for kind in b"123456fy"},
    b"P0CMYK": "PPM",
}


def find_format(head: bytes) -> str | None:
    """Return the name in `FORMATS` of the format of a file that begins with `head` (32 bytes or more), or None."""
    if head[4:8] == b"ftyp":
        return "HEIF" if head[8:12] in _HEIF_BRANDS else "AVIF" if head[8:12] in (b"avif", b"avis") else None
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for beginning, name in _BEGINNINGS.items() if head.startswith(beginning)), None)
