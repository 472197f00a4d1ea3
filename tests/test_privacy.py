"""What the commands do is nobody else's business: their system calls show whom they speak to and what they leave."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import PROJECT, SMALL_RUN

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt-get install strace")

SAMPLE = PROJECT / "data" / "sample"
COMMANDS = {
    "label": ["process.py", f"input_dir={SAMPLE}/male", "output_path={tmp}/"],
    "ray": ["process.py", f"input_dir={SAMPLE}/male", "engine=ray", "num_workers=1", "output_path={tmp}/"],
    "train": ["train.py", *SMALL_RUN, f"data.root={SAMPLE}", "trainer.max_epochs=1", "hydra.run.dir={tmp}/run"],
    "evaluate": ["evaluate.py", f"data.root={SAMPLE}", "output_dir={tmp}/evaluation"],
    "check": ["check_data.py", f"data.root={SAMPLE}", "output_dir={tmp}/check"],
}
LOCAL = re.compile(r'inet_addr\("(127\.[\d.]+|0\.0\.0\.0)"\)|inet_pton\(AF_INET6, "(::1|::|::ffff:127\.[\d.]+)"')


def trace(tmp_path):
    """Return the start of a command that notes each connection and each message to another machine in a file."""
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    return [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-s",
        "300",
        "-e",
        calls,
        "-o",
        str(tmp_path / "calls"),
        sys.executable,
    ]


def strangers(tmp_path):
    """Return the traced calls that name an address of another machine; a name server's is one, too.

    A socket for datagrams that is "connected" to port 9 or 53 of a public address to learn the own address (Ray)
    sends nothing; what is sent over it would be a call without an address, so it counts as soon as one follows.
    """
    addressed = [call for call in (tmp_path / "calls").read_text(errors="replace").splitlines() if "sin" in call]
    return [call for call in addressed if "AF_INET" in call and not LOCAL.search(call)]


def check_silence(tmp_path):
    own = {line.split()[0] for line in os.popen("hostname -I").read().split()}
    said = [call for call in strangers(tmp_path) if not any(f'"{address}"' in call for address in own)]
    assert said == []
    left = [str(path) for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not [path for path in left if re.search(r"onnxruntime|deviceid|gradio|telemetry|huggingface", path)]


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_speak_to_nobody(tmp_path, name):
    script, *options = (part.replace("{tmp}", str(tmp_path)) for part in COMMANDS[name])
    command = [*trace(tmp_path), str(PROJECT / "scripts" / script), *options]
    (tmp_path / "home").mkdir()
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check_silence(tmp_path)


def test_the_page_speaks_to_nobody(tmp_path):
    command = [*trace(tmp_path), str(PROJECT / "scripts" / "demo.py"), "port=0"]
    (tmp_path / "home").mkdir()
    server = subprocess.Popen(command, env=environment(tmp_path), stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline()).group()
        assert urllib.request.urlopen(address, timeout=60).status == 200
        time.sleep(1)
    finally:
        subprocess.run(["pkill", "-TERM", "-P", str(server.pid)], check=True)
        server.communicate(timeout=60)
    check_silence(tmp_path)


def environment(tmp_path):
    unset = ("ORT_DISABLE_TELEMETRY", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED")
    ours = {name: value for name, value in os.environ.items() if name not in (*unset, "DO_NOT_TRACK", "XDG_CACHE_HOME")}
    return ours | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(PROJECT / "src")}


def test_what_the_user_has_set_stays():
    code = "import os, gender_recognizer; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['DO_NOT_TRACK'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PROJECT) | {"ORT_DISABLE_TELEMETRY": "0"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "0 1\n"
