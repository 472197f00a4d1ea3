"""prepare_data.py dataset=corrections: what was corrected on the review page becomes a folder to train on."""

import csv
import io

import numpy as np
import pytest
from conftest import BLUE, RED, save_picture
from PIL import Image

from gender_recognizer.data.corrections import prepare_corrections
from gender_recognizer.data.samples import list_samples, read_metadata

COLUMNS = ("file", "label", "labelled", "probability", "face", "box", "folder", "classes")


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of pictures, beside one that is none of its business."""
    for index, name in enumerate(("a.png", "b.png", "sub/a.png", "=c.png", "Köln.png")):
        save_picture(tmp_path / "pictures" / name, RED, index, size=(60, 50))
    save_picture(tmp_path / "secret/private.png", BLUE, 9)
    return tmp_path / "pictures"


def write_table(pictures, rows, delimiter=",", encoding="utf-8-sig", columns=COLUMNS):
    """Write corrections.csv as the page, or a spreadsheet, does; rows are dictionaries."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", delimiter=delimiter, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({"labelled": "male", "folder": str(pictures), "classes": "female/male"} | row)
    path = pictures.parent / "corrections.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def rows_of(*names, label="female"):
    return [{"file": name, "label": label} for name in names]


def test_pictures_lie_in_the_folders_of_their_right_labels(pictures):
    table = write_table(pictures, [*rows_of("a.png", "sub/a.png"), *rows_of("b.png", label="male")])
    outcome = prepare_corrections(table, pictures.parent / "out")
    assert (outcome.counts, outcome.written, outcome.left_out) == ({"female": 2, "male": 1}, 3, {})
    samples = list_samples(pictures.parent / "out", ["female", "male"])
    assert [sample.target for sample in samples] == [0, 0, 1]
    assert {sample.path.read_bytes() for sample in samples} == {
        (pictures / name).read_bytes() for name in ("a.png", "b.png", "sub/a.png")
    }
    rows = read_metadata(pictures.parent / "out").values()
    assert {row["source"] for row in rows} == {str(pictures / name) for name in ("a.png", "b.png", "sub/a.png")}
    assert prepare_corrections(table, pictures.parent / "out").written == 0


def test_of_a_photograph_the_face_that_was_labelled_is_cut_out(pictures):
    image = Image.new("RGB", (400, 300), RED)
    image.paste(Image.new("RGB", (100, 100), BLUE), (200, 100))
    image.save(pictures / "party.png")
    faces = [
        {"file": "party.png", "label": "male", "face": "0", "box": "200 100 300 200"},
        {"file": "party.png", "label": "female", "face": "1", "box": "350 -50 450 50"},
        {"file": "a.png", "label": "female", "box": "-3 -3 60 50"},
    ]
    prepare_corrections(write_table(pictures, faces), pictures.parent / "out")
    (male,) = (pictures.parent / "out/male").iterdir()
    assert (np.asarray(Image.open(male)) == BLUE).all()
    sizes = sorted(Image.open(path).size for path in (pictures.parent / "out/female").iterdir())
    assert sizes == [(60, 50), (100, 100)]  # beyond the edge it is black, as in labelling


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_that_a_spreadsheet_has_saved_are_understood(pictures, delimiter, encoding):
    table = write_table(pictures, rows_of("'=c.png", "Köln.png", "sub\\a.png", " a.png"), delimiter, encoding)
    outcome = prepare_corrections(table, pictures.parent / "out")
    assert (outcome.written, outcome.left_out) == (4, {})


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("../secret/private.png", "it is outside of the folder"),
        ("sub/../../secret/private.png", "it is outside of the folder"),
        ("{secret}", "it is outside of the folder"),
        ("link.png", "it is a link out of the folder"),
        ("linked/private.png", "it is a link out of the folder"),
        ("gone.png", "it is not there"),
        ("sub", "it is not there"),
        ("", "it has no name"),
        ("notes.png", "not a picture in a supported format, or its header is broken"),
    ],
)
def test_only_pictures_below_the_folder_are_copied(pictures, file, reason):
    (pictures / "link.png").symlink_to("../secret/private.png")
    (pictures / "linked").symlink_to("../secret")
    (pictures / "notes.png").write_text("root:x:0:0")
    rows = rows_of("a.png", file.format(secret=pictures.parent / "secret/private.png"))
    outcome = prepare_corrections(write_table(pictures, rows), pictures.parent / "out")
    assert [*outcome.left_out] == [reason]
    assert len(list((pictures.parent / "out").rglob("*.png"))) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"label": ""}, "it has no label"),
        ({"label": "femal"}, "its label is none of female, male"),
        ({"label": "../x", "classes": ""}, "label has '../x'; a class is named as its folder"),
        ({"label": "male", "box": "1 2 3"}, "its box is not four whole numbers"),
        ({"label": "male", "box": "10 10 5 20"}, "its box is empty"),
        ({"label": "male", "box": "100 100 200 200"}, "its box is outside of its 60x50 pixels"),
        ({"label": "male", "box": "-999999 -999999 999999 20"}, "its box is outside of its 60x50 pixels"),
    ],
)
def test_rows_that_say_nothing_are_left_out_and_counted(pictures, row, reason):
    rows = [*rows_of("a.png"), {"file": "b.png"} | row]
    outcome = prepare_corrections(write_table(pictures, rows), pictures.parent / "out")
    (why,) = outcome.left_out
    assert why.startswith(reason)
    assert outcome.counts == {"female": 1}


def test_a_later_judgement_replaces_an_earlier_one(pictures):
    output = pictures.parent / "out"
    prepare_corrections(write_table(pictures, rows_of("a.png", "b.png")), output)
    outcome = prepare_corrections(write_table(pictures, rows_of("a.png", label="male")), output)
    assert outcome.counts == {"female": 1, "male": 1}
    assert len(list(output.rglob("*.png"))) == 2
    outcome = prepare_corrections(write_table(pictures, [*rows_of("a.png"), *rows_of("a.png", label="male")]), output)
    assert outcome.counts == {"female": 1, "male": 1}
    assert len(list(output.rglob("*.png"))) == 2


def test_hostile_names_get_harmless_ones(pictures):
    name = "<b>\n;$(x)\u202e" + "y" * 150 + ".png"
    save_picture(pictures / name, RED, 5)
    prepare_corrections(write_table(pictures, rows_of(name)), pictures.parent / "out")
    (path,) = (pictures.parent / "out/female").iterdir()
    assert path.name.isascii()
    assert len(path.name) < 100


def test_names_that_are_no_utf_8_are_found(pictures):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    save_picture(pictures / "x.png", RED, 5).rename(pictures / name)
    outcome = prepare_corrections(write_table(pictures, rows_of("caf\\udce9.png")), pictures.parent / "out")
    assert (outcome.written, outcome.left_out) == (1, {})


def test_pictures_that_have_moved_are_found_where_the_option_says(pictures):
    table = write_table(pictures, rows_of("a.png"))
    pictures.rename(pictures.parent / "moved")
    with pytest.raises(ValueError, match=r"the folder '.*' that '.*' names is not there; set pictures=folder"):
        prepare_corrections(table, pictures.parent / "out")
    assert prepare_corrections(table, pictures.parent / "out", pictures.parent / "moved").written == 1


def test_other_tables_and_folders_are_refused(pictures):
    output = pictures.parent / "out"
    with pytest.raises(ValueError, match=r"does not exist; expected the corrections\.csv of a review page"):
        prepare_corrections(pictures / "no.csv", output)
    with pytest.raises(ValueError, match="has no column 'label'; its columns are file"):
        prepare_corrections(write_table(pictures, [], columns=["file"]), output)
    with pytest.raises(ValueError, match="names no picture to train on"):
        prepare_corrections(write_table(pictures, []), output)
    no_folder = write_table(pictures, rows_of("a.png"), columns=["file", "label"])
    with pytest.raises(ValueError, match="does not say in its column folder where its pictures are"):
        prepare_corrections(no_folder, output)
    with pytest.raises(ValueError, match="holds files that were not prepared here"):
        prepare_corrections(write_table(pictures, rows_of("a.png")), pictures)


def test_the_command_says_what_it_left_out_and_how_to_train(pictures, command):
    table = write_table(pictures, rows_of("a.png", "gone.png") + rows_of("b.png", label="male"))
    output = pictures.parent / "my data"
    done = command("prepare", "dataset=corrections", f"source={table}", f"output_dir={output}")
    assert done.returncode == 0, done.stderr
    assert "left out, it is not there: 1 ('gone.png')" in done.stderr
    assert f"1 female, 1 male (2 of them new), 1 left out: {output}" in done.stdout
    train = f"python scripts/train.py init_from=bundled 'data.root={output}' data.batch_size=16 trainer.max_epochs=50"
    assert train in done.stdout


@pytest.mark.parametrize("option", ["dataset=corrections part=val", "dataset=lfw pictures=x"])
def test_options_of_another_kind_are_refused(option, command):
    done = command("prepare", *option.split(), "source=x")
    assert (done.returncode, "is not an option of dataset=" in done.stderr) == (2, True)
