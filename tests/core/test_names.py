"""Names, versions and file names: what is read from them, and what is refused."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    canonicalize_version,
    parse_sdist_filename,
    parse_wheel_filename,
)

from pidex.core import names
from pidex.core.errors import BadName
from pidex.core.model import PackageType

SDIST, WHEEL, EGG = PackageType.SDIST, PackageType.WHEEL, PackageType.EGG
WININST, MSI, RPM = PackageType.WININST, PackageType.MSI, PackageType.RPM

#: file name: name, version, kind, python version
GOOD: dict[str, tuple[str, str, PackageType, str]] = {
    # today's sdists (SDN-1), every extension
    "foo-1.0.tar.gz": ("foo", "1.0", SDIST, "source"),
    "foo_bar-1.0.tar.gz": ("foo_bar", "1.0", SDIST, "source"),
    "foo-1.0.tgz": ("foo", "1.0", SDIST, "source"),
    "foo-1.0.tar.bz2": ("foo", "1.0", SDIST, "source"),
    "foo-1.0.tar.xz": ("foo", "1.0", SDIST, "source"),
    "foo-1.0.zip": ("foo", "1.0", SDIST, "source"),
    "foo-1.0.ZIP": ("foo", "1.0", SDIST, "source"),
    "foo-1.0.TAR.GZ": ("foo", "1.0", SDIST, "source"),
    "pytz-2012b.tar.bz2": ("pytz", "2012b", SDIST, "source"),
    "package-20000101.zip": ("package", "20000101", SDIST, "source"),
    "x-1.tar.gz": ("x", "1", SDIST, "source"),
    "3to2-1.1.1.zip": ("3to2", "1.1.1", SDIST, "source"),
    # epochs and local versions (VER-4, VER-5)
    "foo-1!2.0.tar.gz": ("foo", "1!2.0", SDIST, "source"),
    "foo-1.0+cu118.tar.gz": ("foo", "1.0+cu118", SDIST, "source"),
    "foo-1.0+local.1.zip": ("foo", "1.0+local.1", SDIST, "source"),
    # names with dashes, dots, capitals
    "zope.interface-5.0.tar.gz": ("zope.interface", "5.0", SDIST, "source"),
    "python-dateutil-2.8.2.tar.gz": ("python-dateutil", "2.8.2", SDIST, "source"),
    "Foo.Bar-baz_qux-0.1a1.tar.gz": ("Foo.Bar-baz_qux", "0.1a1", SDIST, "source"),
    "ABC12-34_V1X-1.2.3.zip": ("ABC12-34_V1X", "1.2.3", SDIST, "source"),
    "A100-200-XYZ-1.2.3.zip": ("A100-200-XYZ", "1.2.3", SDIST, "source"),
    "backports-2-1.0.tar.gz": ("backports-2", "1.0", SDIST, "source"),
    "python-2.7-compat-1.0.tar.gz": ("python-2.7-compat", "1.0", SDIST, "source"),
    "package-123-20000101.zip": ("package-123", "20000101", SDIST, "source"),
    "package-123-v1.1_3-8.1.zip": ("package-123-v1.1_3", "8.1", SDIST, "source"),
    # versions with dashes (SDN-4)
    "foo-1.0-1.tar.gz": ("foo", "1.0-1", SDIST, "source"),
    "foo-bar-1.0-1.tar.gz": ("foo-bar", "1.0-1", SDIST, "source"),
    "foo-3d-1.0-1.tar.gz": ("foo-3d", "1.0-1", SDIST, "source"),
    "foo-1.0-alpha-1.tar.gz": ("foo", "1.0-alpha-1", SDIST, "source"),
    "package-1.0.0-alpha.1.zip": ("package", "1.0.0-alpha.1", SDIST, "source"),
    "package-123-1.0.0-alpha.1.zip": ("package-123", "1.0.0-alpha.1", SDIST, "source"),
    "flup-1.0.3.dev-20110405.tar.gz": ("flup", "1.0.3.dev-20110405", SDIST, "source"),
    "flup-123-1.0.3.dev-20110405.tar.gz": ("flup-123", "1.0.3.dev-20110405", SDIST, "source"),
    "pytz-2012b-1.tar.gz": ("pytz", "2012b-1", SDIST, "source"),
    "package-1.3.7+build.11.e0f985a.zip": ("package", "1.3.7+build.11.e0f985a", SDIST, "source"),
    "package-2013.02.17.dev123.zip": ("package", "2013.02.17.dev123", SDIST, "source"),
    "foo-v1.1.3.zip": ("foo", "v1.1.3", SDIST, "source"),
    "foo-2-1.tar.gz": ("foo-2", "1", SDIST, "source"),  # as `packaging` reads it
    # versions that PEP 440 does not know
    "foo-1.0dev-r123.tar.gz": ("foo", "1.0dev-r123", SDIST, "source"),
    "package-v1-8.1.301.ga0df26f.zip": ("package-v1", "8.1.301.ga0df26f", SDIST, "source"),
    "package-v1.1-8.1.301.ga0df26f.zip": ("package-v1.1", "8.1.301.ga0df26f", SDIST, "source"),
    "pyelasticsearch-0.5-brainbot-1-20130712.zip": (
        "pyelasticsearch",
        "0.5-brainbot-1-20130712",
        SDIST,
        "source",
    ),
    "pkg-3!1.0-0.1.tgz": ("pkg", "3!1.0-0.1", SDIST, "source"),
    # wheels
    "foo-1.0-py3-none-any.whl": ("foo", "1.0", WHEEL, "py3"),
    "foo_bar-1.0-py2.py3-none-any.whl": ("foo_bar", "1.0", WHEEL, "py2.py3"),
    "Foo.Bar-1.0-py3-none-any.whl": ("Foo.Bar", "1.0", WHEEL, "py3"),
    "torch-2.0.1+cu118-cp311-cp311-linux_x86_64.whl": ("torch", "2.0.1+cu118", WHEEL, "cp311"),
    "foo-1!2.0-py3-none-any.whl": ("foo", "1!2.0", WHEEL, "py3"),
    "foo-1.0_1-py3-none-any.whl": ("foo", "1.0-1", WHEEL, "py3"),
    "foo-1.0.post1-py3-none-any.whl": ("foo", "1.0.post1", WHEEL, "py3"),
    "foo-1.0dev_r123-py2-none-any.whl": ("foo", "1.0dev-r123", WHEEL, "py2"),
    "numpy-1.26.0-cp39-cp39-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": (
        "numpy",
        "1.26.0",
        WHEEL,
        "cp39",
    ),
    "foo-1.0-cp313-cp313t-macosx_27_0_arm64.whl": ("foo", "1.0", WHEEL, "cp313"),
    "foo-1.0-cp315-abi3.abi3t-any.whl": ("foo", "1.0", WHEEL, "cp315"),
    "foo-1.0-cp39-abi3-corp_linux_x86_64.whl": ("foo", "1.0", WHEEL, "cp39"),
    "foo-1.0-1-py3-none-any.whl": ("foo", "1.0", WHEEL, "py3"),
    "pywin32-217-55-cp27-none-win32.whl": ("pywin32", "217", WHEEL, "cp27"),
    "foo-1.0-2024a-py3-none-any.whl": ("foo", "1.0", WHEEL, "py3"),
    "foo-1.0-cp313-cp313-linux_x86_64-cu128.whl": ("foo", "1.0", WHEEL, "cp313"),
    "foo-1.0-1-cp313-cp313-linux_x86_64-x86_64_v3.whl": ("foo", "1.0", WHEEL, "cp313"),
    # eggs
    "foo-1.0-py2.7.egg": ("foo", "1.0", EGG, "2.7"),
    "foo_bar-1.0-py2.7-linux-x86_64.egg": ("foo_bar", "1.0", EGG, "2.7"),
    "greenlet-0.3.4-py3.1-win-amd64.egg": ("greenlet", "0.3.4", EGG, "3.1"),
    "greenlet-0.3.4-py3.2-win32.egg": ("greenlet", "0.3.4", EGG, "3.2"),
    "lxml-4.0-py3.10-macosx-10.9-x86_64.egg": ("lxml", "4.0", EGG, "3.10"),
    "foo-1.0_1-py2.7.egg": ("foo", "1.0-1", EGG, "2.7"),
    "foo-1.0dev_r5-py2.5.egg": ("foo", "1.0dev-r5", EGG, "2.5"),
    "foo-1.0.egg": ("foo", "1.0", EGG, "any"),
    "foo-bar-1.0-py2.7.egg": ("foo-bar", "1.0", EGG, "2.7"),
    # installers
    "foo-1.0.win32.exe": ("foo", "1.0", WININST, "any"),
    "foo-1.0.win32-py2.7.exe": ("foo", "1.0", WININST, "2.7"),
    "foo-1.0.win32-py3.10.exe": ("foo", "1.0", WININST, "3.10"),
    "foo-1.0.win-amd64.exe": ("foo", "1.0", WININST, "any"),
    "gevent-1.0b1.win-amd64-py3.2.exe": ("gevent", "1.0b1", WININST, "3.2"),
    "package-name-0.0.1.alpha.1.win-amd64-py3.2.exe": ("package-name", "0.0.1.alpha.1", WININST, "3.2"),
    "foo-1.0.linux-x86_64.exe": ("foo", "1.0", WININST, "any"),
    "gevent-1.0b1.win32-py2.7.msi": ("gevent", "1.0b1", MSI, "2.7"),
    "foo-1.0.win-amd64.msi": ("foo", "1.0", MSI, "any"),
    "foo-bar-1.0.win32-py2.7.MSI": ("foo-bar", "1.0", MSI, "2.7"),
    # rpms
    "foo-1.0-1.noarch.rpm": ("foo", "1.0", RPM, "any"),
    "foo-1.0-1.src.rpm": ("foo", "1.0", RPM, "any"),
    "python-foo-1.0_1-2.el7.x86_64.rpm": ("python-foo", "1.0-1", RPM, "any"),
}

#: file name: what the reason says
BAD = {
    "docs.zip": "no version",
    "my-docs.zip": "no version",
    "foo-dev.tar.gz": "no version",
    "foo.egg": "no version",
    "foo-bar-py2.7.egg": "no version",
    "setup.exe": "no version",
    "foo-1.0.exe": "no version",
    "foo-1.0.msi": "no version",
    "foo.rpm": "no version",
    "foo-1.0.rpm": "no version",
    "foo-bar-1.noarch.rpm": "no version",
    "-1.0.tar.gz": "no version",
    "_foo-1.0.tar.gz": "no version",
    ".tar.gz": "no version",
    "package-name-0.0.1.dev0.linux-x86_64.tar.gz": "bdist_dumb",
    "package-name-0.0.1.dev0.macosx-10.10-intel.tar.gz": "bdist_dumb",
    "foo-1.0.win32.zip": "bdist_dumb",
    "foo-1.0.win-amd64.zip": "bdist_dumb",
    "foo-1.0.tar.Z": "extension",
    "foo-1.0.tar": "extension",
    "foo-1.0.deb": "extension",
    "foo-1.0.tar.gz.asc": "extension",
    "foo-1.0-py3-none-any.whl.metadata": "extension",
    "foo": "extension",
    "": "characters",
    "foo-1.0 (1).tar.gz": "characters",
    "foo-1.0 .tar.gz": "characters",
    "foo-1.0\n.tar.gz": "characters",
    "foo-1.0.tar.gz\n": "characters",
    "a/foo-1.0.tar.gz": "characters",
    "a\\foo-1.0.tar.gz": "characters",
    "foo-1.0\x7f.zip": "characters",
    "ſoo-1.0.tar.gz": "characters",  # NAM-1
    "\u212aelvin-1.0.tar.gz": "characters",
    "foo-١.0.tar.gz": "characters",
    "foo-1.0-py3-none-any.WHL": "lower case",
    "foo-1.0.whl": "no wheel's name",
    "foo-py3-none-any.whl": "no wheel's name",
    "foo-bar-1.0-py3-none-any.whl": "no version",
    "foo-1.0-1-2-3-py3-none-any.whl": "no wheel's name",
    "foo-x.y-py3-none-any.whl": "no version",
    "_foo-1.0-py3-none-any.whl": "no project name",
    "foo-1.0-3py-none-any.whl": "no compatibility tags",
    "foo-1.0-1-3py-none-any.whl": "no compatibility tags",
    "foo-1.0-py3..py2-none-any.whl": "no compatibility tags",
    "foo-1.0-py3-none-.whl": "no compatibility tags",
    "foo-1.0-1!-py3-none-any.whl": "no build tag",
    "foo-1.0-cp313-cp313-linux_x86_64-CU128.whl": "no variant label",
    "a" * 197 + "-1.0.tar.gz": "longer than 200",
}


@pytest.mark.parametrize("filename", GOOD)
def test_what_a_file_name_says(filename: str) -> None:
    found = names.parse(filename)
    assert (found.name, found.version, found.packagetype, found.python_version) == GOOD[filename]
    assert found.filename == filename
    assert found.project == re.sub(r"[-_.]+", "-", found.name).lower()


def test_there_are_enough_vectors() -> None:
    assert len(GOOD) + len(BAD) >= 80


@pytest.mark.parametrize("filename", BAD)
def test_what_no_file_name_is(filename: str) -> None:
    with pytest.raises(BadName, match=re.escape(BAD[filename])):
        names.parse(filename)


def test_build_tag_and_variant_are_told_apart() -> None:
    both = names.parse("foo-1.0-1a-cp313-cp313-linux_x86_64-x86_64_v3.whl")
    assert (both.build, both.variant) == ("1a", "x86_64_v3")
    label = names.parse("foo-1.0-cp313-cp313-linux_x86_64-cu128.whl")
    assert (label.build, label.variant) == (None, "cu128")
    build = names.parse("foo-1.0-12-cp313-cp313-linux_x86_64.whl")
    assert (build.build, build.variant) == ("12", None)


def test_a_name_that_multiplies_out_to_192000_tags_is_refused_by_its_length() -> None:
    tags = "-".join(
        ".".join(f"{letter}{n}" for n in range(count)) for letter, count in (("p", 120), ("a", 40))
    )
    with pytest.raises(BadName, match="longer than 200"):
        names.parse(f"foo-1.0-{tags}-{'.'.join(f'l{n}' for n in range(40))}.whl")


@pytest.mark.parametrize("name", ["a", "A", "0", "a-b", "a__b", "a.-_b", "json", "Foo.Bar"])
def test_names_that_are_valid(name: str) -> None:
    assert names.is_name(name)


@pytest.mark.parametrize(
    "name", ["", "-", "-a", "a-", ".a", "a_", "a b", "a\n", "ſa", "\u212aa", "é", "a/b", "a+b"]
)
def test_names_that_are_not(name: str) -> None:
    assert not names.is_name(name)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1.0", "1"),
        ("1.0.0", "1"),
        ("0.0", "0"),
        ("1!2.0", "1!2"),
        ("1.0+cu118", "1+cu118"),
        ("v1.0-1", "1.post1"),
        ("1.0.0RC1", "1rc1"),
        ("10.10.0", "10.10"),
        (" 1.0 ", "1"),
        (" Foo-1 ", "foo-1"),
        ("1" * 5000, "1" * 5000),
        ("1.0." + "1" * 200, "1.0." + "1" * 200),
    ],
)
def test_canonical_versions(text: str, canonical: str) -> None:
    assert names.canonical_version(text) == canonical


def test_versions_sort_as_installers_sort_them_with_unknown_ones_first() -> None:
    ordered = [
        "0.5-brainbot-1",
        "0.5-brainbot-02",
        "0.5-brainbot-10",
        "1.0.dev1",
        "1.0a1",
        "1.0rc1",
        "1.0",
        "1.0+cu118",
    ]
    ordered += ["1.0.post1", "1.10", "2.0", "1!0.1"]
    backwards = ordered[::-1]
    assert sorted(backwards, key=names.version_key) == ordered


@pytest.mark.parametrize(
    ("version", "early"),
    [
        ("1.0", False),
        ("1.0rc1", True),
        ("1.0.dev3", True),
        ("1.0.post1", False),
        ("1.0+x", False),
        ("odd", True),
    ],
)
def test_pre_releases(version: str, early: bool) -> None:
    assert names.is_prerelease(version) is early


@pytest.mark.parametrize(
    "filename",
    [
        ".hidden", ".in.foo-1.0.tar.gz.", ".pureftpd-upload.1a.2", "foo-1.0.tar.gz.part", "~foo", "#foo#",
        "foo-1.0.tar.gz.filepart", "foo-1.0.zip~", "foo-1.0.tar.gz.orig", "foo.TMP", ".git",
        ".pidex-staging-1",
        "foo-1.0-py3-none-any.whl.crdownload", "foo-1.0_LOCAL_12345.tar.gz", "foo_BACKUP_77.whl",
    ],
)  # fmt: skip
def test_temporary_names_are_never_seen(filename: str) -> None:
    assert names.is_temporary(filename)


@pytest.mark.parametrize(
    "filename",
    ["foo-1.0.tar.gz", "my_local_2.0-1.0.tar.gz", "base_3-1.0.zip", "part-1.0.zip", "tmp-1.0.tgz", "README"],
)
def test_other_names_are_seen(filename: str) -> None:
    assert not names.is_temporary(filename)


@pytest.mark.parametrize("suffix", [".asc", ".sig", ".metadata", ".sha256", ".md5", ".provenance"])
@pytest.mark.parametrize("filename", ["foo-1.0.tar.gz", "foo-1.0-py3-none-any.whl"])
def test_sidecars_are_no_packages(filename: str, suffix: str) -> None:
    assert names.is_package(filename)
    assert not names.is_package(filename + suffix)


word = st.text(string.ascii_letters + string.digits, min_size=1, max_size=6)
name = st.builds(
    "".join, st.lists(st.sampled_from(["a", "b2", "Xy", "3d", "-", "_", "."]), min_size=1, max_size=7)
)
part = st.integers(0, 30).map(str)
version = st.builds(
    lambda epoch, release, tail, local: epoch + ".".join(release) + tail + local,
    st.sampled_from(["", "1!"]),
    st.lists(part, min_size=1, max_size=4),
    st.sampled_from(["", "a1", "rc2", ".post1", ".dev3", "b1.dev2"]),
    st.sampled_from(["", "+cu118", "+a.1"]),
)


@given(st.text(max_size=60))
@example("foo-" + "1" * 190 + ".zip")
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for filename in (text, *(text + kind.suffix for kind in names.EXTENSIONS)):
        try:
            found = names.parse(filename)
        except BadName:
            pass
        else:
            assert names.is_name(found.name)
            assert names.normalize(found.project) == found.project
            assert found.version
            assert filename.startswith(found.name)


@given(st.text(max_size=40))
def test_version_functions_never_fail(text: str) -> None:
    assert names.canonical_version(names.canonical_version(text)) == names.canonical_version(text)
    assert names.version_key(text) <= names.version_key(text)
    names.is_prerelease(text)
    names.normalized_version(text)


@given(st.lists(st.one_of(version, st.text("0123456789ab.-", max_size=8)), max_size=8))
def test_version_keys_can_always_be_compared(versions: list[str]) -> None:
    ordered = sorted(versions, key=names.version_key)
    known = [names.is_version(each) for each in ordered]
    assert known == sorted(known)


@given(version)
def test_canonical_versions_are_those_of_packaging(text: str) -> None:
    assert names.canonical_version(text) == canonicalize_version(text)


@given(name)
def test_normal_names_are_those_of_packaging(text: str) -> None:
    assert names.normalize(text) == canonicalize_name(text)
    assert names.is_name(names.normalize(text)) == names.is_name(text)


@given(name, version, st.sampled_from([".tar.gz", ".zip"]))
def test_modern_sdists_are_read_as_packaging_reads_them(name: str, version: str, suffix: str) -> None:
    assume(names.is_name(name) and "-" not in name)
    filename = f"{name}-{version}{suffix}"
    try:
        project, parsed = parse_sdist_filename(filename)
    except InvalidSdistFilename:
        assume(False)
    found = names.parse(filename)
    assert found.project == project
    assert names.canonical_version(found.version) == canonicalize_version(parsed)


@given(
    word,
    version,
    st.sampled_from(["", "-1", "-2b"]),
    st.sampled_from(
        ["py3-none-any", "cp39.cp310-abi3-manylinux_2_17_x86_64.linux_x86_64", "cp313-cp313t-win_amd64"]
    ),
)
def test_wheels_are_read_as_packaging_reads_them(name: str, version: str, build: str, tags: str) -> None:
    filename = f"{name}-{version}{build}-{tags}.whl"
    try:
        project, parsed, number, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        assume(False)
    found = names.parse(filename)
    assert found.project == project
    assert names.canonical_version(found.version) == canonicalize_version(parsed)
    assert (found.build or "") == "".join(map(str, number))
