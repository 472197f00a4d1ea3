"""Any name that a shell can pass arrives unchanged behind Hydra's grammar and OmegaConf's interpolation."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gender_recognizer.arguments import option_types, read_arguments


@dataclass
class Data:
    root: Path = Path("data")
    classes: list[str] = field(default_factory=lambda: ["female", "male"])
    batch_size: int = 64


@dataclass
class Settings:
    input_dir: list[Path] = field(default_factory=list)
    output_path: Path | None = None
    device: str = "auto"
    teachers: list[Path] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)
    data: Data = field(default_factory=Data)


NAMES = [
    "photos (1)", "Smith, John", "a=b", "Привет", "it's", 'say "hi"', "[x]", "{y}", "#1", "${oc.env:HOME}", "\\${a}",
    "a\\", "a\\'b", " space ", "tab\there", "line\nbreak", "null", "true", "1e5", "007", "a:b", "a~b", "*?", "$HOME",
    "%", "😀", "choice(1,2)", "\udcff", "-x", "a,b", "'half", "???",
]  # fmt: skip


def values(arguments, inputs=None):
    """Return what the options become for those who read the settings."""
    parser = OverridesParser.create()
    read = read_arguments(arguments, Settings, inputs)
    parsed = [parser.parse_override(override) for override in read.overrides]
    return {
        override.get_key_element(): OmegaConf.to_container(
            OmegaConf.create({"x": plain(override.value())}), resolve=True
        )["x"]
        for override in parsed
    }


def plain(value):
    return [plain(item) for item in value] if isinstance(value, list) else value if value is None else str(value)


def random_names(count):
    letters = random.Random(0)
    for _ in range(count):
        name = "".join(letters.choice("a '\"\\${}[](),=#~Ж:|\n") for _ in range(letters.randint(1, 9)))
        if name[0] not in "'\"~" and name != "null":
            yield name


@pytest.mark.parametrize("name", [*NAMES, *random_names(200)])
def test_every_name_arrives_unchanged(name):
    quoted = f'"{name}"' if '"' not in name else f"'{name}'"
    if name not in ("null", "???"):
        assert values([f"data.root={name}", f"output_path={name}"]) == {"data.root": name, "output_path": name}
    if not ({"'", '"'} <= set(name)):
        assert values([f"data.classes=[{quoted},b]"]) == {"data.classes": [name, "b"]}
    if not name.startswith("-") and name != "a=b":  # which could be a mistyped option, as long as there is no such file
        assert values([name, "other"], "input_dir") == {"input_dir": [name, "other"]}


@pytest.mark.parametrize(
    ("typed", "items"),
    [
        ("[a,b]", ["a", "b"]),
        ("[0,1]", ["0", "1"]),
        ("[true,01,null]", ["true", "01", "null"]),
        ("[ a , 'b, c' ]", ["a", "b, c"]),
        ("female", ["female"]),
        ("[]", []),
        ("[photos (1),x=y]", ["photos (1)", "x=y"]),
    ],
)
def test_lists_are_lists_of_text(typed, items):
    assert values([f"data.classes={typed}"]) == {"data.classes": items}
    assert values([f"teachers={typed}"]) == {"teachers": items}


def test_a_tilde_is_the_home_folder_in_paths_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert values(["data.root=~/a", "device=~a", "data.classes=[~x]"]) == {
        "data.root": "/home/anna/a",
        "device": "~a",
        "data.classes": ["~x"],
    }
    assert values(["~/in"], "input_dir") == {"input_dir": ["/home/anna/in"]}


def test_other_options_keep_the_grammar_of_hydra():
    typed = [
        "model=smallcnn",
        "model.widths=[8,8]",
        "+model.x=1",
        "data.batch_size=8",
        "~data.root",
        "hydra.verbose=true",
    ]
    assert read_arguments(typed, Settings).overrides == typed
    assert read_arguments(["output_path=null"], Settings).overrides == ["output_path=null"]


def test_commas_separate_the_values_of_a_sweep():
    read = read_arguments(
        ["-m", "data.root=a,b", "device=choice(cpu,cuda)", "output_path=x (1)", "data.classes=[a,b]"], Settings
    )
    assert read.flags == ["-m"]
    assert read.overrides == [
        "data.root=a,b",
        "device=choice(cpu,cuda)",
        "output_path='x (1)'",
        "data.classes=['a','b']",
    ]


def test_flags_of_hydra_keep_their_values():
    assert read_arguments(["--cfg", "job", "-sc=install=bash"], Settings).flags == ["--cfg", "job", "-sc=install=bash"]


def test_several_inputs_by_name_and_by_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert values(["input_dir=[a,b]", "c"], "input_dir") == {"input_dir": ["a", "b", "c"]}
    (tmp_path / "[a,b]").mkdir()
    (tmp_path / "devise=1").mkdir()
    assert values(["input_dir=[a,b]"], "input_dir") == {"input_dir": ["[a,b]"]}
    assert values(["devise=1"], "input_dir") == {"input_dir": ["devise=1"]}


@pytest.mark.parametrize(
    ("argument", "inputs", "message"),
    [
        ("--nope", None, "unknown option '--nope'"),
        ("folder", None, "'folder' is not an option; expected option=value"),
        ("outptu_path=x", "input_dir", "'outptu_path=x' is not an option or a file; did you mean output_path=?"),
        ("nope=1", None, "'nope=1' is not an option; --help lists"),
    ],
)
def test_what_is_not_understood_is_named(argument, inputs, message):
    with pytest.raises(ValueError, match=f"^{message.replace('?', '[?]')}"):
        read_arguments([argument], Settings, inputs)


def test_options_of_groups_are_known_by_their_whole_names():
    assert dict(option_types(Settings))["data.root"] is Path
    assert dict(option_types(Settings))["output_path"] is Path
