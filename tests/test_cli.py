"""What all commands have in common: options, mistakes, help, and streams that cannot take everything."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, RED, read_records, save_picture

import gender_recognizer
from gender_recognizer import cli
from gender_recognizer.arguments import option_types
from gender_recognizer.cli import COMMANDS, app, main, read_settings, settings_class

GIVEN = {"label": ["input_dir=x"], "export": ["output_dir=x"], "prepare": ["dataset=lfw", "source=x"]}
"""What must be given to the commands that cannot do without."""


def known(group):
    """Return the names that a group of options may have."""
    return ", ".join(sorted(path.stem for path in (PROJECT / "configs" / group).iterdir()))


HIDDEN = {"run_dir", "typed", "experiment"}
GROUPS = {"model", "trainer", "logger", "engine", "ray"}
"""Their options depend on what is chosen for the group."""


def show(value):
    """Return a value as the YAML would hold it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [show(item) for item in value]
    if isinstance(value, dict):
        return {key: show(item) for key, item in value.items()}
    return value


def flat(settings, prefix=""):
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from flat(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, show(value)


@pytest.mark.parametrize("name", COMMANDS)
def test_yaml_shows_every_option_and_its_default(name):
    """Of what depends on the project's place or on other options, the YAML says how."""
    given = GIVEN.get(name, [])
    composed = dict(flat(read_settings(name, given)))
    required = {part.partition("=")[0]: Path(part.partition("=")[2]) for part in given if name != "label"}
    defaults = dict(flat(settings_class(name)(**required)))
    shown = "\n".join(path.read_text() for path in (PROJECT / "configs").rglob("*.yaml"))
    for key, value in composed.items():
        last = key.rpartition(".")[2]
        assert re.search(rf"^\s*{last}:", shown, re.M) or key in HIDDEN, f"{key} is in no YAML"
        computed = re.search(rf"^\s*{last}:.*\$\{{", shown, re.M)
        if key not in HIDDEN and not computed and f"{key}=" not in "".join(given) and key.split(".")[0] not in GROUPS:
            assert value == defaults[key], key


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(name, capsys):
    assert main(name, ["--help"]) == 0
    text = capsys.readouterr().out
    for option, kind in option_types(settings_class(name)):
        if not dataclasses.is_dataclass(kind) and not option.startswith("data.augmentation.") and option not in HIDDEN:
            assert option.rpartition(".")[2] in text, option


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--nope"], "unknown option '--nope'"),
        (["no_such_option_at_all=1"], "no_such_option_at_all"),
        (["+no_such=1"], "no_such"),
    ],
)
def test_mistyped_options_end_in_one_line(name, typed, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(name, [*GIVEN.get(name, []), *typed]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("train", "data.batch_sise=3", "unknown option 'data.batch_sise'; did you mean data.batch_size?"),
        ("train", "seed=x", "seed is x; expected a whole number"),
        ("train", "seed=1.5", "seed is 1.5; expected a whole number"),
        ("train", "classifier.lr=fast", "classifier.lr is fast; expected a number"),
        ("train", "model=smalcnn", f"model is 'smalcnn'; there are {known('model')}"),
        ("train", "data.shuffle=perhaps", "data.shuffle is perhaps; expected true or false"),
        ("label", "resume=perhaps", "resume is perhaps; expected true or false"),
        ("label", "batch_size=many", "batch_size is many; expected a whole number"),
        ("label", "engine=rya", f"engine is 'rya'; there are {known('engine')}"),
        ("demo", "-m", "demo runs once; -m tries several values of options of train"),
        ("demo", "port=x", "port is x; expected a whole number"),
        ("evaluate", "num_draws=null", "num_draws is None; expected a value"),
    ],
)
def test_wrong_values_are_named(name, typed, message, capsys):
    assert main(name, [*GIVEN.get(name, []), typed]) == 2
    assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["export", "prepare"])
def test_what_must_be_given_is_named(name, capsys):
    assert main(name, []) == 2
    assert "is not set; give" in capsys.readouterr().err


def test_settings_are_read_before_anything_heavy_is_imported():
    code = (
        "import sys; from gender_recognizer.cli import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    assert main(name, ['--help']) == 0 and main(name, ['no_such=1']) == 2\n"
        "wrong = {'label': 'input_dir=x min_confidence=2', 'train': 'data.nope=1', 'evaluate': 'part=nope', "
        "'check': 'data.nope=1', 'export': 'model_path=x', 'prepare': 'dataset=nope source=x', "
        "'tune': 'tune.num_trials=x', 'demo': 'port=x'}\n"
        "assert wrong.keys() == COMMANDS.keys()\n"
        "for name, typed in wrong.items():\n"
        "    assert main(name, typed.split()) == 2, name\n"
        "print(sorted({'torch', 'lightning', 'onnxruntime', 'gradio', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_command_lists_the_commands(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gender-recognizer"])
    assert app() == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == list(COMMANDS)
    monkeypatch.setattr(sys, "argv", ["gender-recognizer", "lable", "x"])
    assert app() == 2
    assert "no command is called 'lable'; did you mean label?" in capsys.readouterr().err


def test_the_command_says_its_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gender-recognizer", "--version"])
    assert app() == 0
    assert capsys.readouterr().out == f"gender-recognizer {gender_recognizer.__version__}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gender-recognizer ", list(COMMANDS)),
        ("gender-recognizer t", ["train", "tune"]),
        ("gender-recognizer train model=small", ["model=smallcnn"]),
        ("gender-recognizer label target", ["target_accuracy="]),
        ("gender-recognizer  label target", []),
        ("gender-recognizer nothing target", []),
    ],
)
def test_shells_complete_commands_and_options(line, expected, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gender-recognizer", "-sc", "query=bash"])
    monkeypatch.setenv("COMP_LINE", line)
    assert app() == 0
    assert capsys.readouterr().out.split() == expected


def test_ctrl_c_during_an_import_that_makes_another_error_of_it_stops(monkeypatch):
    def stop(*_):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    def fail(*_):
        raise ImportError("initialization failed")

    before = signal.getsignal(signal.SIGINT)
    try:
        monkeypatch.setattr(cli, "_run", stop)
        assert main("label", ["input_dir=x"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ImportError):
        main("label", ["input_dir=x"])


STOPPED_TWICE = """
import signal, sys
from gender_recognizer import cli

def run(*_):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        print("stops", flush=True)
        signal.raise_signal(signal.SIGINT)
        print("goes on", flush=True)

cli._run = run
sys.exit(cli.main(sys.argv[1], ["data.root=x"]))
"""


@pytest.mark.parametrize("name", ["evaluate", "check", "label"])
def test_a_second_ctrl_c_ends_any_command_at_once(name):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_TWICE, name],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "stops\n", "")


def test_shells_learn_to_complete(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gender-recognizer", "-sc", "install=bash"])
    monkeypatch.delenv("COMP_LINE", raising=False)
    assert app() == 0
    assert capsys.readouterr().out.endswith("-F hydra_bash_completion gender-recognizer\n")


@pytest.mark.parametrize(("name", "script"), [(name, command.config) for name, command in COMMANDS.items()])
def test_shells_complete_the_options_of_scripts(name, script, monkeypatch, capsys):
    option = next(option_types(settings_class(name)))[0]
    monkeypatch.setattr(sys, "argv", [f"scripts/{script}.py"])
    monkeypatch.setenv("COMP_LINE", f"python scripts/{script}.py {option}")
    assert main(name, ["-sc", "query=bash"]) == 0
    assert {f"{option}=", f"{option}."} & set(capsys.readouterr().out.split())


def environment(**variables):
    return os.environ | {"PYTHONPATH": str(PROJECT / "src")} | variables


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "cp437", "latin-1"])
def test_labelling_ends_well_where_names_cannot_be_printed(tmp_path, encoding):
    for number, name in enumerate(("Привет.png", "日本.png", "\udcff.png", "é•.png")):
        save_picture(tmp_path / "in" / name, RED, number)
    (tmp_path / "in" / "Ж.png").write_bytes(b"")
    command = [sys.executable, PROJECT / "scripts" / "process.py", tmp_path / "in", f"output_path={tmp_path}/out.json"]
    done = subprocess.run(command, capture_output=True, env=environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0"))
    assert done.returncode == 3, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Logging error" not in done.stderr
    assert len(read_records(tmp_path / "out.jsonl")) == 5


def test_labelling_needs_no_standard_streams(tmp_path):
    save_picture(tmp_path / "in" / "a.png", RED, 0)
    script = f"'{sys.executable}' '{PROJECT}/scripts/process.py' in output_path=out.json faces=none"
    done = subprocess.run(["bash", "-c", f"{script} <&- >&- 2>&-"], cwd=tmp_path, env=environment())
    assert done.returncode == 0
    assert (tmp_path / "out.json").read_text().startswith('{\n  "a.png": ')
