"""A Ray that is started here is for this machine alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

CODE = """
import sys
from gender_recognizer.labelling.ray_engine import RayEngine
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.pictures.listing import Folder
from pathlib import Path

engine = RayEngine(ChosenModel(BUNDLED_MODEL, "cpu", "a test"), Limits(), 16, 1)
records = [record for records in engine.label(Folder(Path(sys.argv[1]))) for record in records]
print(len(records), flush=True)
sys.stdin.readline()
engine.close()
"""


def family(pid):
    """Return a process and all that it and they have started."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def listening(pids):
    """Return the addresses, in hexadecimal, at which processes wait for connections."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A":
                sockets[columns[9]] = columns[1].split(":")[0]
    files = [str(link.readlink()) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return {sockets[inode] for file in files for inode in re.findall(r"^socket:\[(\d+)\]$", file) if inode in sockets}


LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def test_nobody_else_reaches_a_ray_that_was_started_here(tmp_path):
    command = [sys.executable, "-c", CODE, str(PROJECT / "data/sample/female")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(PROJECT / "src"), "HOME": str(tmp_path)}
    running = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline() == "100\n"
        started = family(running.pid)
        assert len(started) > 3
        addresses = listening(started)
    finally:
        running.communicate("\n", timeout=60)
    assert addresses
    assert addresses <= set(LOOPBACK)
    assert not (tmp_path / ".cache/uv").exists()  # under `uv run`, too, workers fetch nothing
    assert not list(tmp_path.rglob("*token*"))  # the secret is in the memory of these processes alone
