import bz2
import csv
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from conftest import PROJECT, run

from gender_recognizer.data import placing, preparing
from gender_recognizer.data.archives import read_members
from gender_recognizer.data.preparing import prepare
from gender_recognizer.data.samples import read_metadata
from gender_recognizer.pictures.listing import find_images

UTKFACE = {
    "UTKFace/25_1_0_20170116174525125.jpg.chip.jpg": "female",
    "UTKFace/3_0_4_20161219140627985.jpg.chip.jpg": "male",
    "UTKFace/24_0_1_20170116220224657 .jpg.chip.jpg": "male",
    "UTKFace/61_1_20170109142408075.jpg.chip.jpg": None,
    "UTKFace/53__0_20170116184028385.jpg.chip.jpg": None,
    "UTKFace/61_3_20170109150557335.jpg.chip.jpg": None,
    "UTKFace/._25_1_0_20170116174525125.jpg.chip.jpg": None,
}


def picture(name):
    return b"\xff\xd8" + name.encode() * 3


def make_tar(path, names, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(picture(name))
            archive.addfile(info, io.BytesIO(picture(name)))
    return path


def make_zip(path, names, **tables):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, picture(name))
        for name, text in tables.items():
            archive.writestr(name, text)
    return path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def metadata(folder):
    return {row.pop("file_name"): row for row in csv.DictReader((folder / "metadata.csv").open())}


@pytest.mark.parametrize("form", ["tar.gz", "folder", "folder with archives"])
def test_utkface_labels_are_those_of_the_names_and_bad_names_are_named(tmp_path, form):
    source = make_tar(tmp_path / "UTKFace.tar.gz", UTKFACE)
    if form == "folder":
        source = tmp_path / "extracted"
        for name in UTKFACE:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(picture(name))
    elif form == "folder with archives":
        source = tmp_path / "downloads"
        source.mkdir()
        (tmp_path / "UTKFace.tar.gz").rename(source / "UTKFace.tar.gz")
    summary = prepare("utkface", source, tmp_path / "out")
    assert summary.counts == {"female": 1, "male": 2}
    ((reason, (count, names)),) = summary.left_out.items()
    assert (reason, count) == ("name is not one of this data set's", 3)
    assert all(any(name in bad for bad in names) for name in ("61_1_2017", "53__0", "61_3_2017"))
    rows = metadata(tmp_path / "out")
    assert rows["male/3_0_4_20161219140627985.jpg.chip.jpg"] == {"label": "male", "age": "3", "race": "Others"}
    written = contents(tmp_path / "out")
    for name, label in UTKFACE.items():
        if label:
            assert written[f"{label}/{name.partition('/')[2]}"] == picture(name)
    assert len(written) == 3 + 2


LABELS = "file,age,gender,race,service_test\n"
TRAIN = LABELS + "train/1.jpg,20-29,Male,East Asian,True\ntrain/2.jpg,3-9,Female,White,False\n"
VAL = LABELS + "val/1.jpg,50-59,Female,Black,True\n"


def make_fairface(folder, extra=()):
    names = ["train/1.jpg", "train/2.jpg", "train/3.jpg", "val/1.jpg", *extra]
    source = make_zip(folder / "fairface-img-margin025-trainval.zip", names)
    (folder / "fairface_label_train.csv").write_text(TRAIN)
    (folder / "fairface_label_val.csv").write_text(VAL)
    return source


def test_fairface_takes_its_labels_from_both_tables(tmp_path):
    summary = prepare("fairface", make_fairface(tmp_path), tmp_path / "out")
    assert summary.counts == {"female": 2, "male": 1}
    assert summary.left_out == {"no row in the tables": (1, ["train/3.jpg"])}
    assert metadata(tmp_path / "out")["female/val/1.jpg"] == {
        "label": "female", "age": "50-59", "race": "Black", "split": "val"
    }  # fmt: skip
    names = {path.relative_to(tmp_path / "out").as_posix() for path in find_images(tmp_path / "out")}
    assert read_metadata(tmp_path / "out").keys() == names  # what training, evaluation and checks look up
    prepare("fairface", tmp_path, tmp_path / "val", part="val")
    assert metadata(tmp_path / "val").keys() == {"female/val/1.jpg"}
    with pytest.raises(ValueError, match="holds fairface, part val; set output_dir"):
        prepare("fairface", tmp_path, tmp_path / "val")


@pytest.mark.parametrize("form", ["txt", "csv"])
def test_celeba_reads_both_forms_of_its_tables(tmp_path, form):
    source = make_zip(tmp_path / "img_align_celeba.zip", [f"img_align_celeba/00000{n}.jpg" for n in (1, 2, 3)])
    if form == "txt":
        (tmp_path / "list_attr_celeba.txt").write_text("2\nBald Male Young\n000001.jpg -1 -1  1\n000002.jpg -1  1 1\n")
        (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 2\n")
    else:
        (tmp_path / "list_attr_celeba.csv").write_text("image_id,Bald,Male\n000001.jpg,-1,-1\n000002.jpg,-1,1\n")
        (tmp_path / "list_eval_partition.csv").write_text("image_id,partition\n000001.jpg,0\n000002.jpg,2\n")
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 2880\n000002.jpg 2937\n")
    summary = prepare("celeba", source, tmp_path / "out")
    assert summary.left_out == {"no row in the tables": (1, ["img_align_celeba/000003.jpg"])}
    assert metadata(tmp_path / "out") == {
        "female/000001.jpg": {"label": "female", "identity": "2880", "split": "train"},
        "male/000002.jpg": {"label": "male", "identity": "2937", "split": "test"},
    }


@pytest.mark.parametrize("form", ["lists", "attributes"])
def test_lfw_reads_the_lists_or_the_attributes(tmp_path, form):
    people = ["Ann_Lee", "Bob_O'Hara", "Cy_Doe"]
    source = make_tar(tmp_path / "lfw.tgz", [f"lfw/{name}/{name}_0001.jpg" for name in people])
    if form == "lists":
        (tmp_path / "female_names.txt").write_text("Ann_Lee_0001.jpg\nCy_Doe_0001.jpg\n")
        (tmp_path / "male_names.txt").write_text("Bob_O'Hara_0001.jpg\nCy_Doe_0001.jpg\n")
    else:
        head = "# lfw_attributes.txt v1.2\n#\tperson\timagenum\tMale\tAsian\n"
        rows = "Ann Lee\t1\t-0.5\t1\nBob O'Hara\t1\t1.57\t1\nCy Doe\t1\t0\t1\n"
        (tmp_path / "lfw_attributes.txt").write_text(head + rows)
    summary = prepare("lfw", source, tmp_path / "out")
    assert [count for count, _ in summary.left_out.values()] == [1]
    rows = metadata(tmp_path / "out")
    assert rows["female/Ann_Lee/Ann_Lee_0001.jpg"] == {"label": "female", "identity": "Ann_Lee"}
    assert rows.keys() == {"female/Ann_Lee/Ann_Lee_0001.jpg", "male/Bob_O'Hara/Bob_O'Hara_0001.jpg"}


def test_an_interrupted_call_is_completed_without_writing_again(tmp_path, monkeypatch):
    names = [f"UTKFace/{age}_{age % 2}_0_20170116174525125.jpg.chip.jpg" for age in range(1, 41)]
    source = make_tar(tmp_path / "UTKFace.tar.gz", names)
    prepare("utkface", source, tmp_path / "whole")
    replace, calls = placing.os.replace, []

    def interrupt(*arguments):
        calls.append(arguments)
        if len(calls) == 20:
            raise KeyboardInterrupt
        replace(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(placing.os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare("utkface", source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jpg")}
    assert len(before) == 18  # one call moved the marker
    assert not (tmp_path / "out/metadata.csv").exists()
    summary = prepare("utkface", source, tmp_path / "out")
    assert summary.written == 22
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert before.items() <= {path: path.stat().st_mtime_ns for path in before}.items()


def test_hostile_archives_write_nothing_outside_and_follow_no_link(tmp_path):
    good = "25_1_0_20170116174525125.jpg"
    bad = ["../26_1_0_20170116174525125.jpg", "/27_1_0_20170116174525125.jpg", "a/../28_1_0_20170116174525125.jpg"]
    with tarfile.open(make_tar(tmp_path / "bad.tar", [good, *bad], "w"), "a") as archive:
        link = tarfile.TarInfo("29_1_0_20170116174525125.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    prepare("utkface", tmp_path / "bad.tar", tmp_path / "in/out")
    zipped = make_zip(tmp_path / "bad.zip", [good, *bad, "..\\30_1_0_20170116174525125.jpg"])
    prepare("utkface", zipped, tmp_path / "in/zip")
    for name in ("out", "zip"):
        assert metadata(tmp_path / "in" / name).keys() == {f"female/{good}"}
    assert len(contents(tmp_path / "in")) == 2 * 3


GOOD = "25_1_0_20170116174525125.jpg"


def entry(kind, size, content=b"", name=GOOD):
    """Return a header of a tar archive that claims a size, and what follows it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b"\0")


def record(key, value):
    body = f" {key}={value}\n".encode()
    return str(len(body) + 2).encode() + body


FILE = entry(tarfile.REGTYPE, len(picture(GOOD)), picture(GOOD))
END = bytes(1024)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (entry(tarfile.XHDTYPE, 2**30), "would unpack to 1,074 MB or more"),
        (entry(tarfile.GNUTYPE_LONGNAME, 2**20), "a header of 1,048,576 bytes"),
        (entry(tarfile.GNUTYPE_LONGLINK, 2**20), "a header of 1,048,576 bytes"),
        (entry(tarfile.XHDTYPE, 2**20), "a header of 1,048,576 bytes"),
        (entry(tarfile.XGLTYPE, 2**40), "would unpack to"),
        (entry(tarfile.REGTYPE, 2**40), "would unpack to"),
        (entry(tarfile.REGTYPE, -512), "of -512 bytes"),
        (entry(tarfile.GNUTYPE_SPARSE, 512), "a file with holes"),
        (entry(tarfile.XHDTYPE, 20, b"1" * 20), "a header is broken"),
        (entry(tarfile.XHDTYPE, 20, b"999 path=x"), "a header is broken"),
        (entry(tarfile.XHDTYPE, 70 * 6, b"6 a=b\n" * 70), "a header of more than 64 entries"),
        (entry(tarfile.XHDTYPE, 11, record("size", "-1")), "a size that is not a number"),
        (entry(tarfile.XHDTYPE, 14, record("size", "9" * 5)), "ends within a file"),
        (b"x" * 512, "not a complete zip or tar archive"),
        (FILE[:700], "is not a complete zip or tar archive"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tar_archives_made_to_keep_a_reader_busy_are_refused(tmp_path, head, message, compress):
    rest = b"" if len(head) == 700 else FILE + END
    (tmp_path / "bad.tar").write_bytes(compress(head + rest))
    with pytest.raises(ValueError, match=message):
        prepare("utkface", tmp_path / "bad.tar", tmp_path / "out")


def test_a_zip_archive_far_larger_than_its_file_is_refused_before_a_picture_is_written(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(GOOD, picture(GOOD))
        with archive.open("zeros.bin", "w") as file:
            for _ in range(50):
                file.write(bytes(1_000_000))
    with pytest.raises(ValueError, match="would unpack to 50 MB or more, too much for pictures"):
        prepare("utkface", tmp_path / "bomb.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_of_every_form_are_read(tmp_path, form, mode):
    names = [f"{'d' * 60}/{'e' * (60 if form else 90)}/{GOOD}", "caf\u00e9/26_0_0_20170116174525125.jpg", "plain"]
    with tarfile.open(tmp_path / "some.tar", mode, format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(picture(name)), 1.5
            archive.addfile(info, io.BytesIO(picture(name)))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    members = {member.name: member.read(1000) for member in read_members(tmp_path / "some.tar")}
    assert members == {name: picture(name) for name in names}


def test_what_is_too_large_or_no_jpeg_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "MAX_PICTURE", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("25_1_0_20170116174525125.jpg", picture("x"))
        archive.writestr("26_1_0_20170116174525125.jpg", b"\xff\xd8" + b"0" * 10_000)
        archive.writestr("27_1_0_20170116174525125.jpg", b"<html>")
    summary = prepare("utkface", tmp_path / "bomb.zip", tmp_path / "out")
    assert summary.counts == {"female": 1}
    assert [count for count, _ in summary.left_out.values()] == [2]
    monkeypatch.setattr(preparing, "MAX_TOTAL", 1)
    with pytest.raises(ValueError, match="it is not the official archive"):
        prepare("utkface", tmp_path / "bomb.zip", tmp_path / "other")


def test_what_is_not_the_data_set_is_refused_with_what_was_expected(tmp_path):
    source = make_tar(tmp_path / "UTKFace.tar.gz", UTKFACE)
    whole = source.read_bytes()
    (tmp_path / "broken.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "page.html").write_text("<html>")
    (tmp_path / "alone").mkdir()
    for dataset, name, message in (
        ("utk", source, "dataset is 'utk'; expected utkface, fairface, celeba, lfw"),
        ("utkface", "missing.zip", "does not exist; expected UTKFace.tar.gz"),
        ("utkface", "page.html", "is not a complete zip or tar archive"),
        ("utkface", "broken.tar.gz", "broken|not a complete"),
        ("utkface", "alone", "no picture of utkface in .* expected UTKFace.tar.gz"),
        ("fairface", source, "no table 'fairface_label_train.csv'"),
        ("celeba", source, "no table 'list_attr_celeba.txt'"),
        ("lfw", source, "no 'female_names.txt' and 'male_names.txt', and no 'lfw_attributes.txt'"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(dataset, tmp_path / name, tmp_path / "out")
    (tmp_path / "fairface_label_train.csv").write_text("a,b\n1,2\n")
    (tmp_path / "fairface_label_val.csv").write_text(VAL)
    with pytest.raises(ValueError, match="has no column file, age, gender, race"):
        prepare("fairface", source, tmp_path / "out")


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    source = make_tar(tmp_path / "UTKFace.tar.gz", UTKFACE)
    (tmp_path / "mine/female").mkdir(parents=True)
    (tmp_path / "mine/female/anna.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="holds files that were not prepared here"):
        prepare("utkface", source, tmp_path / "mine")
    prepare("utkface", source, tmp_path / "out")
    with pytest.raises(ValueError, match="holds utkface, part all"):
        prepare("fairface", make_fairface(tmp_path), tmp_path / "out")
    kept = tmp_path / "out/female/25_1_0_20170116174525125.jpg.chip.jpg"
    for content in (b"other", kept.read_bytes()[::-1]):  # the second one is as long as it should be
        kept.write_bytes(content)
        with pytest.raises(ValueError, match="differs from the picture in the source; delete it, or set output_dir="):
            prepare("utkface", source, tmp_path / "out")
        assert kept.read_bytes() == content
    (tmp_path / "out/male/bob.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"male/bob.jpg' was not prepared here"):
        prepare("utkface", source, tmp_path / "out")


def test_the_command_names_the_terms_and_ends_mistakes_in_one_line(tmp_path):
    make_tar(tmp_path / "UTKFace.tar.gz", UTKFACE)
    script = PROJECT / "scripts/prepare_data.py"
    options = ["dataset=utkface", "source=UTKFace.tar.gz", "output_dir=out"]
    done = run(script, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("UTKFace: for non-commercial research only")
    assert done.stdout == f"1 female, 2 male (3 of them new), 3 left out: {tmp_path}/out\n"
    assert {path.name for path in tmp_path.iterdir()} == {"UTKFace.tar.gz", "out"}
    for options, message in (
        (["dataset=utkface"], "error: source is not set; give source=..."),
        (["dataset=utkface", "source=missing.zip"], "error: source 'missing.zip' does not exist"),
    ):
        done = run(script, *options, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(message)
        assert "Traceback" not in done.stderr
