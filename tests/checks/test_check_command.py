import json
import re
import shutil

import pytest
from planted import check, make_pictures, texture

from gender_recognizer.cli import main


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
