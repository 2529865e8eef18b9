"""Upload forms: every refusal by its sentence, every client's peculiarity accepted."""

from __future__ import annotations

from typing import Any

import pytest

from pidex.core.errors import BadRequest, PidexError, TooLarge
from pidex.core.names import parse
from pidex.core.uploads import (
    Form,
    UploadPolicy,
    check_digests,
    check_filename,
    check_form,
    check_metadata,
    check_new_project,
    check_size,
    collect,
    name_warnings,
    unusual_platforms,
)

GOOD = {
    "name": "demo",
    "version": "1.0",
    "filetype": "bdist_wheel",
    "pyversion": "py3",
    "protocol_version": "1",
}
LENIENT = UploadPolicy()


def form(**changes: Any) -> Form:
    fields = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return check_form(collect(fields.items()), changes.pop("policy", LENIENT))


def test_collect_reads_fields_as_clients_mean_them() -> None:
    fields = collect(
        [
            ("name", "demo"),
            ("requires_python", ""),
            ("license", " UNKNOWN "),
            ("classifiers", "A"),
            ("classifiers", "B"),
            ("import_names", "demo"),
            ("provides_extras", "x"),
            ("summary", "a\x00b"),
        ]
    )
    assert dict(fields) == {
        "name": ("demo",),
        "classifiers": ("A", "B"),
        "import_name": ("demo",),
        "provides_extra": ("x",),
        "summary": ("ab",),
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"protocol_version": "2"}, "Unknown protocol version."),
        ({"metadata_version": "2.0"}, "'2.0' is not a valid metadata version."),
        ({"metadata_version": "dog"}, "'dog' is not a valid metadata version."),
        ({"name": None}, "'' is an invalid value for Name. Error: This field is required."),
        ({"name": "-demo"}, "Start and end with a letter or numeral"),
        ({"name": "dem\u017f"}, "Start and end with a letter or numeral"),
        ({"name": "demo\n"}, None),
        ({"name": "requirements.txt"}, "isn't allowed"),
        ({"version": None}, "'' is an invalid value for Version. Error: This field is required."),
        ({"filetype": "bdist_egg_salad"}, "Use a known file type."),
        ({"filetype": "sdist"}, "Use 'source' as Python version for an sdist."),
        ({"sha256_digest": "xyz"}, "Use a valid, hex-encoded, SHA256 message digest."),
        ({"md5_digest": "A" * 32}, None),
        ({"md5_digest": "g" * 32}, "MD5"),
        ({"blake2_256_digest": "0" * 63}, "BLAKE2_256"),
        ({"metadata_version": "2.6"}, None),
        ({"filetype": None, "pyversion": None, "protocol_version": None}, None),
        ({"filetype": "sdist", "pyversion": None}, None),
        ({"requires_python": "", "unknown_field": "x"}, None),
    ],
)
def test_forms(changes: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:
        assert form(**changes).project == "demo"
        return
    with pytest.raises(BadRequest) as refusal:
        form(**changes)
    assert sentence in str(refusal.value)


def test_a_digest_can_be_asked_for() -> None:
    with pytest.raises(BadRequest, match="at least one message digest"):
        check_form(collect(GOOD.items()), UploadPolicy(digest_required=True))


@pytest.mark.parametrize(
    ("filename", "changes", "sentence"),
    [
        ("demo-1.0-py3-none-any.whl", {}, None),
        ("Demo-1.0.0-py3-none-any.whl", {}, None),
        ("demo-1.0.tar.gz", {"filetype": "sdist", "pyversion": "source"}, None),
        ("demo-1.0.zip", {"filetype": "sdist", "pyversion": "source"}, None),
        ("demo-1.0-py3.8.egg", {"filetype": "bdist_egg", "pyversion": "3.8"}, None),
        ("demo-1.0+local.1-py3-none-any.whl", {"version": "1.0+local.1"}, None),
        (None, {}, "does not have a file"),
        ("", {}, "does not have a file"),
        ("a/demo-1.0.whl", {}, "'/' or"),
        ("..\\demo-1.0.whl", {}, "'/' or"),
        ("demo-1.0\r\n.whl", {}, "non-printable"),
        (".demo-1.0.tar.gz", {}, "dot"),
        ("demo-1.0.tar.gz", {}, "Extension .gz is invalid for filetype bdist_wheel."),
        ("demo.txt", {}, "is invalid"),
        ("other-1.0-py3-none-any.whl", {}, "'other', but the upload says 'demo'"),
        ("demo-1.1-py3-none-any.whl", {}, "Version in filename should be '1.0' not '1.1'."),
        ("demo-1.0-" + "x" * 250 + "-none-any.whl", {}, "too long"),
    ],
)
def test_filenames(filename: str | None, changes: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:
        assert check_filename(filename, form(**changes), LENIENT).project == "demo"
        return
    with pytest.raises(BadRequest) as refusal:
        check_filename(filename, form(**changes), LENIENT)
    assert sentence in str(refusal.value)


def test_a_requirements_file_is_no_project_without_a_form_either() -> None:
    with pytest.raises(BadRequest, match="a requirements file was probably meant"):
        check_filename("requirements.txt-1.0.tar.gz", None, LENIENT)


@pytest.mark.parametrize(
    ("filename", "version", "policy", "sentence"),
    [
        ("demo-1.0+x-py3-none-any.whl", "1.0+x", UploadPolicy(local_versions=False), "local versions"),
        (
            "demo-1.0-py3-none-linux_x86_64.whl",
            "1.0",
            UploadPolicy(platform_tags="error"),
            "unsupported platform tag 'linux_x86_64'",
        ),
    ],
)
def test_stricter_policies(filename: str, version: str, policy: UploadPolicy, sentence: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        check_filename(filename, form(version=version), policy)
    assert sentence in str(refusal.value)
    assert check_filename(filename, form(version=version), LENIENT)


EXACT = UploadPolicy(normalised_names=True)


@pytest.mark.parametrize(
    ("filename", "version", "sentence"),
    [
        ("acme_tool-1.0.tar.gz", "1.0", None),
        ("acme_tool-1!1.0.post1+local.2.tar.gz", "1!1.0.post1+local.2", None),
        ("acme_tool-1.0-py3-none-any.whl", "1.0", None),
        ("acme_tool-1.0+local.2-7-cp313-cp313t-win_amd64-gpu.whl", "1.0+local.2", None),
        ("acme_tool-1.0-py3.8.egg", "1.0", None),
        ("acme_tool-1.0.zip", "1.0", "is invalid, should be 'acme_tool-1.0.tar.gz'."),
        ("acme_tool-1.0.tar.bz2", "1.0", "should be 'acme_tool-1.0.tar.gz'."),
        ("acme_tool-1.0.TAR.GZ", "1.0", "should be 'acme_tool-1.0.tar.gz'."),
        ("acme_tool-01.0.tar.gz", "1.0", "should be 'acme_tool-1.0.tar.gz'."),
        ("acme_tool-1.0-1.tar.gz", "1.0.post1", "should be 'acme_tool-1.0.post1.tar.gz'."),
        ("acme_tool-1.0RC1.tar.gz", "1.0rc1", "should be 'acme_tool-1.0rc1.tar.gz'."),
        ("acme_tool-2013b.brainbot.tar.gz", "2013b.brainbot", "is no version (PEP 440)"),
        ("acme-tool-1.0.tar.gz", "1.0", "normalized project name 'acme_tool'"),
        ("Acme_Tool-1.0.tar.gz", "1.0", "normalized project name 'acme_tool'"),
        ("acme.tool-1.0-py3-none-any.whl", "1.0", "normalized project name 'acme_tool'"),
        ("acme_tool-01.0-py3-none-any.whl", "1.0", "should be '1.0' not '01.0'."),
        ("acme_tool-1.0_post1-py3-none-any.whl", "1.0.post1", "should be '1.0.post1' not '1.0_post1'."),
        ("acme_tool-1.0.Post1-py3-none-any.whl", "1.0.post1", "should be '1.0.post1' not '1.0.Post1'."),
    ],
)
def test_names_of_files_as_pypi_wants_them(filename: str, version: str, sentence: str | None) -> None:
    """SDN-1, SDN-2, WHN-1: an index asks for it, and by default takes every spelling."""
    said = form(name="Acme.Tool", version=version, filetype=None, pyversion=None)
    assert check_filename(filename, said, LENIENT).project == "acme-tool"
    if sentence is None:
        assert check_filename(filename, said, EXACT).project == "acme-tool"
        return
    with pytest.raises(BadRequest) as refusal:
        check_filename(filename, said, EXACT)
    assert sentence in str(refusal.value)
    with pytest.raises(BadRequest):
        check_filename(filename, None, EXACT)  # by git and FTP, too


@pytest.mark.parametrize(
    ("filename", "unusual"),
    [
        ("a-1-py3-none-any.whl", ()),
        ("a-1-1b-cp313-cp313-manylinux_2_28_x86_64.manylinux2014_x86_64.whl", ()),
        ("a-1-cp313-cp313-linux_x86_64-gpu.whl", ("linux_x86_64",)),
        ("a-1-1-cp313-cp313-win_amd64-gpu.whl", ()),
        ("a-1-cp313-cp313-anyway.whl", ("anyway",)),
        ("a-1-cp313-cp313-macosx_27_0_arm64.whl", ("macosx_27_0_arm64",)),
    ],
)
def test_platform_tags_are_matched_whole(filename: str, unusual: tuple[str, ...]) -> None:
    assert unusual_platforms(filename) == unusual


def test_unusual_platforms_can_be_mentioned_alone() -> None:
    warn, off = UploadPolicy(platform_tags="warn"), UploadPolicy(platform_tags="off")
    unusual = check_filename("demo-1.0-py3-none-linux_x86_64.plan9.whl", form(version="1.0"), warn)
    assert [text.split()[-1] for text in name_warnings(unusual, warn)] == ["'linux_x86_64'.", "'plan9'."]
    assert name_warnings(unusual, off) == ()
    assert name_warnings(unusual, LENIENT) == name_warnings(unusual, warn), "WHN-6: the default"
    usual = check_filename("demo-1.0-py3-none-any.whl", form(version="1.0"), warn)
    assert name_warnings(usual, warn) == ()


def test_names_that_look_like_others_and_standard_ones() -> None:
    """NAM-4: which new projects an index begins."""
    strict = UploadPolicy(similar_names=False, standard_names="error")
    mine = parse("pay_pa1-1.0.tar.gz")
    for other in "paypal", "pay-pal", "p-a-y-p-a-i":
        with pytest.raises(BadRequest, match="'pay_pa1' is too similar to an existing project"):
            check_new_project(mine, strict, ["first", other])
        check_new_project(mine, LENIENT, [other])
    check_new_project(mine, strict, ["pay-pa1", "paypall", "pagpal"])
    standard = parse("Concurrent-1.0.tar.gz")
    with pytest.raises(BadRequest, match="'Concurrent' isn't allowed"):
        check_new_project(standard, strict, [])
    check_new_project(standard, LENIENT, [])
    assert "module of the standard library is called 'Concurrent'" in name_warnings(standard, LENIENT)[0]
    assert name_warnings(standard, UploadPolicy(standard_names="off")) == ()
    assert name_warnings(mine, LENIENT) == ()


def test_digests_must_match() -> None:
    sent = form(sha256_digest="A" * 64, md5_digest="b" * 32)
    check_digests(sent, {"sha256": "a" * 64, "md5": "b" * 32, "blake2_256": "c" * 64})
    with pytest.raises(BadRequest, match="does not match"):
        check_digests(sent, {"sha256": "a" * 64, "md5": "c" * 32, "blake2_256": "c" * 64})


def test_sizes() -> None:
    check_size(10**12, LENIENT, "demo")
    with pytest.raises(TooLarge, match=r"Limit for project 'demo' is 2 MiB\."):
        check_size(2 * 2**20 + 1, UploadPolicy(file_limit=2 * 2**20), "demo")


HEAD = "Metadata-Version: {}\nName: demo\nVersion: 1.0\n"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"])
def test_every_metadata_version_passes(version: str) -> None:
    data = HEAD.format(version).encode()
    assert check_metadata(data, LENIENT) == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEAD.format("2.0"), "metadata version"),
        (HEAD.format("2.1") + "License-Expression: MIT\n", "introduced in metadata version 2.4"),
        (HEAD.format("2.1") + "Requires-Dist: ???\n", "requires-dist"),
        (HEAD.format("2.1") + "Requires-Python: dog\n", "requires-python"),
        (HEAD.format("2.1") + "Requires-Dist: a" + "[" * 500 + "\n", "requires-dist"),
        (HEAD.format("2.1") + "Requires-Dist: a; " + "(" * 900 + "\n", "cannot be parsed"),
        ("Metadata-Version: 2.1\nName: demo\nVersion: " + "1" * 5000 + "\n", "cannot be parsed"),
        ("", "metadata"),
    ],
)
def test_bad_metadata_is_named(text: str, sentence: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        check_metadata(text.encode(), LENIENT)
    assert sentence in str(refusal.value)
    assert check_metadata(text.encode(), UploadPolicy(metadata="warn"))


def test_unknown_fields_warn_and_private_classifiers_pass() -> None:
    data = (HEAD.format("2.4") + "New-Field: x\nClassifier: Private :: Do Not Upload\n").encode()
    (warning,) = check_metadata(data, LENIENT)
    assert "new-field" in warning
    with pytest.raises(PidexError, match="new-field"):
        check_metadata(data, UploadPolicy(unknown_fields="error"))


def test_direct_urls_are_a_switch() -> None:
    data = (HEAD.format("2.1") + "Requires-Dist: other @ https://example.com/other.whl\n").encode()
    assert check_metadata(data, LENIENT) == ()
    with pytest.raises(BadRequest, match="direct dependency"):
        check_metadata(data, UploadPolicy(direct_urls=False))
