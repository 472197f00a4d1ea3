import subprocess
import sys

import pytest

from gender_recognizer.models.classes import check_classes


def test_names_and_numbers_become_names():
    assert check_classes(["female", "male"]) == ["female", "male"]
    assert check_classes((0, 1, 2.5)) == ["0", "1", "2.5"]
    assert check_classes(["Женщины", "a b, (c)", "女"]) == ["Женщины", "a b, (c)", "女"]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("female", r"is 'female'; expected a list of names such as \[female,male\]"),
        (None, "is None; expected a list of names"),
        (7, "is 7; expected a list"),
        ({"female": 0, "male": 1}, "is .*; expected a list of names"),
        ([], r"is \[\]; expected two or more names"),
        (["female"], r"is \['female'\]; expected two or more"),
        (["a", "b", "a"], "has 'a' twice; expected different names"),
        ([1, "1"], "has '1' twice"),
        (["a", ""], "has ''; expected 1 to 100 characters"),
        (["a", "  "], "has '  '; expected 1 to 100"),
        (["a", "b "], "has 'b '; expected 1 to 100 characters without spaces at the ends"),
        (["a", "x" * 101], "has 'xx.*; expected 1 to 100"),
        (["a", "b\nc"], r"has 'b\\nc'; a class is named as its folder"),
        (["a", "\x1b[31mred"], r"has '\\x1b\[31mred'; a class"),
        (["a", "\u202eelam"], r"has '\\u202eelam'; a class"),
        (["a", "\ud800"], r"has '\\ud800'; a class"),
        (["a", ".."], r"has '\.\.'; a class"),
        (["a", "b/c"], "has 'b/c'; a class"),
        (["a", "b\\c"], "has .*; a class is named as its folder"),
        (["a", None], "has None, which is not a name; put names in quotes"),
        (["a", True], "has True, which is not a name"),
        (["a", ["b"]], r"has \['b'\], which is not a name"),
    ],
)
def test_other_lists_are_refused_in_one_line(classes, message):
    with pytest.raises(ValueError, match=f"^data.classes {message}") as raised:
        check_classes(classes, "data.classes")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 250


def test_the_module_needs_nothing_but_the_standard_library():
    code = "import sys; import gender_recognizer.models.classes; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in loaded for name in ("numpy", "torch", "omegaconf", "PIL"))
