"""PyPI's JSON API about one project or release, and pypiserver's short form of it, as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from pidex.core.advisories import Advisories
from pidex.core.errors import NotFound
from pidex.core.metadata import Metadata
from pidex.core.model import Advisory, File, PackageType, Page, Status
from pidex.core.names import canonical_version, is_prerelease, version_key
from pidex.core.simpleapi import file_path, to_json, upload_time_text


def chosen_version(page: Page, version: str | None) -> str:
    """The version that an answer is about, spelled as the page spells it.

    Without `version` the latest: not yanked before yanked, final before pre-release, then the highest
    (VER-6). With one, any equivalent spelling of it (VER-3). Raises `NotFound` where there is no such
    release, or the project is quarantined (13.1).
    """
    if page.status is Status.QUARANTINED:
        raise NotFound(f"Project {page.name} is quarantined: nothing is offered of it.")
    releases = _releases(page)
    if version is not None:
        return _spelled(releases, version, page.name)
    if not releases:
        raise NotFound(f"Project {page.name} has no release.")
    return max(releases, key=lambda text: _rank(text, releases[text]))


def project_json(page: Page, version: str | None, metadata: Metadata | None, *, base_url: str) -> bytes:
    """The answer of `/pypi/<name>/json` or, with a version, `/pypi/<name>/<version>/json` (protocol 13.1).

    `metadata` is that of `metadata_file(page, chosen_version(page, version))`, or None where it has none.
    `base_url` is the absolute URL of the index; the URLs of files continue it with `/packages/`. Keys are
    sorted, a newline ends it. Raises `NotFound` as `chosen_version` does.
    """
    chosen = chosen_version(page, version)
    releases = _releases(page)
    base = base_url.rstrip("/")
    answer: dict[str, object] = {
        "info": _info(page, chosen, releases[chosen], metadata, base),
        "urls": [_file(file, base) for file in releases[chosen]],
        "vulnerabilities": [_vulnerability(each) for each in Advisories(page.advisories).of(chosen)],
        "last_serial": page.serial,
        "ownership": {"roles": [], "organization": None},
    }
    if version is None:
        answer["releases"] = {text: [_file(file, base) for file in files] for text, files in releases.items()}
    return to_json(answer, sort_keys=True)


def brief_json(page: Page, *, base_url: str) -> bytes:
    """The answer of pypiserver's `/<name>/json`: the latest version, and the URLs of all files by version.

    Raises `NotFound` as `chosen_version` does.
    """
    base = base_url.rstrip("/")
    answer = {
        "info": {"version": chosen_version(page, None)},
        "releases": {
            text: [{"url": _url(file, base)} for file in files] for text, files in _releases(page).items()
        },
    }
    return to_json(answer, sort_keys=True)


def metadata_file(page: Page, version: str) -> File | None:
    """The file whose metadata speaks for a release that `chosen_version` returned; None where it has none.

    A wheel before an sdist, an sdist before the old kinds.
    """
    files = _releases(page).get(version, [])
    return min(files, key=_telling, default=None)


def _releases(page: Page) -> dict[str, list[File]]:
    """Files by version. `1.0` and `1.0.0` are one release (VER-2), spelled as in `page.versions`."""
    spelling: dict[str, str] = {}
    for text in page.versions:
        spelling.setdefault(canonical_version(text), text)
    releases: dict[str, list[File]] = {text: [] for text in spelling.values()}
    for file in page.files:
        text = spelling.setdefault(canonical_version(file.version), file.version)
        releases.setdefault(text, []).append(file)
    return releases


def _spelled(releases: Iterable[str], version: str, name: str) -> str:
    wanted = canonical_version(version)
    for text in releases:
        if canonical_version(text) == wanted:
            return text
    raise NotFound(f"Project {name} has no release {version}.")


def _telling(file: File) -> tuple[bool, bool]:
    return file.metadata_sha256 is None, file.packagetype is not PackageType.SDIST


def _rank(version: str, files: list[File]) -> tuple[bool, bool, bool, object]:
    return bool(files), not _all_yanked(files), not is_prerelease(version), version_key(version)


def _all_yanked(files: list[File]) -> bool:
    return bool(files) and all(file.yanked is not None for file in files)


def _info(
    page: Page, version: str, files: list[File], metadata: Metadata | None, base: str
) -> Mapping[str, object]:
    yanked = _all_yanked(files)
    here = f"{base}/project/{page.project}/"
    told = _told(metadata) if metadata else {}
    return {
        **dict.fromkeys(_FIELDS),
        **told,
        "name": page.name,
        "version": version,
        "classifiers": told.get("classifiers") or [],  # readers go through it without asking
        "requires_python": told["requires_python"]
        if told
        else _first(file.requires_python for file in files),
        "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
        "package_url": here,
        "project_url": here,
        "release_url": f"{here}{quote(version, safe='!+~')}/",
        "docs_url": None,
        "bugtrack_url": None,
        "yanked": yanked,
        "yanked_reason": _first(file.yanked for file in files) if yanked else None,
    }


def _first(texts: Iterable[str | None]) -> str | None:
    return next((text for text in texts if text), None)


_FIELDS = (
    "author",
    "author_email",
    "classifiers",
    "description",
    "description_content_type",
    "download_url",
    "dynamic",
    "home_page",
    "keywords",
    "license",
    "license_expression",
    "license_files",
    "maintainer",
    "maintainer_email",
    "platform",
    "project_urls",
    "provides_extra",
    "requires_dist",
    "requires_python",
    "summary",
)


def _told(metadata: Metadata) -> dict[str, object]:
    """What the metadata says, absent and empty lists as null."""
    fields: dict[str, object] = {name: getattr(metadata, name) or None for name in _FIELDS}
    fields["project_urls"] = dict(metadata.project_urls) or None
    return fields


def _file(file: File, base: str) -> dict[str, object]:
    """A file's line. What nobody knows of an upstream's is left out, or null where readers look for it."""
    moment = upload_time_text(file.upload_time) if file.upload_time >= 0 else None
    tail = file.blake2b_256
    # An upstream's address that is not of PyPI's form holds no digest of the bytes.
    known = not file.origin or f"/{tail[:2]}/{tail[2:4]}/{tail[4:]}/" in file.url
    digests = {"blake2b_256": tail if known else "", "md5": file.md5, "sha256": file.sha256}
    return {
        "comment_text": None,
        "core-metadata": {"sha256": file.metadata_sha256} if file.metadata_sha256 else False,
        "digests": {name: digest for name, digest in digests.items() if digest},
        "downloads": -1,
        "filename": file.filename,
        "has_sig": False,
        "md5_digest": file.md5 or None,
        "packagetype": file.packagetype.value,
        "python_version": file.python_version,
        "requires_python": file.requires_python or None,
        "size": file.size if file.size >= 0 else None,
        "upload_time": moment and moment.partition(".")[0],
        "upload_time_iso_8601": moment,
        "url": _url(file, base),
        "yanked": file.yanked is not None,
        "yanked_reason": file.yanked or None,
    }


def _vulnerability(advisory: Advisory) -> dict[str, object]:
    return {
        "id": advisory.id,
        "source": "osv",
        "link": advisory.link,
        "aliases": [*advisory.aliases],
        "details": advisory.details,
        "summary": advisory.summary or None,
        "fixed_in": [*advisory.fixed_in],
        "withdrawn": None,
    }


def _url(file: File, base: str) -> str:
    return f"{base}/packages/{file_path(file)}"
