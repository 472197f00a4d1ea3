import csv
import json
import logging
import os
import re
import shutil

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image, ImageFilter

from gender_recognizer.checks import report
from gender_recognizer.checks.run import check_pictures
from gender_recognizer.checks.settings import CheckDataSettings, CheckSettings
from gender_recognizer.cli import main
from gender_recognizer.data import cache
from gender_recognizer.data.datamodule import FaceDataModule
from gender_recognizer.data.samples import read_exclude

FAIRFACE = PROJECT.parent / "shared" / "faces" / "fairface"
TINTS = {"female": (140, -20, -140), "male": (-140, 20, 140)}
WRONG = {"female/wrong_0.png", "female/wrong_1.png", "male/wrong_2.png", "male/wrong_3.png"}


def texture(seed, tint=(0, 0, 0), size=(80, 100)):
    """Return a picture with large shapes and fine grain, like no other one."""
    rng = np.random.default_rng(seed)
    shapes = Image.fromarray(rng.integers(50, 200, (10, 8, 1), dtype=np.uint8).repeat(3, axis=2)).resize(size)
    noise = rng.normal(0, 10, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(shapes) + noise + tint).clip(0, 255).astype(np.uint8))


def make_pictures(root, count):
    """Make `count` reddish pictures in female/ and bluish ones in male/."""
    for target, (name, tint) in enumerate(TINTS.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            texture(1000 * target + index, tint).save(root / name / f"{index:03}.png")
    return root


def plant(root):
    """Add to 25 good pictures of each class one of everything that can be wrong."""
    make_pictures(root, 25)
    female, male = root / "female", root / "male"
    shutil.copy(female / "000.png", female / "copy.png")
    shutil.copy(female / "001.png", male / "opposite.png")
    Image.open(female / "002.png").save(female / "pixels.bmp")
    Image.open(male / "003.png").save(male / "saved_again.jpg", quality=40)
    Image.open(male / "004.png").point(lambda value: 0.7 * value).save(female / "darker.jpg", quality=40)
    Image.new("RGB", (60, 70), (90, 80, 70)).save(male / "blank.png")
    texture(7001).point(lambda value: value / 8).save(male / "dark.png")
    texture(7002).filter(ImageFilter.GaussianBlur(4)).save(male / "blurred.png")
    texture(7003, size=(12, 40)).save(male / "tiny.png")
    (male / "broken.jpg").write_bytes(b"")
    for name in WRONG:
        number = int(name[-5])
        texture(8000 + number, TINTS["male" if name.startswith("female") else "female"]).save(root / name)
    rows = [f"{path.relative_to(root).as_posix()},{len(path.name) % 2}" for path in sorted(root.glob("*/0*.png"))]
    (root / "metadata.csv").write_text("\n".join(["file_name,even", "female/gone.png,1", *rows]))
    return root


def check(root, folder, output=None, classes=("female", "male"), **options):
    """Check a folder, with all that is left inside `folder`, and return what was found."""
    data = CheckDataSettings(root, list(classes), folder / "cache")
    return check_pictures(CheckSettings(data, outputs=folder, **options), output or folder / "check")


def files(entries):
    return [entry["file"] for entry in entries]


def state(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*")}


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checked")
    root = plant(folder / "data")
    before = state(root)
    summary = check(root, folder)
    assert state(root) == before
    return root, summary, folder / "check"


def test_exact_copies_are_found_those_with_different_labels_first(checked):
    groups = checked[1]["exact_copies"]
    assert [files(group["files"]) for group in groups] == [
        ["female/001.png", "male/opposite.png"],
        ["female/000.png", "female/copy.png"],
        ["female/002.png", "female/pixels.bmp"],
    ]
    assert [group["opposite_labels"] for group in groups] == [True, False, False]
    assert [group["same_bytes"] for group in groups] == [True, True, False]


def test_near_copies_are_found_those_with_different_labels_first(checked):
    groups = checked[1]["near_copies"]
    assert [files(group["files"]) for group in groups] == [
        ["female/darker.jpg", "male/004.png"],
        ["male/003.png", "male/saved_again.jpg"],
    ]
    assert [group["opposite_labels"] for group in groups] == [True, False]
    assert all(0.7 < group["correlation"] <= 1 for group in groups)


def test_pictures_that_show_hardly_anything_are_found_and_no_others(checked):
    summary = checked[1]
    for name in ("blank", "dark", "blurred", "tiny"):
        assert files(summary[name]) == [f"male/{name}.png"]
    assert (summary["tiny"][0]["width"], summary["tiny"][0]["height"]) == (12, 40)
    assert summary["unreadable"] == [{"file": "male/broken.jpg", "label": "male", "reason": "empty file"}]


def test_wrong_labels_are_the_most_suspicious_ones(checked):
    suspicious = checked[1]["suspicious_labels"]
    assert {*files(suspicious)[:8]} >= WRONG
    assert all(entry["suggested"] != entry["label"] for entry in suspicious[:4])


def test_counts_and_metadata(checked):
    summary = checked[1]
    assert summary["pictures"] == 64
    assert sum(summary["classes"].values()) == 64
    assert summary["metadata"]["rows_without_picture"] == ["female/gone.png"]
    assert "male/tiny.png" in summary["metadata"]["pictures_without_row"]
    assert summary["metadata"]["rows"] == 51


def active_lines(path):
    return {line for line in path.read_text().splitlines() if not line.startswith("# ")}


def test_exclude_txt_leaves_out_what_is_certain_and_proposes_the_rest(checked):
    _, _, folder = checked
    certain = {"male/broken.jpg", "male/blank.png", "female/001.png", "male/opposite.png", "female/copy.png"}
    assert active_lines(folder / "exclude.txt") == certain | {"female/pixels.bmp"}
    proposed = {line for line in (folder / "exclude.txt").read_text().splitlines() if line.startswith("# ")}
    doubtful = {"male/saved_again.jpg", "male/004.png", "female/darker.jpg", "male/dark.png", *WRONG}
    assert {f"# {name}" for name in doubtful} <= proposed
    assert "# male/003.png" not in proposed
    assert "# -- almost the same picture as male/003.png" in proposed


def test_the_page_holds_every_section_and_needs_nothing_else(checked):
    root, summary, folder = checked
    page = (folder / "check.html").read_text()
    for section in ("Balance", "Cannot be read", "Show hardly anything", "Equal pictures", "Almost equal pictures"):
        assert f">{section}</h2>" in page
    assert ">Suspicious labels</h2>" in page
    assert "Not looked for: copies across the parts of a split (split=outputs/RUN/split.csv does); copies in" in page
    assert set(re.findall(r'(?:src|href)="(.{5})', page)) <= {
        "data:",
        "#unre",
        "#look",
        "#exac",
        "#near",
        "#labe",
        "#face",
    }
    assert "<script" not in page
    assert "wrong labels that the network learnt by heart are missed" in page
    assert str(root) in page
    assert json.loads((folder / "check.json").read_text()) == summary


def test_the_page_shows_a_part_and_check_json_all(checked, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SHOWN", 1)
    summary = checked[1]
    report.write_check(summary, lambda name: np.zeros((100, 80, 3), np.uint8), None, tmp_path)
    page = (tmp_path / "check.html").read_text()
    assert "2 more groups are in check.json" in page
    assert page.count("<figure>") < 20
    assert len(json.loads((tmp_path / "check.json").read_text())["exact_copies"]) == 3


def test_of_clean_pictures_one_sentence_says_what_was_not_found(checked, tmp_path):
    nothing = ("unreadable", "tiny", "blank", "dark", "blurred", "exact_copies", "near_copies", "suspicious_labels")
    nothing += ("no_face", "several_faces", "small_face")
    summary = checked[1] | {name: [] for name in nothing}
    summary |= {"across_parts": {"note": None, "groups": [], "pictures_without_part": 0}}
    summary |= {"against": {"root": "/other", "pictures": 1234, "pairs": []}, "ignored_endings": {}}
    report.write_check(summary, lambda name: np.zeros((100, 80, 3), np.uint8), None, tmp_path)
    page = (tmp_path / "check.html").read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == ["Balance", "What is not there", "How this was found"]
    assert "Looked for and not found: files that cannot be read, tiny pictures, blank ones" in page
    assert "copies of the 1,234 pictures in /other, suspicious labels." in page
    assert "None.<" not in page
    assert "What to do" not in page


def test_a_pair_below_the_finer_limit_is_shown_with_the_limit_that_it_passed(checked, tmp_path):
    summary = checked[1]
    groups = [
        group | {"correlation": value} for group, value in zip(summary["near_copies"], (0.66, 0.91), strict=False)
    ]
    report.write_check(summary | {"near_copies": groups}, lambda name: np.zeros((100, 80, 3), np.uint8), None, tmp_path)
    page = (tmp_path / "check.html").read_text()
    assert "correlation 0.66, above 0.86 when coarser" in page
    assert re.search(r"more than 0.755 at 50x40 pixels or, where something moved, more than 0.86 at 20x16", page)
    assert not re.search(r"correlation 0.91,", page)


# Leaving pictures out of a training


def load(root, cache_dir, **options):
    data = FaceDataModule(root, cache_dir, **options)
    data.prepare_data()
    data.setup()
    return data


def used(data):
    return {path.relative_to(data.root).as_posix() for paths in data.files.values() for path in paths}


def test_excluded_pictures_are_not_trained_on_and_nothing_is_decoded_again(checked, tmp_path, monkeypatch, caplog):
    root, _, folder = checked
    everything = used(load(root, folder.parent / "cache"))
    monkeypatch.setattr(cache, "load_or_reason", lambda path: pytest.fail("decoded again"))
    certain = active_lines(folder / "exclude.txt")
    caplog.clear()
    data = load(root, folder.parent / "cache", exclude=folder / "exclude.txt")
    assert used(data) == everything - certain
    assert "cannot be read" not in caplog.text
    chosen = (folder / "exclude.txt").read_text().replace("# male/dark.png", "male/dark.png")
    (tmp_path / "exclude.txt").write_text(chosen)
    data = load(root, folder.parent / "cache", exclude=tmp_path / "exclude.txt")
    assert used(data) == everything - certain - {"male/dark.png"}
    data.save_split(tmp_path / "split.csv")
    with (tmp_path / "split.csv").open() as file:
        parts = {row["file_name"]: row["part"] for row in csv.DictReader(file)}
    assert {name for name, part in parts.items() if part == "excluded"} == certain | {"male/dark.png"}


def test_lines_that_name_no_picture_are_counted(checked, tmp_path, caplog):
    root, _, folder = checked
    (tmp_path / "exclude.txt").write_bytes(b"\xef\xbb\xbf./female/003.png\r\n\r\nfemale/gone.png\r\nmale\r\n")
    with caplog.at_level(logging.WARNING):
        data = load(root, folder.parent / "cache", exclude=tmp_path / "exclude.txt")
    assert "2 lines name a picture that is not in" in caplog.text
    assert "'female/gone.png'" in caplog.text
    assert "female/003.png" not in used(data)


def test_missing_exclude_file_and_excluding_a_whole_class_are_errors(checked, tmp_path):
    root, _, folder = checked
    with pytest.raises(ValueError, match=r"data.exclude '.*gone.txt' does not exist"):
        FaceDataModule(root, tmp_path, exclude=tmp_path / "gone.txt")
    names = [path.relative_to(root).as_posix() for path in (root / "male").iterdir()]
    (tmp_path / "exclude.txt").write_text("\n".join(names))
    with pytest.raises(ValueError, match=r"none of the pictures in '.*male' can be read and is not excluded"):
        load(root, folder.parent / "cache", exclude=tmp_path / "exclude.txt")


def test_names_that_look_like_comments_are_excluded_too(tmp_path):
    lines = report.exclude_lines(
        {"root": "/x", "date": "today", "near_copies": [], "tiny": [], "dark": [], "blurred": []}
        | {"suspicious_labels": []},
        {"# odd/1.jpg": "why\nso", "two\nlines.jpg": "why", "a/caf\udce9.jpg": "why"},
    )
    (tmp_path / "exclude.txt").write_text("\n".join(lines), errors="surrogateescape")
    assert read_exclude(tmp_path / "exclude.txt") == ["# odd/1.jpg", "a/caf\udce9.jpg"]


# Other folders and splits


def test_copies_across_parts_of_a_split_are_found(checked, tmp_path):
    root, _, folder = checked
    for split, found in (("random", True), ("grouped", False)):
        data = load(root, folder.parent / "cache", split=split, split_fractions=(0.5, 0.25, 0.25), split_seed=1)
        data.save_split(tmp_path / f"{split}.csv")
        summary = check(root, folder.parent, tmp_path / split, split=tmp_path / f"{split}.csv")
        groups = summary["across_parts"]["groups"]
        assert bool(groups) == found
        for group in groups:
            assert len({entry["part"] for entry in group["files"]}) > 1
            known = summary["exact_copies"] + summary["near_copies"]
            assert files(group["files"]) in [files(other["files"]) for other in known]
        assert summary["across_parts"]["pictures_without_part"] == 1  # the broken one
        assert ("These copies lie in different parts" in (tmp_path / split / "check.html").read_text()) == found


def test_copies_in_another_folder_are_found_whatever_its_folders_are_called(checked, tmp_path):
    root, _, folder = checked
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    shutil.copy(root / "male" / "007.png", other / "same.png")
    Image.open(root / "female" / "008.png").save(other / "deep" / "pixels.bmp")
    Image.open(root / "female" / "009.png").save(other / "deep" / "near.jpg", quality=40)
    texture(9000).save(other / "another.png")
    Image.new("RGB", (60, 70), (90, 80, 70)).save(other / "blank.png")
    (other / "broken.jpg").write_bytes(b"")
    shared = check(root, folder.parent, tmp_path / "check", against=other)["against"]
    assert shared["pictures"] == 6
    found = [(pair["file"], pair["other"], pair["same_bytes"], pair["same_pixels"]) for pair in shared["pairs"]]
    assert found == [
        ("male/007.png", "same.png", True, True),
        ("female/008.png", "deep/pixels.bmp", False, True),
        ("female/009.png", "deep/near.jpg", False, False),
    ]
    page = (tmp_path / "check" / "check.html").read_text()
    assert "3 pairs are copies" in page
    assert "deep/near.jpg" in page


# Odd folders


def test_one_class_without_metadata(tmp_path):
    root = make_pictures(tmp_path / "data", 3)
    summary = check(root, tmp_path, classes=["female"])
    assert summary["classes"] == {"female": 3}
    assert summary["suspicious_labels_skipped"] == "there is only one class, 'female'"
    page = (tmp_path / "check" / "check.html").read_text()
    assert "Not looked for: suspicious labels (there is only one class, &#39;female&#39;)" in page
    assert "There is no metadata.csv that can be used" in page


def test_three_pictures(tmp_path, capsys):
    root = make_pictures(tmp_path / "data", 1)
    texture(5).save(root / "male" / "second.png")
    summary = check(root, tmp_path)
    assert summary["suspicious_labels_skipped"] == "class 'female' has 1 different pictures and needs 10"
    assert main("check", [f"data.root={root}", f"outputs={tmp_path}", f"data.cache_dir={tmp_path}/cache"]) == 0
    assert "labels not checked (class 'female' has 1 different" in capsys.readouterr().out
    assert not summary["exact_copies"] + summary["near_copies"]
    assert active_lines(tmp_path / "check" / "exclude.txt") == set()


def test_nothing_can_be_read(tmp_path):
    root = make_pictures(tmp_path / "data", 1)
    for path in root.glob("*/*.png"):
        path.write_bytes(b"no picture")
    summary = check(root, tmp_path)
    assert len(summary["unreadable"]) == 2
    assert not summary["blank"] + summary["exact_copies"]


def test_three_classes_of_other_names(tmp_path):
    root = tmp_path / "data"
    tints = {"cat": (90, -60, -60), "dog": (-60, 90, -60), "a b": (-60, -60, 90)}  # seen by a network of faces
    for target, (name, tint) in enumerate(tints.items()):
        (root / name).mkdir(parents=True)
        for index in range(20):
            texture(100 * target + index, tint).save(root / name / f"{index}.png")
    (root / "cat" / "0.png").rename(root / "dog" / "moved.png")
    summary = check(root, tmp_path, classes=[*tints])
    assert summary["suspicious_labels"][0]["file"] == "dog/moved.png"
    assert summary["suspicious_labels"][0]["suggested"] == "cat"


def test_names_that_are_not_utf8(tmp_path):
    root = make_pictures(tmp_path / "data", 2)
    for number in range(2):
        shutil.copyfile(root / "male" / "001.png", os.fsencode(root / "female") + b"/caf\xe9%d.png" % number)
    check(root, tmp_path)
    (group,) = json.loads((tmp_path / "check" / "check.json").read_text())["exact_copies"]
    assert files(group["files"]) == ["female/caf\udce90.png", "female/caf\udce91.png", "male/001.png"]
    assert "caf\\udce90.png" in (tmp_path / "check" / "check.html").read_text()
    assert set(read_exclude(tmp_path / "check" / "exclude.txt")) == set(files(group["files"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.classes=[female,other]"], "no folder '{root}/other'"),
        (["data.classes=[]"], "data.classes is []; expected a name or more, such as"),
        (["data.classes=[female,male,female]"], "data.classes has 'female' twice"),
        (["data.classes=[a/b,c]"], "data.classes has 'a/b'"),
        (["data.root=gone"], "no folder 'gone/female'"),
        (["against={root}/gone"], "against '{root}/gone' is not a folder"),
        (["against={root}/female"], "one lies in the other"),
        (["against={empty}"], "no pictures in against '{empty}'"),
        (["split={root}/gone.csv"], "split '{root}/gone.csv' does not exist"),
        (["split={empty}/a.csv"], "it is not the split.csv of a training run"),
        (["split={empty}/b.csv"], "names no picture of '{root}'"),
        (["model_path={empty}/model.onnx"], "no model.ckpt beside it"),
        (["model_path={empty}/gone.ckpt"], "does not exist"),
    ],
)
def test_mistakes_are_said_in_a_line(tmp_path, capsys, options, message):
    root, empty = make_pictures(tmp_path / "data", 2), tmp_path / "empty"
    empty.mkdir()
    (empty / "a.csv").write_text("a,b\n1,2\n")
    (empty / "b.csv").write_text("part,file_name,root\ntrain,female/gone.png,/elsewhere\n")
    (empty / "model.onnx").write_bytes(b"")
    names = {"root": root, "empty": empty}
    common = [f"data.root={root}", f"output_dir={tmp_path}/check", f"data.cache_dir={tmp_path}/cache"]
    assert main("check", [*common, *(option.format(**names) for option in options)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message.format(**names) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "check").exists()


def test_the_command_as_a_user_types_it(tmp_path, capsys):
    root = make_pictures(tmp_path / "photos (1), mine", 2)
    (root / "female").rename(root / "0")
    (root / "male").rename(root / "1")
    arguments = [f"data.root={root}", "data.classes=[0,1]", f"outputs={tmp_path}/out", f"data.cache_dir={tmp_path}/c"]
    assert main("check", arguments) == 0
    (folder,) = (tmp_path / "out").glob("check_*")
    assert {path.name for path in folder.iterdir()} == {"check.html", "check.json", "exclude.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {root.name, "out", "c"}
    printed = capsys.readouterr().out
    assert printed.startswith("4 pictures: 0 unreadable, 0 tiny, 0 blank")
    assert printed.endswith(f"{folder}/check.html\n")


def test_what_others_wrote_and_what_a_person_chose_is_not_overwritten(tmp_path):
    root = make_pictures(tmp_path / "data", 2)
    shutil.copy(root / "female" / "000.png", root / "female" / "copy.png")
    mine = tmp_path / "check" / "exclude.txt"
    mine.parent.mkdir()
    mine.write_text("female/001.png\n")
    with pytest.raises(ValueError, match=r"exclude.txt' exists and was not written by this command"):
        check(root, tmp_path)
    assert mine.read_text() == "female/001.png\n"
    mine.unlink()
    check(root, tmp_path)
    check(root, tmp_path)  # its own result
    with mine.open("a") as file:
        file.write("male/000.png\n")
    with pytest.raises(ValueError, match=r"exclude.txt' was edited since it was written; give another output_dir"):
        check(root, tmp_path)
    assert mine.read_text().endswith("male/000.png\n")
    with pytest.raises(ValueError, match=r"output_dir '.*exclude.txt' is a file"):
        check(root, tmp_path, mine)


def test_a_table_of_another_program_is_said_and_the_check_goes_on(tmp_path, caplog):
    root = make_pictures(tmp_path / "data", 2)
    (root / "metadata.csv").write_bytes("id;город\r\n1;Москва\r\n".encode("cp1251"))
    summary = check(root, tmp_path)
    assert summary["metadata"]["rows"] == 0
    assert "metadata.csv" in caplog.text


def test_endings_that_are_not_listed_are_said_with_their_counts(tmp_path, capsys):
    root = make_pictures(tmp_path / "data", 2)
    for name in ("female/a.psd", "male/deep/b.PSD", "male/c.cr2", "male/Thumbs.db", "male/.hidden.psd"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    arguments = [f"data.root={root}", f"output_dir={tmp_path}/check", f"data.cache_dir={tmp_path}/cache"]
    assert main("check", arguments) == 0
    said = "ignored because their endings are not those of pictures: .psd (2), .cr2 (1)"
    assert said in capsys.readouterr().err
    assert said in (tmp_path / "check" / "check.html").read_text()
    assert json.loads((tmp_path / "check" / "check.json").read_text())["ignored_endings"] == {".psd": 2, ".cr2": 1}
    for path in (root / "male").glob("*.png"):
        path.unlink()
    assert main("check", arguments) == 2
    assert (
        "only files whose endings are not those of pictures: .cr2 (1), .psd (1); class 'male'"
        in capsys.readouterr().err
    )


def test_a_file_of_two_classes_is_an_error_that_names_both(tmp_path, capsys):
    root = make_pictures(tmp_path / "data", 2)
    (root / "female" / "more").symlink_to(root / "male")
    arguments = [f"data.root={root}", f"data.cache_dir={tmp_path}/cache", f"output_dir={tmp_path}/check"]
    for command in ("check", "evaluate"):
        assert main(command, arguments) == 2
        error = capsys.readouterr().err
        assert "'female'" in error
        assert "'male'" in error
        assert error.count("\n") == 1


HOSTILE = ["$x_{$", "<script>alert(1)<!--", "=cmd()", "_under", "日本", 'a"b']


def test_hostile_names_of_classes_files_and_groups_are_shown_as_text(tmp_path, capsys):
    root = tmp_path / "data"
    rows = ["file_name,$\\frac{$,<b>"]
    for number, name in enumerate(HOSTILE):
        (root / name).mkdir(parents=True)
        for index, odd in enumerate(("$\\frac{$", "<img src=x>", "two\nlines\x1b[31m\x07")):
            texture(10 * number + index).save(root / name / f"{odd}.png")
            rows.append('"' + f"{name}/{odd}.png".replace('"', '""') + f'",<i>{index}$\\frac{{$,_{index}\x07')
    shutil.copy(root / HOSTILE[1] / "two\nlines\x1b[31m\x07.png", root / "=cmd()" / "copy.png")
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    arguments = [f"data.root={root}", f"data.classes=[{','.join(HOSTILE)}]", f"output_dir={tmp_path}/check"]
    assert main("check", [*arguments, f"data.cache_dir={tmp_path}/cache"]) == 0
    printed = capsys.readouterr()
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", printed.out)
    page = (tmp_path / "check" / "check.html").read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    assert not re.search("<(script|img src=x|i>)", page)
    assert "two\\nlines\\x1b[31m\\x07.png" in page
    found = json.loads((tmp_path / "check" / "check.json").read_text())
    assert list(found["classes"]) == HOSTILE
    assert found["metadata"]["groups"].keys() == {"$\\frac{$", "<b>"}


@pytest.mark.skipif(not FAIRFACE.is_dir(), reason="../shared/faces/fairface is not there")
def test_flipped_labels_of_real_faces_are_found(tmp_path):
    flipped = set()
    for label, other in (("female", "male"), ("male", "female")):
        for number, path in enumerate(sorted((FAIRFACE / "val" / label).glob("*.jpg"))[:300]):
            folder = tmp_path / "data" / (other if number % 20 == 0 else label)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / f"{label}_{path.name}")
            if number % 20 == 0:
                flipped.add(f"{other}/{label}_{path.name}")
    summary = check(tmp_path / "data", tmp_path)
    assert len(flipped & {*files(summary["suspicious_labels"])[: 2 * len(flipped)]}) >= 0.6 * len(flipped)
