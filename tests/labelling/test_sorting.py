"""process.py sort_into=...: each file once, none lost, nothing overwritten."""

import json
import os
import re
from types import SimpleNamespace

import pytest
from conftest import RED, read_records, save_picture

from gender_recognizer.labelling import sorting as sorting_module
from gender_recognizer.labelling.inputs import Inputs
from gender_recognizer.labelling.places import Places
from gender_recognizer.labelling.records import Record
from gender_recognizer.labelling.sorting import WAYS, Sorting, place_of
from gender_recognizer.pictures.listing import File

LABELS = {"a.jpg": "female", "b.jpg": "male", "sub/a.jpg": "female", "sub/=c.jpg": "male"}


def make_files(folder, names=LABELS):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


def groups(labels=LABELS):
    return [[Record(name, "labelled", label, 0.9)] for name, label in sorted(labels.items())]


def sort(source, target, way="copy", labels=LABELS):
    """Sort as a run of process.py does, and return what it did."""
    inputs = Inputs([str(source)])
    sorting = Sorting(target, way, inputs, Places(inputs, source / "no.jsonl", target))
    sorting.sort(groups(labels))
    return sorting


def tree(folder):
    """Return the content of each file below a folder, by its path; hidden ones are left out."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    names = [path.relative_to(folder).as_posix() for path in files]
    return {name: path.read_text() for name, path in zip(names, files, strict=True) if not name.startswith(".")}


def expected(labels=LABELS):
    return {f"{label}/{name}": f"content of {name}" for name, label in labels.items()}


@pytest.mark.parametrize("way", WAYS)
def test_each_file_gets_one_place_and_a_second_run_does_nothing(tmp_path, way):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    first = sort(source, target, way)
    assert tree(target) == expected()
    assert all((target / name).is_symlink() == (way == "link") for name in expected())
    assert (first.done, first.counts, first.left) == (4, {"female": 2, "male": 2}, [])
    assert tree(source) == ({} if way == "move" else {name: f"content of {name}" for name in LABELS})
    again = sort(source, target, way)
    assert (again.done, again.counts, again.left) == (0, {"female": 2, "male": 2}, [])
    assert tree(target) == expected()


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_any_step_and_run_again_each_file_is_there_once(tmp_path, monkeypatch, way):
    """Every call that changes the disk is once the last one before the kill, and once the first that is missing."""
    step = 0
    while True:
        source, target = make_files(tmp_path / f"{step}/in"), tmp_path / f"{step}/sorted"
        with monkeypatch.context() as patch:
            calls = stop_after(patch, step)
            try:
                sort(source, target, way)
                finished = True
            except Killed:
                finished = False
        contents = {*tree(source).values(), *tree(target).values()}
        assert contents == {f"content of {name}" for name in LABELS}, f"lost after {calls}"
        sort(source, target, way)
        assert tree(target) == expected()
        assert tree(source) == ({} if way == "move" else {name: f"content of {name}" for name in LABELS})
        assert [path.name for path in (target / ".gender_recognizer").iterdir()] == ["sorted.jsonl"]
        if finished:
            assert step > 5
            return
        step += 1


class Killed(BaseException):
    """Ends a run wherever it is, as SIGKILL does: nothing catches it."""


def stop_after(patch, steps):
    """Let a number of calls that change the disk pass, then raise; returns the names of those that passed."""
    passed = []
    for module, name in (
        (os, "replace"),
        (os, "unlink"),
        (os, "symlink"),
        (os, "fsync"),
        (sorting_module.shutil, "copy2"),
    ):
        real = getattr(module, name)

        def call(*arguments, real=real, name=name, **options):
            if len(passed) == steps:
                if name == "copy2":
                    arguments[1].write_text("half of")
                raise Killed
            passed.append(name)
            return real(*arguments, **options)

        patch.setattr(module, name, call)
    return passed


@pytest.mark.parametrize("way", WAYS)
def test_a_different_file_is_never_overwritten(tmp_path, way):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    make_files(target, ["female/a.jpg", "male"])
    sorting = sort(source, target, way)
    assert (target / "female/a.jpg").read_text() == "content of female/a.jpg"
    assert (target / "male").read_text() == "content of male"
    assert {name for name, _ in sorting.left} == {"a.jpg", "b.jpg", "sub/=c.jpg"}
    assert tree(source).keys() >= {"a.jpg", "b.jpg", "sub/=c.jpg"}
    assert any("is another file" in line for line in sorting.lines())


@pytest.mark.parametrize("way", WAYS)
def test_a_new_label_takes_the_file_to_the_new_folder(tmp_path, way):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    sort(source, target, way)
    changed = LABELS | {"a.jpg": "male"}
    assert sort(source, target, way, changed).done == 1
    assert tree(target) == expected(changed)


def test_a_copy_that_its_owner_has_changed_is_kept(tmp_path):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    sort(source, target)
    (target / "female/a.jpg").write_text("retouched")
    sort(source, target, labels=LABELS | {"a.jpg": "male"})
    assert (target / "female/a.jpg").read_text() == "retouched"
    assert (target / "male/a.jpg").read_text() == "content of a.jpg"


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_leads_back_to_the_pictures_takes_none_away(tmp_path, way):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    target.mkdir()
    (target / "female").symlink_to(source)
    sort(source, target, way)
    assert tree(source).items() >= {"a.jpg": "content of a.jpg", "sub/a.jpg": "content of sub/a.jpg"}.items()


@pytest.mark.parametrize(("first", "second"), [("copy", "move"), ("link", "move"), ("link", "copy"), ("copy", "link")])
def test_another_way_may_follow(tmp_path, first, second):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    sort(source, target, first)
    sort(source, target, second)
    assert tree(target) == expected()
    assert tree(source) == ({} if second == "move" else {name: f"content of {name}" for name in LABELS})
    assert not any((target / name).is_symlink() for name in expected())


def test_links_among_the_pictures_are_moved_as_files(tmp_path):
    source, target = make_files(tmp_path / "in", ["b.jpg"]), tmp_path / "sorted"
    (source / "a.jpg").symlink_to("b.jpg")
    sort(source, target, "move", {"a.jpg": "male", "b.jpg": "female"})
    assert tree(target) == {"male/a.jpg": "content of b.jpg", "female/b.jpg": "content of b.jpg"}
    assert tree(source) == {}


def test_moving_to_another_disk_copies_first(tmp_path, monkeypatch):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    real = os.replace

    def replace(old, new):
        if str(old).startswith(str(source)):
            raise OSError(18, "Invalid cross-device link")
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    sort(source, target, "move")
    assert tree(target) == expected()
    assert tree(source) == {}


def test_a_list_that_names_a_file_twice_loses_it_not(tmp_path, monkeypatch):
    monkeypatch.chdir(make_files(tmp_path / "in"))
    (tmp_path / "list.txt").write_text("a.jpg\n./a.jpg\nsub/../b.jpg\n")
    inputs, target = Inputs([str(tmp_path / "list.txt")]), tmp_path / "sorted"
    records = dict.fromkeys(("a.jpg", "./a.jpg", "sub/../b.jpg"), "female")
    Sorting(target, "move", inputs, Places(inputs, tmp_path / "no", target)).sort(groups(records))
    assert tree(target) == {"female/a.jpg": "content of a.jpg", "female/b.jpg": "content of b.jpg"}


def test_what_was_sorted_into_the_folder_of_the_pictures_is_not_found_again(tmp_path):
    source = make_files(tmp_path / "in")
    sort(source, source)
    inputs = Inputs([str(source)])
    for sort_into in (source, None):
        places = Places(inputs, tmp_path / "no.jsonl", sort_into)
        assert [file.name for file in places.restore(inputs)] == sorted(LABELS)


@pytest.mark.parametrize("way", WAYS)
def test_the_folder_of_sorted_files_can_be_labelled_like_any_other(tmp_path, way):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    sort(source, target, way)
    inputs = Inputs([str(target)])
    found = [file.name for file in Places(inputs, tmp_path / "no.jsonl", None).restore(inputs)]
    assert found == sorted(expected())


def test_a_copy_whose_original_is_gone_is_labelled(tmp_path):
    source = make_files(tmp_path / "in")
    sort(source, source)
    (source / "a.jpg").unlink()
    inputs = Inputs([str(source)])
    found = {file.name for file in Places(inputs, tmp_path / "no.jsonl", source).restore(inputs)}
    assert found == {*LABELS, "female/a.jpg"} - {"a.jpg"}


def test_copies_of_a_part_of_the_pictures_are_not_found_with_the_whole(tmp_path):
    whole = tmp_path / "in"
    sort(make_files(whole / "part"), whole / "sorted")
    inputs = Inputs([str(whole)])
    found = {file.name for file in Places(inputs, tmp_path / "no.jsonl", whole / "sorted").restore(inputs)}
    assert found == {f"part/{name}" for name in LABELS}


def test_moved_files_keep_their_names(tmp_path):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    sort(source, target, "move")
    make_files(source, ["new.jpg"])
    inputs = Inputs([str(source)])
    found = list(Places(inputs, tmp_path / "no.jsonl", target).restore(inputs))
    assert sorted(file.name for file in found) == sorted([*LABELS, "new.jpg"])
    assert File("b.jpg", str(target / "male/b.jpg")) in found


def test_journals_of_others_lead_nowhere_outside(tmp_path):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    sort(source, target)
    journal = target / ".gender_recognizer/sorted.jsonl"
    entry = json.loads(journal.read_text().splitlines()[0])
    bad = [entry | {"place": "../../x.jpg"}, entry | {"place": "/x.jpg"}, {"x": 1}, [], entry | {"place": 3}]
    journal.write_text("".join(json.dumps(line) + "\n" for line in bad) + '{"input": "cut o')
    assert sort(source, target).counts == {"female": 2, "male": 2}
    assert tree(target) == expected()


@pytest.mark.parametrize(
    ("statuses", "place"),
    [
        (["female"], "female"),
        (["unsure"], "unsure"),
        (["no_face"], "no_face"),
        (["failed"], "failed"),
        (["female", "female"], "female"),
        (["female", "male", "unsure"], "mixed"),
        (["female", "unsure"], "unsure"),
        (["too_small", "male"], "male"),
    ],
)
def test_a_photograph_goes_where_all_its_faces_belong(statuses, place):
    records = [
        Record(f"a.jpg#{face}", "labelled" if status in ("female", "male") else status, status, 0.9, face=face)
        for face, status in enumerate(statuses)
    ]
    assert place_of(records) == place


def test_only_one_run_sorts_into_a_folder(tmp_path):
    source, target = make_files(tmp_path / "in"), tmp_path / "sorted"
    inputs = Inputs([str(source)])
    sorting = Sorting(target, "copy", inputs, Places(inputs, tmp_path / "no", target))

    def meanwhile():
        with pytest.raises(ValueError, match="is in use by another run"):
            sort(source, target)
        return iter(())

    sorting.sort(record for _ in range(1) for record in meanwhile())


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of four pictures and one that cannot be read."""
    for index in range(4):
        save_picture(tmp_path / f"in/{index}.png", RED, index)
    (tmp_path / "in/bad.png").write_text("no picture")
    return tmp_path / "in"


def label(command, pictures, *options):
    output = f"output_path={pictures.parent}/out/"
    return command("label", pictures, output, "num_workers=1", *options)


def names_in(results):
    return sorted(record["file"] for record in read_records(results / "process_results.jsonl"))


def test_after_moving_a_run_keeps_the_records(pictures, command):
    target, everything = pictures.parent / "sorted", ["0.png", "1.png", "2.png", "3.png", "bad.png"]
    done = label(command, pictures, f"sort_into={target}", "sort_by=move")
    assert done.returncode == 3
    assert "5 moved, 0 were there already" in done.stderr
    results = json.loads((pictures.parent / "out/process_results.json").read_text())
    assert [*pictures.iterdir()] == []
    for options in ([f"sort_into={target}", "sort_by=move"], [], ["resume=false"]):
        done = label(command, pictures, *options)
        assert done.returncode == 3, done.stderr
        assert names_in(pictures.parent / "out") == everything
        assert json.loads((pictures.parent / "out/process_results.json").read_text()) == results
    assert sorted(path.name for path in target.rglob("*.png")) == everything


def test_a_stopped_run_goes_on_with_sorting(pictures, command, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Sorting, "sort", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        done = label(command, pictures, f"sort_into={pictures.parent}/sorted", "formats=[json]")
    assert done.returncode == 130
    done = label(command, pictures, f"sort_into={pictures.parent}/sorted", "formats=[json]")
    assert "continuing after 5 files" in done.stderr
    assert "5 copied" in done.stderr
    assert not (pictures.parent / "out/process_results.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["sort_by=shuffle", "sort_into=x"], "sort_by is shuffle; expected copy, link or move"),
        (["sort_by=move"], "sort_by=move needs sort_into=folder"),
        (["sort_into={file}"], "sort_into '.*' is a file; give a folder"),
        (["annotate={file}"], "annotate '.*' is a file; give a folder"),
        (["annotate={folder}/drawn"], "annotate '.*' lies in input_dir '.*'; give a folder outside of it"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_the_work(pictures, command, options, message):
    values = SimpleNamespace(file=pictures / "0.png", folder=pictures)
    done = label(command, pictures, *[option.format(**vars(values)) for option in options])
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert not (pictures.parent / "out").exists()


def test_addresses_cannot_be_sorted(command):
    done = command("label", "s3://bucket/folder", "engine=ray", "sort_into=x")
    assert (done.returncode, "sort_into works with files of this machine" in done.stderr) == (2, True)


def test_a_class_with_the_name_of_another_folder_is_refused():
    with pytest.raises(ValueError, match="a class has that name"):
        sorting_module.refuse_class_names(["female", "unsure"])
