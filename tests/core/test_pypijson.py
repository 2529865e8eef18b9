"""PyPI's JSON API, key by key, and pypiserver's short form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import metadata
from pidex.core.errors import NotFound
from pidex.core.model import Advisory, PackageType, Page, Span, Status
from pidex.core.pypijson import brief_json, chosen_version, metadata_file, project_json
from tests.core.pages import file, page

BASE = "https://index.example/main"
CORE_METADATA = b"""\
Metadata-Version: 2.4
Name: Demo
Version: 1.0
Summary: Shows things
Author: Ada
Author-email: ada@example.org
Maintainer: Bob
Maintainer-email: bob@example.org
Home-page: https://example.org/
Download-URL: https://example.org/get
Keywords: show,things
Platform: any
License: free
License-Expression: Apache-2.0
License-File: LICENSE
Classifier: Programming Language :: Python
Project-URL: Docs, https://example.org/docs
Requires-Python: >=3.8
Requires-Dist: other>1
Provides-Extra: more
Dynamic: Version
Description-Content-Type: text/markdown

# Demo <b>&</b> "more"
"""
FILE_KEYS = {
    "comment_text",
    "core-metadata",
    "digests",
    "downloads",
    "filename",
    "has_sig",
    "md5_digest",
    "packagetype",
    "python_version",
    "requires_python",
    "size",
    "upload_time",
    "upload_time_iso_8601",
    "url",
    "yanked",
    "yanked_reason",
}
#: protocol 13.1, in its order.
INFO_KEYS = {
    "name",
    "version",
    "summary",
    "description",
    "description_content_type",
    "keywords",
    "license",
    "license_expression",
    "license_files",
    "classifiers",
    "author",
    "author_email",
    "maintainer",
    "maintainer_email",
    "requires_python",
    "platform",
    "downloads",
    "package_url",
    "project_url",
    "project_urls",
    "release_url",
    "requires_dist",
    "provides_extra",
    "docs_url",
    "bugtrack_url",
    "home_page",
    "download_url",
    "yanked",
    "yanked_reason",
    "dynamic",
}


def read(one: Page, version: str | None = None, data: bytes | None = CORE_METADATA) -> dict[str, Any]:
    told = None if data is None else metadata.parse(data)
    body = project_json(one, version, told, base_url=BASE)
    assert body.endswith(b"}\n")
    assert body.count(b"\n") == 1
    answer = dict(json.loads(body))
    assert (
        body == json.dumps(answer, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    )
    return answer


def release(*versions: str, **changes: Any) -> list[Any]:
    return [file(f"demo-{text}-py3-none-any.whl", version=text, **changes) for text in versions]


class TestProject:
    def test_a_file_key_by_key(self) -> None:
        one = file(
            "demo-1.0+cu118-py3-none-any.whl",
            version="1.0+cu118",
            requires_python=">=3.8",
            metadata_sha256="e7" * 32,
            yanked="broken",
        )
        (entry,) = read(page(one))["urls"]
        assert entry == {
            "comment_text": None,
            "core-metadata": {"sha256": "e7" * 32},
            "digests": {"md5": "d5" * 16, "sha256": "5a" * 32, "blake2b_256": "b2" * 32},
            "downloads": -1,
            "filename": "demo-1.0+cu118-py3-none-any.whl",
            "has_sig": False,
            "md5_digest": "d5" * 16,
            "packagetype": "bdist_wheel",
            "python_version": "py3",
            "requires_python": ">=3.8",
            "size": 1234,
            "upload_time": "2023-11-14T22:13:20",
            "upload_time_iso_8601": "2023-11-14T22:13:20.123456Z",
            "url": f"{BASE}/packages/b2/b2/{'b2' * 30}/demo-1.0%2Bcu118-py3-none-any.whl",
            "yanked": True,
            "yanked_reason": "broken",
        }

    def test_a_plain_sdist(self) -> None:
        one = file("demo-1.0.tar.gz", packagetype=PackageType.SDIST, python_version="source")
        (entry,) = read(page(one))["urls"]
        assert set(entry) == FILE_KEYS
        assert (entry["packagetype"], entry["python_version"], entry["core-metadata"]) == (
            "sdist",
            "source",
            False,
        )
        assert (entry["yanked"], entry["yanked_reason"], entry["requires_python"]) == (False, None, None)

    def test_info_key_by_key(self) -> None:
        info = read(page(*release("1.0")))["info"]
        assert set(info) == INFO_KEYS
        assert info["name"] == "Demo"
        assert info["version"] == "1.0"
        assert info["summary"] == "Shows things"
        assert info["description"].strip() == '# Demo <b>&</b> "more"'
        assert info["description_content_type"] == "text/markdown"
        assert info["keywords"] == "show,things"
        assert info["license"] == "free"
        assert info["license_expression"] == "Apache-2.0"
        assert info["license_files"] == ["LICENSE"]
        assert info["classifiers"] == ["Programming Language :: Python"]
        assert (info["author"], info["author_email"]) == ("Ada", "ada@example.org")
        assert (info["maintainer"], info["maintainer_email"]) == ("Bob", "bob@example.org")
        assert info["requires_python"] == ">=3.8"
        assert info["platform"] == "any"
        assert info["downloads"] == {"last_day": -1, "last_month": -1, "last_week": -1}
        assert info["project_urls"] == {"Docs": "https://example.org/docs"}
        assert info["requires_dist"] == ["other>1"]
        assert info["provides_extra"] == ["more"]
        assert [each.lower() for each in info["dynamic"]] == ["version"]
        assert (info["home_page"], info["download_url"]) == (
            "https://example.org/",
            "https://example.org/get",
        )
        assert (info["docs_url"], info["bugtrack_url"]) == (None, None)
        assert (info["yanked"], info["yanked_reason"]) == (False, None)
        assert info["package_url"] == info["project_url"] == f"{BASE}/project/demo/"
        assert info["release_url"] == f"{BASE}/project/demo/{info['version']}/"

    def test_what_the_metadata_does_not_say_is_null(self) -> None:
        info = read(page(*release("1.0")), data=b"Metadata-Version: 2.1\nName: Demo\nVersion: 1.0\n")["info"]
        assert set(info) == INFO_KEYS
        for key in (
            "requires_dist",
            "provides_extra",
            "license_files",
            "dynamic",
            "project_urls",
            "requires_python",
        ):
            assert info[key] is None
        assert info["classifiers"] == []

    def test_a_file_without_metadata_has_the_same_keys(self) -> None:
        info = read(page(*release("1.0", requires_python=">=3.9")), data=None)["info"]
        assert set(info) == INFO_KEYS
        assert info["summary"] is None
        assert info["requires_python"] == ">=3.9"

    def test_the_rest_of_the_answer(self) -> None:
        answer = read(page(*release("1.0", "1.1")))
        assert set(answer) == {"info", "urls", "releases", "vulnerabilities", "last_serial", "ownership"}
        assert answer["vulnerabilities"] == []
        assert answer["last_serial"] == 42
        assert answer["ownership"] == {"roles": [], "organization": None}
        assert list(answer["releases"]) == ["1.0", "1.1"]
        assert answer["releases"]["1.1"] == answer["urls"]

    def test_vulnerabilities_are_those_of_the_release(self) -> None:
        known = Advisory(
            "GHSA-1", "", False, 3, "It leaks", "More", ("CVE-1",), ("1.0",), (Span("1.0", "1.1"),)
        )
        one = replace(page(*release("1.0", "1.1")), advisories=(known,))
        assert read(one)["vulnerabilities"] == []
        assert read(one, "1.0")["vulnerabilities"] == [
            {
                "id": "GHSA-1",
                "source": "osv",
                "link": "https://osv.dev/vulnerability/GHSA-1",
                "aliases": ["CVE-1"],
                "details": "More",
                "summary": "It leaks",
                "fixed_in": ["1.1"],
                "withdrawn": None,
            }
        ]

    def test_an_answer_about_a_version_has_no_releases(self) -> None:
        answer = read(page(*release("1.0", "1.1")), "1.0")
        assert "releases" not in answer
        assert [entry["filename"] for entry in answer["urls"]] == ["demo-1.0-py3-none-any.whl"]

    def test_spellings_of_one_version_are_one_release(self) -> None:
        both = [*release("1.0"), file("demo-1.0.0.tar.gz", version="1.0.0")]
        answer = read(page(*both, versions=("1.0",)))
        assert list(answer["releases"]) == ["1.0"]
        assert len(answer["urls"]) == 2

    @pytest.mark.parametrize("base", ["http://127.0.0.1:3141", "http://127.0.0.1:3141/"])
    def test_the_path_of_a_file_begins_with_packages(self, base: str) -> None:
        (entry,) = json.loads(project_json(page(file()), None, None, base_url=base))["urls"]
        assert urlsplit(entry["url"]).path.startswith("/packages/b2/")

    def test_a_yanked_release_says_so(self) -> None:
        info = read(page(*release("1.0", yanked=""), file("demo-1.0.tar.gz", yanked="oops")))["info"]
        assert (info["yanked"], info["yanked_reason"]) == (True, "oops")
        info = read(page(*release("1.0", yanked="oops"), file("demo-1.0.tar.gz")))["info"]
        assert (info["yanked"], info["yanked_reason"]) == (False, None)

    def test_a_version_without_files_is_listed_empty(self) -> None:
        answer = read(page(*release("1.0"), versions=("1.0", "2.0")))
        assert answer["releases"]["2.0"] == []
        assert answer["info"]["version"] == "1.0"

    @given(st.binary(max_size=300), st.text(st.characters(codec=None, exclude_categories=()), max_size=20))
    def test_no_metadata_and_no_reason_makes_it_fail(self, data: bytes, reason: str) -> None:
        one = page(*release("1.0", yanked=reason), name=reason)
        told = metadata.parse(b"Name: Demo\nSummary: " + data)
        info = json.loads(project_json(one, None, told, base_url=BASE))["info"]
        assert set(info) == INFO_KEYS


class TestLatest:
    @pytest.mark.parametrize(
        ("versions", "latest"),
        [
            (("1.0", "1.1"), "1.1"),
            (("1.9", "1.10"), "1.10"),
            (("1.0", "2.0rc1"), "1.0"),
            (("1.0a1", "1.0rc1"), "1.0rc1"),
            (("1.0.dev1", "1.0a1"), "1.0a1"),
            (("2.0", "1!0.1"), "1!0.1"),
            (("1.0", "1.0+local"), "1.0+local"),
            (("1.0", "1.0.post1"), "1.0.post1"),
            (("old-and-odd", "0.1"), "0.1"),
            (("old-and-odd",), "old-and-odd"),
        ],
    )
    def test_final_before_prerelease_then_the_highest(self, versions: tuple[str, ...], latest: str) -> None:
        assert chosen_version(page(*release(*versions)), None) == latest
        assert chosen_version(page(*release(*reversed(versions))), None) == latest

    def test_not_yanked_comes_first_of_all(self) -> None:
        assert chosen_version(page(*release("1.0rc1"), *release("2.0", yanked="")), None) == "1.0rc1"
        assert chosen_version(page(*release("1.0", "2.0", yanked="")), None) == "2.0"

    def test_a_release_is_yanked_when_all_its_files_are(self) -> None:
        half = [*release("2.0", yanked="x"), file("demo-2.0.tar.gz", version="2.0")]
        assert chosen_version(page(*release("1.0"), *half), None) == "2.0"

    @pytest.mark.parametrize("asked", ["1.0", "1", "1.0.0", "v1.0", " 1.0 "])
    def test_every_spelling_of_a_version_is_found(self, asked: str) -> None:
        assert chosen_version(page(*release("1.0", "1.1")), asked) == "1.0"

    @pytest.mark.parametrize("asked", ["1.2", "", "latest", "1.0rc1", "\x00", "9" * 5_000])
    def test_an_unknown_version_is_not_found(self, asked: str) -> None:
        with pytest.raises(NotFound):
            project_json(page(*release("1.0")), asked, None, base_url=BASE)

    def test_nothing_and_quarantine_are_not_found(self) -> None:
        with pytest.raises(NotFound):
            chosen_version(page(), None)
        for version in (None, "1.0"):
            with pytest.raises(NotFound, match="quarantined"):
                chosen_version(page(*release("1.0"), status=Status.QUARANTINED), version)


class TestMetadataFile:
    def test_a_wheel_speaks_before_an_sdist_and_that_before_the_rest(self) -> None:
        egg = file("demo-1.0-py2.7.egg", packagetype=PackageType.EGG)
        sdist = file("demo-1.0.tar.gz", packagetype=PackageType.SDIST)
        wheel = file(metadata_sha256="e7" * 32)
        assert metadata_file(page(egg, sdist, wheel), "1.0") is wheel
        assert metadata_file(page(egg, sdist), "1.0") is sdist
        assert metadata_file(page(egg), "1.0") is egg
        assert metadata_file(page(versions=("1.0",)), "1.0") is None


class TestBrief:
    def test_is_what_pypiserver_answers(self) -> None:
        one = page(*release("1.0", "1.1"))
        place = f"{BASE}/packages/b2/b2/{'b2' * 30}"
        assert json.loads(brief_json(one, base_url=BASE)) == {
            "info": {"version": "1.1"},
            "releases": {
                "1.0": [{"url": f"{place}/demo-1.0-py3-none-any.whl"}],
                "1.1": [{"url": f"{place}/demo-1.1-py3-none-any.whl"}],
            },
        }

    def test_nothing_is_not_found(self) -> None:
        with pytest.raises(NotFound):
            brief_json(page(), base_url=BASE)
