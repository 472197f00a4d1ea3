"""Labelling on real Ray clusters, and from a server that speaks S3."""

import json
import os
import re
import signal
import sys
import time

import pytest
from conftest import PROJECT, process, read_records
from PIL import Image

from gender_recognizer.cli import main
from gender_recognizer.labelling.local_engine import LocalEngine
from gender_recognizer.labelling.records import Limits
from gender_recognizer.models.devices import ChosenModel
from gender_recognizer.models.model_file import BUNDLED_MODEL
from gender_recognizer.pictures.listing import File, Folder

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
cloudpickle = pytest.importorskip("ray.cloudpickle")

from gender_recognizer.labelling.ray_engine import RayEngine  # noqa: E402
from gender_recognizer.labelling.remote_folder import RemoteFolder  # noqa: E402

SAMPLE = PROJECT / "data/sample"
MODEL = ChosenModel(BUNDLED_MODEL, "cpu", "a test")
FACES = sorted(SAMPLE.glob("*/*.jpg"))


SECRETS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def cluster():
    os.environ.update(SECRETS)  # the workers inherit them
    started = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(started.address, log_to_driver=False)
    yield started
    ray.shutdown()
    started.shutdown()
    for name in SECRETS:
        del os.environ[name]


def label(files, **options):
    engine = RayEngine(MODEL, Limits(), **options)
    try:
        return [record for records in engine.label(files) for record in records]
    finally:
        engine.close()


def label_here(files):
    engine = LocalEngine(MODEL, Limits(), 1, 32)
    try:
        return [record for records in engine.label(files) for record in records]
    finally:
        engine.close()


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_records_are_those_of_the_local_engine(cluster, tmp_path, batch_size):
    (tmp_path / "broken.jpg").write_bytes(b"<html>")
    (tmp_path / "face.jpg").write_bytes(FACES[0].read_bytes())
    files = [*Folder(SAMPLE / "female"), *Folder(tmp_path), File("missing.jpg", "missing.jpg")]
    expected = sorted(label_here(files), key=lambda record: record.file)
    found = label(files, batch_size=batch_size)
    assert sorted(found, key=lambda record: record.file) == expected


def test_faces_of_photographs_are_those_of_the_local_engine(cluster, tmp_path):
    (tmp_path / "in").mkdir()
    for count in range(4):
        photograph = Image.new("RGB", (800, 250), "grey")
        for index in range(count):
            photograph.paste(Image.open(FACES[40 * index]).resize((150, 150)), (30 + 250 * index, 50))
        photograph.save(tmp_path / f"in/{count}.png")
    (tmp_path / "in/broken.jpg").write_bytes(b"<html>")
    options = [str(tmp_path / "in"), "faces=crop", "batch_size=2"]
    for engine in ("local", "ray"):
        arguments = [*options, f"engine={engine}", f"output_path={tmp_path}/{engine}.json"]
        assert main("label", arguments) == 3
    assert list(json.loads((tmp_path / "ray.json").read_text())) == [
        f"{count}.png#{face}" for count in range(4) for face in range(count)
    ]
    for ending in ("json", "jsonl"):
        assert (tmp_path / f"ray.{ending}").read_bytes() == (tmp_path / f"local.{ending}").read_bytes()


class Moody:
    """A detector that takes its time over photographs of one size, and dies of those of another."""

    fingerprint = "moody"
    longest = 100
    batch_size = 4

    def find(self, photograph):
        if photograph.size == (70, 50):
            time.sleep(60)
        if photograph.size == (71, 50):
            os.kill(os.getpid(), signal.SIGKILL)
        return []


def test_files_that_hold_or_kill_their_process_are_named_and_the_others_are_done(cluster, tmp_path):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import tests
    for index, width in enumerate((60, 70, 60, 71, 60)):
        Image.new("RGB", (width, 50)).save(tmp_path / f"{index}.png")
    engine = RayEngine(MODEL, Limits(faces="crop", max_seconds=2), 4, 1, detector=Moody())
    found = [record for records in engine.label(Folder(tmp_path)) for record in records]
    engine.close()
    assert [record.status for record in found] == ["no_face", "failed", "no_face", "failed", "no_face"]
    assert found[1].reason == "took longer than 2 s"
    assert "the process that read it died" in found[3].reason


def test_a_machine_that_leaves_half_way_loses_and_doubles_nothing(cluster):
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    files = [File(f"{index:05}.jpg", str(FACES[index % len(FACES)])) for index in range(4000)]
    engine = RayEngine(MODEL, Limits(), batch_size=20, num_workers=2)
    found = []
    for records in engine.label(files):
        found += records
        if node and len(found) >= 100:
            assert len(found) < 2000
            cluster.remove_node(node, allow_graceful=False)
            node = None
    engine.close()
    assert sorted(record.file for record in found) == [file.name for file in files]
    expected = {record.file: record for record in label_here(files[: len(FACES)])}
    for record in found:
        twin = expected[files[int(record.file[:5]) % len(FACES)].name]
        assert (record.label, record.probability) == (twin.label, twin.probability)


def test_a_cluster_that_does_not_answer_is_named(tmp_path):
    done = process(SAMPLE, "engine=ray", "ray.address=127.0.0.1:1", f"output_path={tmp_path}/out.json")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ray.address is '127.0.0.1:1', but no Ray cluster answers there")
    assert len(done.stderr.splitlines()) == 1


def test_the_extra_is_named_where_it_is_missing(monkeypatch, command, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = command("label", SAMPLE, "engine=ray", f"output_path={tmp_path}/")
    assert done.returncode == 2
    assert re.match(r"error: this command needs ray: (uv )?pip install -e '\.\[ray\]'", done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def bucket():
    """Return the address of a folder in a bucket on a server of this machine."""
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="faces")
    for path in FACES[::10]:
        client.put_object(Bucket="faces", Key=f"in/{path.parent.name}/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket="faces", Key="in/ä b=c.jpg", Body=FACES[0].read_bytes())
    client.put_object(Bucket="faces", Key="in/broken.jpg", Body=b"<html>")
    client.put_object(Bucket="faces", Key="in/notes.txt", Body=b"x")
    client.put_object(Bucket="faces", Key="in/.hidden.jpg", Body=b"x")
    yield f"s3://faces/in?scheme=http&endpoint_override={host}:{port}"
    server.stop()


def test_a_folder_of_an_object_store_gives_the_same_files(cluster, tmp_path, bucket, capsys):
    assert main("label", [bucket, "engine=ray", f"output_path={tmp_path}/out.json"]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "22 files: 21 labelled" in last
    assert "2 ignored, 1 failed" in last
    labels = json.loads((tmp_path / "out.json").read_text())
    here = {f"{path.parent.name}/{path.name}": str(path) for path in FACES[::10]} | {"ä b=c.jpg": str(FACES[0])}
    expected = {record.file: record for record in label_here([File(name, path) for name, path in here.items()])}
    assert labels == {name: record.label for name, record in expected.items()}
    records = read_records(tmp_path / "out.jsonl")
    for record in records:
        if record["status"] == "labelled":
            assert record["probability"] == pytest.approx(expected[record["file"]].probability, abs=1e-5)
    listed = {(file.name, file.size, file.modified) for file in RemoteFolder(bucket)}  # what a resumed run compares
    assert {(record["file"], record["size"], record["modified"]) for record in records} == listed


def test_any_kind_of_store_that_fsspec_knows_is_listed_and_read():
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    store.pipe("/faces/a.jpg", FACES[0].read_bytes())
    store.pipe("/faces/sub/b.png", b"x")
    store.pipe("/faces/Thumbs.db", b"x")
    folder = RemoteFolder("memory://faces")
    files = list(folder)
    assert [(file.name, file.size) for file in files] == [("a.jpg", FACES[0].stat().st_size), ("sub/b.png", 1)]
    assert folder.ignored == 1
    store.rm("/faces/sub/b.png")
    (first, content), (second, nothing) = folder.fetch(files)
    assert (first.problem, content) == (None, FACES[0].read_bytes())
    assert second.problem
    assert nothing == b""


def test_a_store_is_sniffed_like_a_folder_on_request_and_tells_endings_that_were_ignored(tmp_path):
    for name in ("a.jpg", "noending", "b.unknown", "c.HIF"):
        (tmp_path / name).write_bytes(FACES[0].read_bytes())
    for name in ("film.mp4", "notes.txt", "README"):
        (tmp_path / name).write_text("text")
    folders = [RemoteFolder(tmp_path.as_uri(), sniff=True), Folder(tmp_path, sniff=True)]
    remote, local = ([file.name for file in folder] for folder in folders)
    assert remote == local == ["a.jpg", "b.unknown", "c.HIF", "noending"]
    assert folders[0].ignored_endings == folders[1].ignored_endings == {".mp4": 1, "": 1}
    assert folders[0].ignored == folders[1].ignored == 3


@pytest.mark.parametrize("uri", ["s3://faces/missing?scheme=http&endpoint_override=127.0.0.1:1", "nothing://x/y"])
def test_a_store_that_does_not_answer_is_named(uri, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ValueError, match="input_dir '"):
        list(RemoteFolder(uri))
