"""Libraries that read an index parse every page of the running server; html5lib is strict."""

from __future__ import annotations

import warnings

import html5lib
import pytest
from mousebender import simple
from packaging.utils import canonicalize_name
from pypi_simple import ACCEPT_HTML_ONLY, ACCEPT_JSON_ONLY, PyPISimple

from tests.walks.server import Server, anchors, fetch

pytestmark = pytest.mark.clients

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize("accept", [ACCEPT_JSON_ONLY, ACCEPT_HTML_ONLY])
def test_pypi_simple_reads_all(server: Server, accept: str) -> None:
    with warnings.catch_warnings(), PyPISimple(server.index_url, accept=accept) as client:
        warnings.simplefilter("error")
        index = client.get_index_page()
        assert index.repository_version is not None
        assert {"demo", "Zope.Odd_Name", "eggy", "classic"} <= set(index.projects)
        for name in index.projects:
            page = client.get_project_page(name)
            assert page.packages
            for package in page.packages:
                assert package.digests["sha256"]
                assert package.version
                if package.has_metadata:
                    assert b"Metadata-Version" in client.get_package_metadata_bytes(package)


@pytest.mark.parametrize("accept", [JSON, HTML])
def test_mousebender_reads_all(server: Server, accept: str) -> None:
    answer = fetch(server.index_url, {"Accept": accept})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Its HTML reader knows no version after 1.1, and says so of PyPI's pages too.
        warnings.simplefilter("ignore", simple.APIVersionWarning)
        index = simple.parse_project_index(answer.text, answer.headers["content-type"].partition(";")[0])
        assert len(index["projects"]) > 10
        for project in index["projects"]:
            url = f"{server.index_url}{canonicalize_name(project['name'])}/"
            answer = fetch(url, {"Accept": accept})
            media_type = answer.headers["content-type"].partition(";")[0]
            assert media_type == accept
            if accept == JSON:
                details = simple.parse_project_details(answer.text, media_type, project["name"])
            else:
                details = simple.from_project_details_html(answer.text, project["name"])
            assert details["files"]
            assert all(file["hashes"]["sha256"] for file in details["files"])


def test_html5lib_accepts_every_page(server: Server) -> None:
    strict = html5lib.HTMLParser(strict=True)
    names = fetch(server.index_url, {"Accept": "text/html"})
    paths = ["/", "/packages/", "/simple/", *(f"/simple/{href}" for href, _ in anchors(names.text))]
    assert len(paths) > 10
    for path in paths:
        answer = server.get(path, {"Accept": "text/html"})
        assert answer.status == 200
        strict.parse(answer.text)
