"""Forty kinds of files that folders of pictures really hold, labelled by the real command in one run."""

import csv
import io
import json
import os
import shutil
import socket
import struct
import time
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, process, read_records
from PIL import Image

from gender_recognizer import Recognizer
from gender_recognizer.pictures.loading import load_or_reason

FACE = PROJECT / "data/sample/female/001.jpg"


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


A = Image.open(FACE).convert("RGB").resize((90, 120))
B = A.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
J, P = encode(A, "JPEG", quality=95), encode(A, "PNG")


def grey(dtype, scale):
    return Image.fromarray((np.asarray(A.convert("L"), float) * scale).astype(dtype))


def exif(turn):
    tags = Image.Exif()
    tags[0x112] = turn
    return tags


def turned(turn, ending):
    """Return the picture stored so that its EXIF turn brings it upright."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[turn]
    format, options = ("PNG", {}) if ending == "png" else ("JPEG", {"quality": 95, "subsampling": 0})
    return encode(A.transpose(Image.Transpose(back)), format, exif=exif(turn), **options)


def huge_png(width, height):
    """Return a 1-bit PNG of few bytes that claims to be large, and is."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(width // 8 + 1)) for _ in range(min(height, 2000))) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def flipped(content):
    middle = content.index(b"IDAT") + 200
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def with_alpha(alpha, mode="RGBA"):
    image = A.convert(mode)
    image.putalpha(alpha)
    return image


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 90, 3), dtype=np.uint8))
CHEQUER = Image.fromarray(((np.indices((120, 90)) // 10).sum(0) % 2 * 255).astype(np.uint8))
ODD_NAMES = ["日本.jpg", unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg"), "🙂.jpg"]
ODD_NAMES += ["new\nline.jpg", " leading.jpg", "quote'\".jpg", "n" * 236 + ".jpg", "comma,.jpg", "back\\slash.jpg"]
ALBUM = {"save_all": True, "append_images": [B, A]}

LABELLED = {  # row of the list: {name: (content, how far the probability may be from that of the upright picture)}
    7: {"png_called.jpg": (P, 0.01)},
    8: {"upper.JPG": (J, 0), "mixed.JpEg": (J, 0)},
    9: {f"turn{turn}.{ending}": (turned(turn, ending), 0.02) for turn in range(2, 9) for ending in ("png", "jpg")},
    10: {
        "turn99.jpg": (encode(A, "JPEG", quality=95, exif=exif(99)), 0),
        "exif.jpg": (encode(A, "JPEG", quality=95, exif=b"Exif\0\0garbage"), 0),
        "icc.jpg": (encode(A, "JPEG", quality=95, icc_profile=b"x"), 0),
    },
    11: {"cmyk.jpg": (encode(A.convert("CMYK"), "JPEG", quality=95), 0.1)},
    12: {
        "grey.jpg": (encode(A.convert("L"), "JPEG"), 1),
        "bits.png": (encode(A.convert("1"), "PNG"), 0.1),  # only black and white dots
    },
    13: {
        "grey8.png": (encode(grey(np.uint8, 1), "PNG"), 1),
        "grey16.png": (encode(grey(np.uint16, 257), "PNG"), 1),
        "grey16.tiff": (encode(grey(np.uint16, 257), "TIFF"), 1),
    },
    14: {"float.tiff": (encode(grey(np.float32, 1 / 255), "TIFF"), 1)},
    15: {
        "palette.png": (encode(A.quantize(64), "PNG", transparency=0), 0.3),
        "palettes.gif": (encode(A.quantize(64), "GIF", transparency=0), 0.3),
        "palette_bytes.png": (encode(A.quantize(64), "PNG", transparency=bytes([255] * 64)), 0.1),
    },
    16: {"alpha.png": (encode(with_alpha(255), "PNG"), 0.01)},
    17: {
        "album.gif": (encode(A, "GIF", **ALBUM), 0.2),
        "album.webp": (encode(A, "WEBP", lossless=True, **ALBUM), 0.01),
        "album.png": (encode(A, "PNG", **ALBUM), 0.01),
        "album.tiff": (encode(A, "TIFF", **ALBUM), 0.01),
        "album.mpo": (encode(A, "MPO", **ALBUM), 0.1),
    },
    18: {
        **{f"format.{format}": (encode(A, format, quality=95), 0.05) for format in ("avif", "webp")},
        "format.jp2": (encode(A, "JPEG2000"), 0.02),
        "format.qoi": (encode(A, "QOI"), 0.01),
        "format.bmp": (encode(A, "BMP"), 0.01),
        "format.ico": (encode(A.resize((96, 96)), "ICO", sizes=[(96, 96)]), 1),
    },
    27: {os.fsdecode(b"x\xff.jpg"): (J, 0)},
    28: dict.fromkeys(ODD_NAMES, (J, 0)),
    29: {"sub1/same.jpg": (J, 0), "sub2/same.jpg": (J, 0), "img.png": (P, 0.01), "img.jpg": (J, 0)},
    39: {f"copies/{index:03}.jpg": (J, 0) for index in range(500)},
    40: {
        "progressive.jpg": (encode(A, "JPEG", quality=95, progressive=True), 0.01),
        "trailing.jpg": (J + b"x" * 5000, 0),
        "lab.tiff": (encode(A.convert("LAB"), "TIFF"), 1),
        "ycbcr.tiff": (encode(A.convert("YCbCr"), "TIFF"), 0.05),
    },
}
WITHOUT_LABEL = {  # row: {name: (content, status, part of the reason)}
    1: {"empty.jpg": (b"", "failed", "empty file")},
    2: {
        "page.jpg": (b"<!DOCTYPE html>", "failed", "not a picture"),
        "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "failed", "not a picture"),
    },
    3: {"lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "failed", "Git LFS pointer")},
    4: {
        "cut.jpg": (J[: len(J) // 2], "failed", "broken picture data"),
        "cut.png": (P[: len(P) // 2], "failed", "broken picture data"),
    },
    5: {"header.jpg": (J[:20], "failed", "header is broken"), "header.png": (P[:9], "failed", "header is broken")},
    6: {"flipped.png": (flipped(P), "failed", "broken picture data")},
    14: {"int32.tiff": (encode(grey(np.int32, 100_000), "TIFF"), "failed", "unsupported depth")},
    16: {
        "transparent.png": (encode(with_alpha(0), "PNG"), "blank", "one colour"),
        "transparent_grey.png": (encode(with_alpha(0, "LA"), "PNG"), "blank", "one colour"),
    },
    19: {"photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "failed", "HEIC")},
    20: {"ghost.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "failed", "not a picture")},
    21: {
        "1x1.png": (encode(Image.new("RGB", (1, 1)), "PNG"), "too_small", "1x1 pixels"),
        "2x2.png": (encode(Image.new("RGB", (2, 2)), "PNG"), "too_small", "2x2 pixels"),
    },
    22: {"strip.png": (encode(A.resize((20000, 1)), "PNG"), "too_small", "20000x1 pixels")},
    23: {"bomb1.png": (huge_png(10000, 10000), "failed", "10000x10000 is more than 50,000,000 pixels")},
    24: {"bomb2.png": (huge_png(20000, 20000), "failed", "pixels, Pillow's limit")},
    25: {"nothing.png": (huge_png(0, 0), "failed", "header is broken")},
    26: {
        "black.png": (encode(Image.new("RGB", (90, 120)), "PNG"), "blank", "one colour"),
        "noise.png": (encode(NOISE, "PNG"), "no_face", "no face found"),
        "chequer.png": (encode(CHEQUER, "PNG"), "no_face", "no face found"),
    },
    28: {"bad\nname.jpg": (b"", "failed", "empty file")},
}
JUNK = ["._a.jpg", "Thumbs.db", ".DS_Store", "__MACOSX/b.jpg", "notes.txt", "process_results.json", "noending"]


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("nasty") / "in"
    outside = root.parent / "outside.jpg"
    write(outside, J)
    write(root / "a.jpg", J)
    for files in (*LABELLED.values(), *WITHOUT_LABEL.values()):
        for name, (content, *_) in files.items():
            write(root / name, content)
    for name in JUNK:
        write(root / name, J)
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(root)
        server.bind("socket.jpg")
        os.chdir(here)
    for name, target in {
        "dangling.jpg": "missing.jpg",
        "loop1.jpg": "loop2.jpg",
        "loop2.jpg": "loop1.jpg",
        "leaving.jpg": outside,
        "inside.jpg": "a.jpg",
        "parent": "..",
    }.items():
        (root / name).symlink_to(target)
    return root


@pytest.fixture(scope="module")
def done(folder):
    return process(folder, f"output_path={folder.parent}/out.json", "formats=[json,jsonl,csv]")


@pytest.fixture(scope="module")
def records(folder, done):
    found = read_records(folder.parent / "out.jsonl")
    assert len({record["file"] for record in found}) == len(found)
    return {record["file"]: record for record in found}


@pytest.fixture(scope="module")
def labels(folder, done):
    return json.loads((folder.parent / "out.json").read_bytes().decode("utf-8"))


@pytest.mark.parametrize("row", LABELLED)
def test_readable_pictures_get_the_label_of_their_plain_twin(row, records, labels):
    plain = records["a.jpg"]
    for name, (_, tolerance) in LABELLED[row].items():
        record = records[name]
        assert record["status"] == "labelled", record
        assert labels[name] == record["label"]
        assert tolerance == 1 or record["label"] == plain["label"], name
        female = [r["probability"] if r["label"] == "female" else 1 - r["probability"] for r in (plain, record)]
        assert abs(female[0] - female[1]) <= tolerance, name


def test_16_bit_and_float_greys_are_those_of_8_bits(records):
    for name in ("grey16.png", "grey16.tiff", "float.tiff"):
        assert records[name]["probability"] == pytest.approx(records["grey8.png"]["probability"], abs=0.01)


@pytest.mark.parametrize("row", WITHOUT_LABEL)
def test_unusable_files_have_their_reason_and_no_label(row, records, labels):
    for name, (_, status, reason) in WITHOUT_LABEL[row].items():
        assert records[name]["status"] == status, records[name]
        assert reason in records[name]["reason"]
        assert "label" not in records[name]
        assert name not in labels


def test_albums_say_how_many_frames_they_have(records):
    assert {name: records[name]["pages"] for name in LABELLED[17]} == dict.fromkeys(LABELLED[17], 3)
    assert "pages" not in records["a.jpg"]


def test_noise_and_patterns_are_not_labelled_confidently(folder, records):
    names = ["noise.png", "chequer.png"]
    assert [records[name]["status"] for name in names] == ["no_face"] * 2
    for record in Recognizer(faces="none").label([folder / name for name in names]):
        assert (record.status, record.faces) == ("labelled", None)
        assert record.probability < 0.9


def test_black_and_white_dots_get_the_label_of_their_plain_twin_without_looking_for_faces(folder):
    plain, dots = Recognizer(faces="none").label([folder / "a.jpg", folder / "bits.png"])
    assert (dots.status, dots.label) == ("labelled", plain.label)
    assert dots.probability == pytest.approx(plain.probability, abs=0.1)


def test_names_keep_their_bytes_in_every_file(folder, records, labels):
    names = {os.fsencode(name) for name in [*ODD_NAMES, *LABELLED[27]]}
    assert names <= {os.fsencode(name) for name in labels} == names | {os.fsencode(name) for name in labels}
    with (folder.parent / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert set(ODD_NAMES) <= rows.keys()
    assert len(rows) == len(records)
    assert rows["new\nline.jpg"]["label"] == labels["new\nline.jpg"]


def test_odd_names_are_escaped_in_messages(done):
    assert r"failed: 'bad\nname.jpg': empty file" in done.stderr.splitlines()


def test_copies_have_equal_records(records):
    assert len({(records[name]["label"], records[name]["probability"]) for name in LABELLED[39]}) == 1


def test_what_is_no_regular_file_is_not_opened(records):
    assert records["pipe.jpg"]["reason"] == "not a regular file"
    assert records["socket.jpg"]["status"] == "failed"
    assert "folder.jpg" not in records


def test_links_are_not_followed_out_of_the_folder(records, labels):
    assert records["dangling.jpg"]["reason"] == "No such file or directory"
    assert records["loop1.jpg"]["reason"] == "Too many levels of symbolic links"
    assert "follow_links=true" in records["leaving.jpg"]["reason"]
    assert labels["inside.jpg"] == labels["a.jpg"]
    assert not any(name.startswith("parent") for name in records)


def test_junk_is_ignored_and_counted(done, records):
    assert not {name for name in records if name in JUNK}
    assert "8 ignored" in done.stderr.splitlines()[-1]  # the link to a folder is the eighth


def test_every_file_has_one_record_and_the_rest_is_said(done, folder, records, labels):
    listed = {name for files in (*LABELLED.values(), *WITHOUT_LABEL.values()) for name in files}
    others = {"a.jpg", "pipe.jpg", "socket.jpg", "dangling.jpg", "loop1.jpg", "loop2.jpg", "leaving.jpg", "inside.jpg"}
    assert records.keys() == listed | others
    assert labels.keys() == {name for name, record in records.items() if record["status"] == "labelled"}
    assert done.returncode == 3
    assert done.stdout == ""
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    failures = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failures) == 20  # the rest is counted
    assert "more, listed in out.jsonl" in done.stderr


def test_second_run_gives_the_same_files(done, folder):
    before = {name: (folder.parent / name).read_bytes() for name in ("out.json", "out.jsonl", "out.csv")}
    again = process(folder, f"output_path={folder.parent}/out.json", "formats=[json,jsonl,csv]")
    assert again.returncode == 3
    assert {name: (folder.parent / name).read_bytes() for name in before} == before


def mutated(rng, content, other):
    """Return a broken copy: flipped bits, a cut, a piece of another file, or another file's header."""
    content = bytearray(content)
    kind = rng.integers(4)
    if kind == 0:
        for position in rng.integers(0, len(content), rng.integers(1, 30)):
            content[position] ^= 1 << rng.integers(8)
    elif kind == 1:
        del content[rng.integers(len(content)) :]
    elif kind == 2:
        start, length = rng.integers(len(content)), rng.integers(1, 200)
        content[start : start + length] = other[start : start + length]
    else:
        length = rng.integers(4, 200)
        content[:length] = other[:length]
    return bytes(content)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_thousand_mutated_files_give_one_record_each(tmp_path):
    rng = np.random.default_rng(0)
    tables = (*LABELLED.values(), WITHOUT_LABEL[26])
    seeds = [content for table in tables for name, (content, *_) in table.items() if not name.startswith("copies")]
    for index in range(2000):
        first, second = rng.integers(len(seeds), size=2)
        write(tmp_path / f"in/{index:04}.jpg", mutated(rng, seeds[first], seeds[second]))
    done = process(tmp_path / "in", f"output_path={tmp_path}/out.json")
    assert done.returncode == 3, done.stderr
    found = read_records(tmp_path / "out.jsonl")
    assert [record["file"] for record in found] == [f"{index:04}.jpg" for index in range(2000)]
    assert not any("died" in record.get("reason", "") for record in found)
    failed = sum(record["status"] == "failed" for record in found)
    assert 500 < failed < 1900
    for path in (tmp_path / "in").iterdir():
        started = time.monotonic()
        load_or_reason(path)
        assert time.monotonic() - started < 5, path
    shutil.rmtree(tmp_path / "in")
