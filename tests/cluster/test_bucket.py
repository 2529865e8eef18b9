"""A server whose files are in a bucket of a real S3 server: everything that happens to a file."""

from __future__ import annotations

import gzip
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pidex.backends.objects.bucket import Bucket, Place
from pidex.backends.objects.storage import key_of
from tests import samples
from tests.clients.environments import CLIENTS, Unavailable, make
from tests.clients.installers import KINDS
from tests.clients.publishers import Twine
from tests.cluster.buckets import Bucketed, cut
from tests.cluster.nodes import OWNER, PASSWORD, change, listing, names, send, sha256
from tests.cluster.seaweed import Seaweed
from tests.walks.server import fetch, finish, run, until


@pytest.fixture(scope="module")
def place(seaweed: Seaweed) -> Place:
    """The bucket of the server that the tests of this module share."""
    return seaweed.place(secrets.token_hex(6))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Iterator[Bucketed]:
    """A server of this module's tests; each has projects of its own."""
    with Bucketed(tmp_path_factory.mktemp("bucketed"), place) as running:
        yield running


def url_of(server: Bucketed, project: str, filename: str, index: str = "") -> str:
    page = fetch(f"{server.url}{index}/simple/{project}/", {"Accept": "application/vnd.pypi.simple.v1+json"})
    files = json.loads(page.body)["files"]
    path = next(str(file["url"]) for file in files if file["filename"] == filename)
    return f"{server.url}{index}/packages/{path.partition('packages/')[2]}"


def objects(bucket: Place) -> dict[str, int]:
    return {item.key: item.size for item in Bucket(bucket).list("blobs/")}


def test_twine_sends_and_pip_installs(server: Bucketed, place: Place, tmp_path: Path) -> None:
    try:
        for name in ("twine", "pip"):
            make(CLIENTS[name])
    except Unavailable as reason:
        pytest.skip(str(reason))
    (tmp_path / "twine").mkdir()
    (tmp_path / "pip").mkdir()
    twine = Twine(KINDS["twine"](CLIENTS["twine"], tmp_path / "twine"), server.url, "twine")
    paths = twine.make("demo", b"x" * 100_000)
    twine.publish(paths, OWNER, PASSWORD)
    assert set(objects(place)) >= {key_of(sha256(path.read_bytes())) for path in paths}
    assert not any(path.name.endswith((".whl", ".gz")) for path in server.data.rglob("*"))
    pip = KINDS["pip"](CLIENTS["pip"], tmp_path / "pip")
    assert pip.install(f"{server.url}/simple/", "demo") == {"demo": "1.0"}
    for path in paths:
        assert fetch(url_of(server, "demo", path.name)).body == path.read_bytes()


def test_the_life_of_a_file(server: Bucketed) -> None:
    sample, other = samples.wheel("life", "1.0"), samples.wheel("life", "1.1")
    for each in (sample, other):
        assert send(server.url, each).status == 200
    assert send(server.url, sample).status == 200, "the same again"
    moment = int(time.time()) + 1
    until(lambda: time.time() > moment)  # what is said of a moment is said of whole seconds
    assert send(server.url, samples.wheel("life", "1.0", files={"a": b"!"})).status == 400
    url = url_of(server, "life", sample[0])
    ranged = fetch(url, {"Range": "bytes=10-19"})
    assert (ranged.status, ranged.body) == (206, sample[1][10:20])
    assert fetch(url, method="HEAD").headers["content-length"] == str(len(sample[1]))
    assert change(server.url, "PUT", "life/releases/1.0/yank", {"reason": "bad"}).status == 200
    assert listing(server.url, "life")[1][0]["yanked"] == "bad"
    assert fetch(url).body == sample[1]
    assert change(server.url, "DELETE", f"life/files/{sample[0]}").status == 200
    assert names(server.url, "life") == [other[0]]
    assert fetch(url).status == 404
    then = f"/main/@{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert names(server.url + then, "life") == [sample[0], other[0]]
    assert fetch(url_of(server, "life", sample[0], then)).body == sample[1]
    assert send(server.url, sample).status == 400, "its name is burnt"
    assert sample[0] in server.pidex("restore-file", "--list", "life")
    server.pidex("restore-file", sample[0])
    assert names(server.url, "life") == [sample[0], other[0]]
    assert fetch(url).body == sample[1]


def test_doctor_tries_the_bucket(server: Bucketed) -> None:
    said = server.pidex("doctor", "--json")
    found = {check["name"]: check for check in json.loads(said)}
    assert found["bucket"]["state"] == "ok", said
    assert "written, read, listed and cleared" in found["bucket"]["sentence"]
    assert [check for check in found.values() if check["state"] == "fail"] == []


def test_promotion_is_a_row(server: Bucketed, place: Place) -> None:
    server.pidex("index", "create", "prod")
    sample = samples.wheel("moved", "1.0")
    assert send(server.url, sample).status == 200
    before = objects(place)
    server.pidex("promote", "moved==1.0", "--from", "main", "--to", "prod")
    assert fetch(url_of(server, "moved", sample[0], "/prod")).body == sample[1]
    assert objects(place) == before
    assert change(server.url, "DELETE", f"moved/files/{sample[0]}").status == 200
    assert fetch(url_of(server, "moved", sample[0], "/prod")).body == sample[1]


def test_verify_finds_and_mends_and_a_backup_names_the_objects(server: Bucketed, place: Place) -> None:
    sample, gone = samples.wheel("whole", "1.0"), samples.wheel("whole", "1.1")
    for each in (sample, gone):
        assert send(server.url, each).status == 200
    assert "Everything agrees" in server.pidex("verify", "--deep")
    wrong = server.home / "wrong"
    wrong.write_bytes(sample[1][:-1] + b"!")
    with wrong.open("rb") as file:
        Bucket(place).put(key_of(sha256(sample[1])), file)
    Bucket(place).delete([key_of(sha256(gone[1]))])
    status, said = finish(
        [server.command[0], "-m", "pidex", "verify", "--deep", "--config", server.settings], None,
        server.environ,
    )  # fmt: skip
    assert status == 3, said
    assert "damaged" in said
    assert "missing from the bucket" in said
    assert "in the bucket" in server.pidex("backup", server.home / "backups")
    later = samples.wheel("whole", "1.2")
    assert send(server.url, later).status == 200
    server.stop()
    assert "sent again" in server.pidex("verify", "--deep", "--repair")
    run(server.command[0], "-m", "pidex", "restore", server.home / "backups")
    server.start()
    assert later[0] not in names(server.url, "whole"), "it was uploaded after the backup"
    assert "Everything agrees" in server.pidex("verify", "--deep")
    for each in (sample, gone):
        assert fetch(url_of(server, "whole", each[0])).body == each[1]


def test_a_catalogue_is_rebuilt_and_clients_are_sent_to_the_bucket(tmp_path: Path, bucket: Place) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    every = [samples.wheel("back", f"1.{number}") for number in range(5)]
    with Bucketed(tmp_path / "one", bucket) as server:
        for each in every:
            assert send(server.url, each).status == 200
        assert change(server.url, "DELETE", f"back/files/{every[0][0]}").status == 200
        said = listing(server.url, "back")[1]
        name = server.pidex("bucket", "manifest").split()[1].rstrip(".")
        lines = gzip.decompress(b"".join(Bucket(bucket).read(name))).splitlines()
        assert json.loads(lines[0])["format"] == 1
    Bucket(bucket).delete([key_of(sha256(every[1][1]))])
    with Bucketed(tmp_path / "two", bucket, more="storage_redirect = true\n") as server:
        assert names(server.url, "back") == []
        status, told = finish(
            [server.command[0], "-m", "pidex", "bucket", "rebuild", "--config", server.settings], None,
            server.environ,
        )  # fmt: skip
        assert status == 3
        assert "3 files come back" in told
        assert f"missing from the bucket: {every[1][0]}" in told
        server.pidex("scan")
        until(lambda: len(names(server.url, "back")) == 3)
        found = listing(server.url, "back")[1]
        lasting = ("filename", "hashes", "size", "upload-time", "requires-python")
        assert [{key: file[key] for key in lasting if key in file} for file in found] == [
            {key: file[key] for key in lasting if key in file}
            for file in said
            if file["filename"] != every[1][0]
        ]
        assert send(server.url, every[0]).status == 400, "its name is burnt still"
        for each in every[2:]:
            url = url_of(server, "back", each[0])
            answer = fetch(url)  # sends clients to the bucket
            assert (answer.status, answer.headers["cache-control"]) == (302, "no-store")
            assert answer.headers["location"].startswith(f"{bucket.endpoint}/")
            assert fetch(answer.headers["location"]).body == each[1]
            assert fetch(url, method="HEAD").status == 200
            assert fetch(url + ".metadata").status == 200


def test_what_is_nobodys_is_cleared_away_in_two_steps(server: Bucketed, place: Place) -> None:
    sample, stray = samples.wheel("kept", "1.0"), server.home / "stray"
    assert send(server.url, sample).status == 200
    server.pidex("bucket", "clear", "--grace", "0")
    stray.write_bytes(b"nobody's")
    with stray.open("rb") as file:
        Bucket(place).put(key_of(sha256(b"nobody's")), file)
    before = objects(place)
    assert json.loads(server.pidex("bucket", "check", "--json"))["surplus"] >= 1
    assert json.loads(server.pidex("bucket", "clear", "--json")) == {"marked": 1, "dropped": 0, "waiting": 1}
    assert objects(place) == before
    assert change(server.url, "DELETE", f"kept/files/{sample[0]}").status == 200
    assert "1 object deleted, 0 newly noted, 0 waiting" in server.pidex("bucket", "clear", "--grace", "0")
    gone = before.keys() - objects(place).keys()
    assert gone == {key_of(sha256(b"nobody's"))}, "what was deleted can be brought back for seven days"


def test_while_the_object_server_is_away(tmp_path: Path) -> None:
    """A server of its own, since it is killed."""
    try:
        seaweed = Seaweed()
    except Unavailable as reason:
        pytest.skip(str(reason))
    apart = Place("s3://packages/away", seaweed.endpoint, credentials=seaweed.credentials)
    with closing(seaweed), Bucketed(tmp_path, apart, more="storage_timeout = 3\n") as server:
        cached, fetched = samples.wheel("cached", "1.0"), samples.wheel("fetched", "1.0")
        for each in (cached, fetched):
            assert send(server.url, each).status == 200
        (server.data / "objects" / sha256(fetched[1])[:2] / sha256(fetched[1])).unlink()
        seaweed.kill()
        assert names(server.url, "cached") == [cached[0]]
        assert fetch(url_of(server, "cached", cached[0])).body == cached[1]
        answers = [send(server.url, samples.wheel("new", "1.0"))]
        answers.append(fetch(url_of(server, "fetched", fetched[0])))
        for answer in answers:
            assert answer.status == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
            assert "object server" in answer.text
        seaweed.start()
        until(lambda: send(server.url, samples.wheel("new", "1.0")).status == 200)
        until(lambda: fetch(url_of(server, "fetched", fetched[0])).body == fetched[1])


def test_a_kill_loses_nothing_that_was_confirmed(tmp_path: Path, bucket: Place) -> None:
    server = Bucketed(tmp_path, bucket)
    try:
        for confirmed, lost, partial in cut(server, 2):
            assert confirmed > 0
            assert lost == []
            assert partial == []
    finally:
        server.kill()
    assert "Traceback (most recent call last)" not in server.log(), server.log()[-8000:]
