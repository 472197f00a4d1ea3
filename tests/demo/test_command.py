"""The command: its settings, its address, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import replace

import pytest
from conftest import PROJECT
from serving import SETTINGS, Client, wait_until

from gender_recognizer import cli
from gender_recognizer.demo.run import run
from gender_recognizer.demo.server import listen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["port=65536"], "port is 65536; expected a number from 0 to 65535"),
        (["port=x"], "port is x; expected a whole number"),
        (["port=-1"], "port is -1"),
        (["max_files=0"], "max_files is 0; expected a number from 1 on"),
        (["max_file_mb=0"], "max_file_mb is 0.0; expected a number above 0"),
        (["max_file_mb=nan"], "max_file_mb is nan"),
        (["max_visitor_mb=1"], "max_visitor_mb is 1.0; expected at least max_file_mb, which is 20"),
        (["max_total_mb=30"], "max_total_mb is 30.0; expected at least max_visitor_mb, which is 1000"),
        (["max_total_mb=nan"], "max_total_mb is nan"),
        (["min_confidence=2"], "min_confidence is 2.0; expected a number from 0 to 1"),
        (["min_confidence=nan"], "min_confidence is nan"),
        (["model_path=none.onnx"], "does not exist"),
        (["host=192.0.2.1"], "cannot listen at host=192.0.2.1 port=7860: Cannot assign requested address"),
        (["host=no such host"], "cannot listen at host=no such host port=7860"),
        (["prot=1"], "prot"),
    ],
)
def test_wrong_options_are_named_in_one_line(capsys, options, message):
    assert cli.main("demo", options) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("gender_recognizer.demo.run.find_spec", lambda name: None)
    message = r"^the page needs the extra demo: (uv )?pip install -e '\.\[demo\]'$"
    with pytest.raises(ValueError, match=message):
        run(SETTINGS)


def test_a_port_in_use_is_named():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={port}: Address already in use; try another port"):
            run(replace(SETTINGS, port=port))


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such signals")

SLOW = """
import sys, time
from gender_recognizer.cli import main
from gender_recognizer.demo import page
def show(*choices):
    print("labelling", file=sys.stderr, flush=True)
    time.sleep(60)
page.show_labels = show
sys.exit(main("demo", ["port=0"]))
"""


@pytest.fixture
def labelling_page(tmp_path):
    """Start a page whose labels take a minute; returns its process and its address."""
    variables = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(PROJECT / "src")}
    server = subprocess.Popen(
        [sys.executable, "-c", SLOW], cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True
    )
    yield server, re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline()).group()
    server.kill()
    server.communicate()


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_the_page_and_leaves_nothing(tmp_path, monkeypatch, capsys, number):
    """In this process, which a thread sends the signal as soon as the page answers."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    before = signal.getsignal(getattr(signal, number))
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    seen = []

    def visit():
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(address))
        seen.append(len(list(tmp_path.iterdir())))
        os.kill(os.getpid(), getattr(signal, number))

    threading.Thread(target=visit, daemon=True).start()
    assert run(replace(SETTINGS, port=port)) == 0
    assert seen == [1]
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == f"the page is at http://127.0.0.1:{port} (Ctrl-C stops it)\nstopped\n"
    assert signal.getsignal(getattr(signal, number)) == before


def answers(address):
    try:
        return "gradio" in urllib.request.urlopen(address, timeout=30).read().decode()
    except OSError:
        return False


def test_a_second_signal_ends_the_page_at_once_while_it_labels(labelling_page, tmp_path):
    server, address = labelling_page
    client = Client(address)
    sample = next(event for event, count in client.events() if count == 0)
    client.fire(sample, [], "tab")
    client.join(client.events()[1][0], ["Bundled", "", "The main face of each", 0, False], "tab")
    assert server.stderr.readline() == "labelling\n"
    assert list(tmp_path.rglob("*.jpg"))
    server.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    began = time.monotonic()
    server.send_signal(signal.SIGINT)
    told = server.communicate(timeout=30)[1]
    assert time.monotonic() - began < 10  # it would label for a minute
    assert "Traceback" not in told
    assert server.returncode == 130
    assert not list(tmp_path.iterdir())
