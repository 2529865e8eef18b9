"""Uploads over HTTP: every row of protocol.md 7.3, who may, in which order, and bodies of every shape."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pidex.accounts import hashing
from pidex.catalogue import grants, indexes, statuses, tombstones, users
from pidex.core.model import Status
from pidex.core.permissions import Grant, Role
from tests import samples
from tests.web.driver import Answer, House, listed

BOUNDARY = "a-boundary"
DEMO = samples.wheel("demo", "1.0")
OTHER = samples.wheel("demo", "1.0", files={"demo.py": b"answer = 43\n"})
SDIST = samples.sdist("demo", "1.0")
PASSWORD = "correct horse"
MULTIPART = f'multipart/form-data; boundary="{BOUNDARY}"'


def basic(name: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@functools.cache
def password_hash() -> str:
    return hashing.hashed(PASSWORD)


def let(house: House, name: str, role: Role | None, project: str = "*") -> None:
    """Make a user with a right."""
    with house.pidex.catalogue.write() as conn:
        if users.find(conn, name) is None:
            users.add(conn, name, password_hash(), at=1)
        if role is not None:
            grants.add(conn, Grant(f"user:{name}", role, "main", project), by="test", at=1)


Field = tuple[str, str] | tuple[str, str, bytes] | tuple[str, str, bytes, str]


def packed(fields: Sequence[Field]) -> bytes:
    """A form's body: (name, value) or (name, file name, bytes[, type])."""
    out = b""
    for name, value, *file in fields:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
        data = value.encode()
        if file:
            data = file[0] if isinstance(file[0], bytes) else b""
            kind = file[1] if len(file) > 1 else "application/octet-stream"
            head += f'; filename="{value}"\r\nContent-Type: {kind}'
        out += head.encode() + b"\r\n\r\n" + data + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


def fields_of(sample: samples.Sample, changes: Mapping[str, str | None] | None = None) -> list[Field]:
    """What twine sends of a package, in its order; a changed field that is None is left out."""
    filename, data = sample
    wheel = filename.endswith(".whl")
    name, version = filename.removesuffix(".tar.gz").removesuffix(".zip").split("-")[:2]
    given: dict[str, str | None] = {
        "name": name,
        "version": version,
        "filetype": "bdist_wheel" if wheel else "sdist",
        "pyversion": "py3" if wheel else "source",
        "metadata_version": "2.1",
        "summary": "A sample",
        "md5_digest": hashlib.md5(data).hexdigest(),
        "sha256_digest": hashlib.sha256(data).hexdigest(),
        "blake2_256_digest": hashlib.blake2b(data, digest_size=32).hexdigest(),
        ":action": "file_upload",
        "protocol_version": "1",
        **(changes or {}),
    }
    pairs: list[Field] = [(name, value) for name, value in given.items() if value is not None]
    return [*pairs, ("content", filename, data)]


class Client:
    """Uploads to a house as one user."""

    def __init__(self, house: House, by: str | None = "ann") -> None:
        self.house, self.by = house, by

    def post(
        self,
        body: bytes,
        path: str = "/legacy/",
        *,
        kind: str | None = MULTIPART,
        headers: Sequence[tuple[str, str]] = (),
        pieces: Sequence[bytes] | None = None,
    ) -> Answer:
        given = [*headers]
        if kind is not None:
            given.append(("content-type", kind))
        if self.by is not None:
            given.append(("authorization", basic(self.by)))
        if pieces is None and "content-length" not in dict(headers):
            given.append(("content-length", str(len(body))))
        answer: Answer = self.house.run(self.house.ask(path, given, method="POST", body=body, pieces=pieces))[
            0
        ]
        return answer

    def send(self, sample: samples.Sample, path: str = "/legacy/", /, **changes: str | None) -> Answer:
        return self.post(packed(fields_of(sample, changes)), path)

    def act(self, action: str, path: str = "/pypi", **fields: str) -> Answer:
        return self.post(packed([(":action", action), *fields.items()]), path)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as built:
        let(built, "ann", Role.UPLOADER)
        yield built


@pytest.fixture
def ann(house: House) -> Client:
    return Client(house)


def policy(house: House, **values: object) -> None:
    with house.pidex.catalogue.write() as conn:
        found = indexes.find(conn, "main")
        assert found is not None
        indexes.set_policy(conn, found.id, values)


# --- success ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/legacy/", "/legacy", "/", "/pypi", "/pypi/", "/main/legacy/", "/main/legacy", "/main/"]
)
def test_each_address_takes_uploads_without_a_redirect(ann: Client, path: str) -> None:
    answer = ann.send(DEMO, path)
    assert (answer.status, answer.text) == (200, f"{DEMO[0]}: stored\n")
    assert listed(ann.house, "demo") == [DEMO[0]]
    assert (ann.house.folder / DEMO[0]).read_bytes() == DEMO[1]


def test_what_is_uploaded_can_be_had_at_once(ann: Client) -> None:
    assert ann.house.get("/simple/demo/").status == 404
    assert ann.send(DEMO).status == 200
    page = ann.house.get("/simple/demo/", "application/vnd.pypi.simple.v1+json").json()
    (file,) = page["files"]
    path = "/simple/demo/" + file["url"]
    got = ann.house.get(path.replace("/simple/demo/../..", ""))
    assert got.body == DEMO[1]
    assert ann.send(SDIST).status == 200
    assert listed(ann.house, "demo") == sorted([DEMO[0], SDIST[0]])


def test_the_same_again_is_200(ann: Client) -> None:
    assert ann.send(DEMO).status == 200
    answer = ann.send(DEMO)
    assert (answer.status, answer.text) == (200, f"{DEMO[0]}: identical\n")


def test_json_is_answered_to_who_asks_for_it(ann: Client) -> None:
    body = packed(fields_of(DEMO))
    accept = ("accept", "application/json")
    told = ann.post(body, headers=[accept]).json()
    assert (told["status"], told["project"], told["filename"]) == ("stored", "demo", DEMO[0])
    refused = ann.post(packed(fields_of(OTHER)), headers=[accept])
    assert refused.headers["content-type"] == "application/json"
    assert refused.json()["code"] == "400 file-exists"
    assert refused.json()["message"].startswith("File already exists")
    uv = [("accept", "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7")]
    assert ann.post(packed(fields_of(OTHER)), headers=uv).text.startswith("File already exists"), (
        "as uv prints it"
    )
    problem = ann.post(packed(fields_of(OTHER)), headers=[("accept", "application/problem+json")])
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["detail"].startswith("File already exists")


def test_the_content_may_come_first(ann: Client) -> None:
    fields = fields_of(DEMO)
    assert ann.post(packed([fields[-1], *fields[:-1]])).status == 200
    assert listed(ann.house, "demo") == [DEMO[0]]


def test_a_body_may_come_in_pieces_of_any_size(ann: Client) -> None:
    body = packed(fields_of(DEMO))
    for number, size in enumerate((1, 7, 4096)):
        sample = samples.wheel("demo", f"2.{number}")
        body = packed(fields_of(sample))
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert ann.post(b"", pieces=[*pieces, b""]).status == 200
    assert len(listed(ann.house, "demo")) == 3


def test_large_files_are_written_in_several_blocks(ann: Client) -> None:
    noise = random.Random(1).randbytes(3 << 20)
    sample = samples.wheel("big", "1.0", files={"big.bin": noise})
    body = packed(fields_of(sample))
    pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
    assert ann.post(b"", pieces=pieces).status == 200
    assert (ann.house.folder / sample[0]).read_bytes() == sample[1]


def test_the_action_may_stand_in_the_query(ann: Client) -> None:
    body = packed(fields_of(DEMO, {":action": None}))
    assert ann.post(body, "/legacy/?:action=file_upload").status == 200


def test_fields_as_old_clients_send_them(ann: Client) -> None:
    answer = ann.send(
        DEMO, "/legacy/", summary="UNKNOWN", requires_python="", whatever="x", protocol_version=None
    )
    assert answer.status == 200
    bare = [("name", "demo"), ("version", "1.0"), (":action", "file_upload"), ("content", *SDIST)]
    assert ann.post(packed(bare)).status == 200  # type: ignore[arg-type]


def test_a_signature_is_kept_and_served_and_not_listed(ann: Client) -> None:
    signature: Field = ("gpg_signature", f"{DEMO[0]}.asc", b"-----BEGIN PGP SIGNATURE-----\n")
    assert ann.post(packed([*fields_of(DEMO), signature])).status == 200
    assert listed(ann.house, "demo") == [DEMO[0]]
    url = ann.house.get("/simple/demo/", "application/vnd.pypi.simple.v1+json").json()["files"][0]["url"]
    assert ann.house.get(url.removeprefix("../..") + ".asc").body.startswith(b"-----BEGIN")
    long: Field = ("gpg_signature", "x.asc", b"x" * 70_000)
    assert ann.post(packed([*fields_of(SDIST), long])).status == 413


def test_warnings_are_told(ann: Client) -> None:
    policy(ann.house, framing="warn")
    bare = samples.zipped([("demo-1.0.dist-info/METADATA", samples.core_metadata("demo", "1.0"))])
    answer = ann.send((DEMO[0], bare))
    assert answer.status == 200
    assert "\nWarning: " in answer.text


# --- rows ---------------------------------------------------------------------------------------------------

_TXT = "requirements.txt"
ROWS: list[tuple[str, dict[str, str | None], int, str]] = [
    ("3 protocol", {"protocol_version": "2"}, 400, "Unknown protocol version."),
    ("4 no name", {"name": None}, 400, "'' is an invalid value for Name. Error: This field is required."),
    ("4 bad name", {"name": "-demo"}, 400, "Start and end with a letter or numeral"),
    ("4 no version", {"version": None}, 400, "'' is an invalid value for Version."),
    ("4 filetype", {"filetype": "bdist_nothing"}, 400, "Invalid value for filetype. Error: Use a known"),
    ("4 digest", {"sha256_digest": "xyz"}, 400, "Use a valid, hex-encoded, SHA256 message digest."),
    ("5 metadata version", {"metadata_version": "2.0"}, 400, "'2.0' is not a valid metadata version."),
    ("11 filetype", {"filetype": "sdist", "pyversion": "source"}, 400, "Extension .whl is invalid"),
    ("11 name", {"name": "other"}, 400, "is of the project 'demo', but the upload says 'other'"),
    ("11 version", {"version": "9"}, 400, "Version in filename should be '9' not '1.0'."),
    ("14 md5", {"md5_digest": "0" * 32}, 400, "The digest supplied does not match a digest calculated"),
    ("14 sha256", {"sha256_digest": "0" * 64}, 400, "The digest supplied does not match a digest"),
    ("14 blake2", {"blake2_256_digest": "0" * 64}, 400, "The digest supplied does not match a digest"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "changes", "status", "sentence"), ROWS, ids=[row[0] for row in ROWS])
def test_rows_about_fields(
    ann: Client, row: str, changes: dict[str, str | None], status: int, sentence: str
) -> None:
    answer = ann.send(DEMO, "/legacy/", **changes)
    assert (answer.status, sentence in answer.text) == (status, True), answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert list(ann.house.folder.iterdir()) == [], "nothing is left"


def test_row_6_there_must_be_a_file(ann: Client) -> None:
    fields = fields_of(DEMO)[:-1]
    assert ann.post(packed(fields)).text == "Upload payload does not have a file.\n"
    assert ann.post(packed([*fields, ("content", "just text")])).status == 400
    assert ann.post(packed([*fields, ("content", "", b"")])).status == 400


def test_row_8_closed_projects(ann: Client) -> None:
    with ann.house.pidex.catalogue.write() as conn:
        statuses.put(conn, 1, statuses.ProjectStatus("demo", Status.ARCHIVED, None, "x", 1))
    answer = ann.send(DEMO)
    assert (answer.status, answer.text) == (
        403,
        "Project 'demo' is archived and does not accept new files.\n",
    )


@pytest.mark.parametrize(
    ("filename", "sentence"),
    [
        ("demo-1.0.tar.Z", "is invalid"),
        ("../demo-1.0.tar.gz", "Cannot upload a file with '/' or"),
        ("demo\\\\-1.0.tar.gz", "Cannot upload a file with '/' or"),
        ("demo\x01-1.0.tar.gz", "Cannot upload a file with non-printable characters"),
        (".demo-1.0.tar.gz", "starts with a dot"),
        ("demo-1.0" + "0" * 300 + ".tar.gz", "too long"),
        ("dëmo-1.0.tar.gz", "is invalid"),
    ],
)
def test_row_11_file_names(ann: Client, filename: str, sentence: str) -> None:
    fields = fields_of(SDIST)[:-1]
    answer = ann.post(packed([*fields, ("content", filename, SDIST[1])]))
    assert (answer.status, sentence in answer.text) == (400, True), answer.text


def test_row_12_an_image_is_no_package(ann: Client) -> None:
    answer = ann.post(packed([*fields_of(DEMO)[:-1], ("content", DEMO[0], DEMO[1], "image/png")]))
    assert (answer.status, "Invalid distribution file." in answer.text) == (400, True)


def test_row_13_size(ann: Client) -> None:
    policy(ann.house, file_limit=1000)
    answer = ann.send(samples.sdist("demo", "1", files={"x": random.Random(1).randbytes(2000)}))
    assert answer.status == 413
    assert answer.text.startswith("File too large. Limit")
    early = ann.post(b"", headers=[("content-length", str(100 << 20))])
    assert (early.status, "File too large" in early.text) == (413, True)


def test_row_16_and_17(ann: Client) -> None:
    ann.send(DEMO)
    hashed = hashlib.blake2b(DEMO[1], digest_size=32).hexdigest()
    answer = ann.send(OTHER)
    assert answer.status == 400
    assert answer.text.startswith(f"File already exists ('{DEMO[0]}', with blake2_256 hash '{hashed}').")
    with ann.house.pidex.catalogue.write() as conn:
        tombstones.put(conn, 1, tombstones.Tombstone(SDIST[0], "0" * 64, 1, "ann"))
    answer = ann.send(SDIST)
    assert answer.status == 400
    assert answer.text.startswith(
        "This filename was previously used by a file that has since been deleted. Use a different version."
    )


def test_row_19_one_sdist(ann: Client) -> None:
    policy(ann.house, one_sdist=True)
    assert ann.send(SDIST).status == 200
    answer = ann.send(samples.sdist("demo", "1.0", "zip"))
    assert (answer.status, answer.text) == (400, "Only one sdist may be uploaded per release.\n")


@pytest.mark.parametrize(
    "data", [b"", b"x" * 100, DEMO[1][:-30], DEMO[1][:200] + b"\0" * 50 + DEMO[1][250:]], ids=range(4)
)
def test_row_20_damaged(ann: Client, data: bytes) -> None:
    answer = ann.send((DEMO[0], data))
    assert (answer.status, answer.text.startswith("Invalid distribution file. ")) == (400, True), answer.text


def test_row_21_and_22_stricter_names(ann: Client) -> None:
    policy(ann.house, normalised_names=True, platform_tags="error", local_versions=False)
    assert ann.send(samples.wheel("demo", "1", tag="py3-none-linux_x86_64")).status == 400
    assert ann.send(samples.wheel("demo", "1+x")).status == 400
    assert ann.send(samples.wheel("Demo", "1")).status == 400
    assert ann.send(samples.wheel("demo", "1.00")).text == "Version in filename should be '1.0' not '1.00'.\n"
    assert ann.send(samples.sdist("demo", "1.0", "zip")).text.endswith("should be 'demo-1.0.tar.gz'.\n")
    policy(ann.house)
    answer = ann.send(samples.wheel("demo", "1+x", tag="py3-none-linux_x86_64"))
    assert answer.status == 200
    assert "Warning: Binary wheel" in answer.text, "WHN-6: mentioned where nobody says otherwise"


def test_a_new_project_may_not_look_like_another(ann: Client) -> None:
    assert ann.send(samples.wheel("paypal", "1")).status == 200
    policy(ann.house, similar_names=False)
    refused = ann.send(samples.wheel("pay_pa1", "1"))
    assert (refused.status, refused.text) == (
        400,
        "The name 'pay_pa1' is too similar to an existing project.\n",
    )
    assert ann.send(samples.wheel("paypal", "2")).status == 200, "it is there: no new project"
    policy(ann.house)
    assert ann.send(samples.wheel("pay_pa1", "1")).status == 200
    policy(ann.house, similar_names=False)
    assert ann.send(samples.wheel("pay_pa1", "2")).status == 200


def test_attestations_are_not_dropped_without_a_word(ann: Client) -> None:
    """ATT-8: uv attaches them by itself, so they refuse nothing."""
    for number, (sent, told) in enumerate([('[{"version": 1}]', True), ("[]", False), ("{", True)]):
        answer = ann.send(samples.wheel("demo", f"{number}"), attestations=sent)
        assert (answer.status, "Warning: The attestations were not kept" in answer.text) == (200, told)


def test_row_24_parts_of_a_wheel(ann: Client) -> None:
    bare = samples.zipped([("demo-1.0.dist-info/METADATA", samples.core_metadata("demo", "1.0"))])
    answer = ann.send((DEMO[0], bare))
    assert (answer.status, answer.text.startswith("Invalid distribution file. ")) == (400, True)


def test_a_file_as_field_and_a_second_file(ann: Client) -> None:
    answer = ann.post(packed([("name", "x.txt", b"demo"), *fields_of(DEMO)]))
    assert (answer.status, answer.text) == (400, "name: Should not be a tuple.\n")
    twice = ann.post(packed([*fields_of(DEMO), ("content", *SDIST)]))
    assert (twice.status, "more than one file" in twice.text) == (400, True)


def test_long_fields(ann: Client) -> None:
    policy(ann.house, field_limit=100, description_limit=1000)
    assert ann.send(DEMO, "/legacy/", summary="x" * 101).status == 413
    assert ann.send(DEMO, "/legacy/", description="x" * 1001).status == 413
    assert ann.send(DEMO, "/legacy/", description="x" * 999).status == 200


# --- who ----------------------------------------------------------------------------------------------------


def test_without_credentials_the_answer_asks_for_them(house: House) -> None:
    answer = Client(house, None).send(DEMO)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "Sign in" in answer.text


def test_a_server_without_people_says_which_command_opens_uploads(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        answer = Client(house, None).send(DEMO)
    assert answer.status == 401
    assert "pidex user add" in answer.text


def test_wrong_credentials_are_401(house: House) -> None:
    client = Client(house)
    for value in (basic("ann", "wrong"), basic("nobody"), "Basic %%%", "Bearer pidex_x"):
        client.by = None
        answer = client.post(packed(fields_of(DEMO)), headers=[("authorization", value)])
        assert answer.status == 401, value
        assert "www-authenticate" in answer.headers
    assert list(house.folder.iterdir()) == []


def test_who_may_read_and_not_upload_is_told_so(house: House) -> None:
    let(house, "bob", None)
    answer = Client(house, "bob").send(DEMO)
    assert (answer.status, "bob may not upload" in answer.text) == (403, True)


def test_a_right_on_one_project_is_none_on_another(house: House) -> None:
    let(house, "bob", Role.UPLOADER, "demo")
    bob = Client(house, "bob")
    assert bob.send(DEMO).status == 200
    answer = bob.send(samples.wheel("other", "1"))
    assert (answer.status, "bob may not upload" in answer.text) == (403, True)
    fields = fields_of(samples.wheel("other", "1"))
    assert bob.post(packed([fields[-1], *fields[:-1]])).status == 403, "with the content first, too"
    assert [path.name for path in house.folder.iterdir()] == [DEMO[0]]


def test_whoever_sends_the_first_file_owns_the_project(ann: Client) -> None:
    ann.send(DEMO)
    with ann.house.pidex.catalogue.read() as conn:
        assert Grant("user:ann", Role.OWNER, "main", "demo") in grants.list_of_user(conn, "ann")


def test_overwriting_is_a_right_of_its_own(house: House) -> None:
    with house.pidex.catalogue.write() as conn:
        indexes.ensure(conn, "main", 1, "volatile")
    let(house, "max", Role.MAINTAINER)
    let(house, "bob", Role.UPLOADER)
    assert Client(house, "max").send(DEMO).status == 200
    assert Client(house, "bob").send(OTHER).text.startswith("File already exists")
    assert Client(house, "max").send(OTHER).text == f"{DEMO[0]}: replaced\n"
    assert (house.folder / DEMO[0]).read_bytes() == OTHER[1]


def test_no_credentials_are_needed_where_nothing_is_guarded(tmp_path: Path) -> None:
    with House(tmp_path, guard="") as house:
        assert Client(house, None).send(DEMO).status == 200


def test_a_refusal_comes_before_the_body_and_is_heard_after_it(house: House) -> None:
    """What is left of the body is read within bounds, unless the client asked before it sent any."""
    taken: list[int] = []

    async def ask(expect: bool) -> int:
        import asyncio

        async def receive() -> dict[str, Any]:
            taken.append(1)
            return {"type": "http.request", "body": b"x" * (1 << 20), "more_body": True}

        statuses: list[int] = []

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        headers = [(b"host", b"x"), (b"content-type", MULTIPART.encode())]
        if expect:
            headers.append((b"expect", b"100-continue"))
        scope = {
            "type": "http", "method": "POST", "path": "/legacy/", "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 1), "scheme": "http",
        }  # fmt: skip
        await asyncio.wait_for(house.site(scope, receive, send), 60)
        return statuses[0]

    assert house.run(ask(False)) == [401]
    assert len(taken) == 64, "MiB"
    taken.clear()
    assert house.run(ask(True)) == [401]
    assert taken == []


# --- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (None, b"x"),
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b""),
        (MULTIPART, b""),
        (MULTIPART, b"no boundary here" * 1000),
        (MULTIPART, packed(fields_of(DEMO))[:-30]),
        (MULTIPART, packed(fields_of(DEMO))[:300]),
        (MULTIPART, f"--{BOUNDARY}\r\nbroken\r\n\r\nx\r\n--{BOUNDARY}--".encode()),
    ],
)
def test_bodies_that_are_no_forms(ann: Client, kind: str | None, body: bytes) -> None:
    answer = ann.post(body, kind=kind)
    assert (answer.status, answer.text.count("\n")) == (400, 1), answer.text
    assert list(ann.house.folder.iterdir()) == []


def test_a_client_that_leaves_leaves_nothing(ann: Client) -> None:
    body = packed(fields_of(samples.wheel("demo", "1.0", files={"x": b"y" * 100_000})))

    async def leave() -> None:
        sent: Iterator[dict[str, Any]] = iter(
            [{"type": "http.request", "body": body[:-100], "more_body": True}, {"type": "http.disconnect"}]
        )

        async def receive() -> dict[str, Any]:
            return next(sent, {"type": "http.disconnect"})

        async def send(message: Mapping[str, Any]) -> None:
            pass

        headers = [(b"content-type", MULTIPART.encode()), (b"authorization", basic("ann").encode())]
        scope = {
            "type": "http", "method": "POST", "path": "/legacy/", "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 1), "scheme": "http",
        }  # fmt: skip
        await ann.house.site(scope, receive, send)

    ann.house.run(leave())
    assert list(ann.house.folder.iterdir()) == []
    assert ann.send(DEMO).status == 200


def test_a_full_disk_is_507(ann: Client) -> None:
    ann.house.pidex.storage._reserve = 1 << 60
    answer = ann.send(DEMO)
    assert (answer.status, "no space left for uploads" in answer.text) == (507, True)
    assert list(ann.house.folder.iterdir()) == []


def test_a_folder_that_takes_nothing_says_why(ann: Client) -> None:
    (ann.house.folder / ".git").mkdir()
    answer = ann.send(DEMO)
    assert (answer.status, "git work tree" in answer.text) == (403, True)


# --- other actions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "status", "sentence"),
    [
        ("submit", 200, "Nothing to do"),
        ("verify", 200, "Nothing was checked"),
        ("submit_pkg_info", 410, "Project pre-registration is no longer required or supported"),
        ("doc_upload", 410, "Uploading documentation is no longer supported"),
        ("user", 410, "Users are not made by clients"),
        ("password_reset", 410, "Passwords are not reset by clients"),
        ("nonsense", 400, ":action 'nonsense' is not known"),
        ("", 400, ":action is missing"),
        ("remove_pkg", 400, "takes the fields name and version"),
    ],
)
def test_other_actions(ann: Client, action: str, status: int, sentence: str) -> None:
    for answer in (
        ann.act(action),
        ann.post(f":action={action}".encode(), "/pypi", kind="application/x-www-form-urlencoded"),
        ann.post(b"", f"/pypi?:action={action}", kind=None),
    ):
        if not action and answer.status == 400:
            continue
        assert (answer.status, sentence in answer.text) == (status, True), answer.text


def test_a_release_is_removed_by_its_owner(ann: Client) -> None:
    ann.send(DEMO)
    ann.send(samples.wheel("demo", "2.0"))
    let(ann.house, "bob", Role.UPLOADER)
    bob = Client(ann.house, "bob")
    assert bob.act("remove_pkg", name="demo", version="1.0").status == 403
    assert ann.act("remove_pkg", name="demo", version="9").status == 404
    answer = ann.act("remove_pkg", name="Demo", version="1.0")
    assert (answer.status, "is deleted" in answer.text) == (200, True), answer.text
    assert listed(ann.house, "demo") == [samples.wheel("demo", "2.0")[0]]
    assert ann.send(DEMO).text.startswith("This filename was previously used by a file that has since")


def test_documentation_is_not_kept(ann: Client) -> None:
    body = packed([(":action", "doc_upload"), ("name", "demo"), ("content", "docs.zip", b"x" * 1000)])
    assert ann.post(body).status == 410
    assert list(ann.house.folder.iterdir()) == []


def test_the_classifiers_that_are_in_use(ann: Client) -> None:
    extra = "Classifier: Private :: Do Not Upload\nClassifier: Topic :: Internet\n"
    ann.send(samples.wheel("demo", "1", metadata=samples.core_metadata("demo", "1", extra=extra)))
    answer = ann.house.get("/pypi?:action=list_classifiers")
    assert answer.text == "Private :: Do Not Upload\nTopic :: Internet\n"
    assert ann.house.get("/pypi").status == 302


def test_get_on_the_address_of_uploads_says_what_it_is_for(ann: Client) -> None:
    assert ann.house.get("/legacy/").status in (302, 405)
    assert json.loads(json.dumps(ann.house.get("/simple/legacy/").status)) == 404
