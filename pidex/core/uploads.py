"""The upload form: what clients send, what is asked of it, and the sentences of a refusal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from pidex.core.errors import BadName, BadRequest, TooLarge
from pidex.core.model import Distribution, PackageType
from pidex.core.names import (
    canonical_version,
    is_name,
    is_version,
    look_alike,
    normalize,
    normalized_version,
    parse,
)

Severity = Literal["off", "warn", "error"]

#: Spellings that clients use for one field (protocol.md 7.2, trap 19).
ALIASES = {
    "license_files": "license_file",
    "provides_extras": "provides_extra",
    "import_names": "import_name",
    "import_namespaces": "import_namespace",
}
METADATA_VERSIONS = frozenset({"1.0", "1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"})
#: Names that are uploaded by mistake and never meant (NAM-5).
MISTAKEN_NAMES = frozenset({"requirements-txt", "rrequirements-txt"})
_DIGESTS = {
    "md5_digest": ("md5", 32),
    "sha256_digest": ("sha256", 64),
    "blake2_256_digest": ("blake2_256", 64),
}
_HEX = re.compile(r"[0-9a-f]+")
_FILETYPES = frozenset(kind.value for kind in PackageType) | {"bdist_dumb", "bdist_dmg"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Normalised on both sides: `_thread` stays what it is, since no project is called so.
_STANDARD = frozenset(name.lower() for name in sys.stdlib_module_names)
#: PyPI's platform tags (WHN-5), each matched whole.
_PLATFORM = re.compile(
    r"any|win32|win_(amd64|arm64|ia64)|manylinux1_(x86_64|i686)|manylinux2010_(x86_64|i686)"
    r"|manylinux2014_(x86_64|i686|aarch64|armv7l|ppc64|ppc64le|s390x)|linux_armv[67]l"
    r"|macosx_(10_\d+|(11|12|13|14|15|26)_0)"
    r"_(ppc|ppc64|i386|x86_64|arm64|intel|fat|fat3|fat64|universal|universal2)"
    r"|manylinux_\d+_\d+_(x86_64|i686|aarch64|armv7l|ppc64|ppc64le|s390x|riscv64)"
    r"|musllinux_\d+_\d+_(x86_64|i686|aarch64|armv7l|ppc64le|s390x|riscv64)"
    r"|ios_\d+_\d+_(arm64|x86_64)_(iphoneos|iphonesimulator)|android_\d+_(armeabi_v7a|arm64_v8a|x86|x86_64)"
    r"|pyemscripten_\d+_\d+_wasm32"
)


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """PyPI's stricter rules, each a switch of an index. Sizes in bytes, 0: no limit."""

    file_limit: int = 0
    field_limit: int = 1 << 20
    description_limit: int = 16 << 20
    digest_required: bool = False
    local_versions: bool = True
    direct_urls: bool = True
    normalised_names: bool = False  # WHN-1, SDN-1, SDN-2: the file name as PyPI wants it
    similar_names: bool = True  # NAM-4: new projects may be called nearly as others are
    standard_names: Severity = "warn"  # NAM-4: new projects called as modules of the standard library
    one_sdist: bool = False
    platform_tags: Severity = "warn"  # WHN-6
    framing: Severity = "error"  # ARC-5, ARC-6
    metadata: Severity = "error"  # what packaging.metadata finds
    unknown_fields: Severity = "warn"  # CMD-6


@dataclass(frozen=True, slots=True)
class Form:
    """What an upload's fields say. A hint: the archive decides (UPL-11)."""

    action: str
    name: str | None
    version: str | None
    filetype: str | None
    pyversion: str | None
    digests: Mapping[str, str] = field(default_factory=dict)  # 'md5', 'sha256', 'blake2_256' -> lower hex
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def project(self) -> str | None:
        """The normalised name, where there is one."""
        return normalize(self.name) if self.name else None


def collect(pairs: Iterable[tuple[str, str]]) -> Mapping[str, tuple[str, ...]]:
    """The fields by name, as clients mean them.

    `UNKNOWN` and empty are absent (UPL-4, UPL-5), repeats are lists (UPL-7), old spellings are the new ones.
    """
    found: dict[str, list[str]] = {}
    for name, raw in pairs:
        value = raw.replace("\x00", "")
        if not value.strip() or value.strip() == "UNKNOWN":
            continue
        found.setdefault(ALIASES.get(name, name), []).append(value)
    return MappingProxyType({name: tuple(values) for name, values in found.items()})


def _one(fields: Mapping[str, tuple[str, ...]], name: str) -> str | None:
    values = fields.get(name)
    return values[0].strip() if values else None


def check_name(name: str | None) -> str:
    """The project name of a form, checked (NAM-1, NAM-5). Raises `BadRequest`."""
    if not name:
        raise BadRequest("'' is an invalid value for Name. Error: This field is required.")
    if not is_name(name):
        raise BadRequest(
            f"{name[:100]!r} is an invalid value for Name. Error: Start and end with a letter or numeral "
            "containing only ASCII numeric and '.', '_' and '-'."
        )
    _check_meant(name)
    return name


def _check_meant(name: str) -> None:
    if normalize(name) in MISTAKEN_NAMES:
        raise BadRequest(f"The name {name!r} isn't allowed: a requirements file was probably meant.")


def check_form(fields: Mapping[str, tuple[str, ...]], policy: UploadPolicy) -> Form:
    """Check a file upload's fields in PyPI's order (protocol.md 7.3, rows 3 and 4). Raises `BadRequest`."""
    protocol = _one(fields, "protocol_version")
    if protocol not in (None, "1"):
        raise BadRequest("Unknown protocol version.")
    stated = _one(fields, "metadata_version")
    if stated is not None and stated not in METADATA_VERSIONS:
        raise BadRequest(f"{stated[:40]!r} is not a valid metadata version.")
    name = check_name(_one(fields, "name"))
    version = _one(fields, "version")
    if not version:
        raise BadRequest("'' is an invalid value for Version. Error: This field is required.")
    filetype = _one(fields, "filetype")
    if filetype is not None and filetype not in _FILETYPES:
        raise BadRequest("Invalid value for filetype. Error: Use a known file type.")
    pyversion = _one(fields, "pyversion")
    if filetype == "sdist" and pyversion not in (None, "source"):
        raise BadRequest("Invalid value for pyversion. Error: Use 'source' as Python version for an sdist.")
    return Form("file_upload", name, version, filetype, pyversion, _digests(fields, policy), fields)


def _digests(fields: Mapping[str, tuple[str, ...]], policy: UploadPolicy) -> dict[str, str]:
    digests: dict[str, str] = {}
    for form_name, (name, length) in _DIGESTS.items():
        value = (_one(fields, form_name) or "").lower()
        if not value:
            continue
        if len(value) != length or not _HEX.fullmatch(value):
            raise BadRequest(
                f"Invalid value for {form_name}. "
                f"Error: Use a valid, hex-encoded, {name.upper()} message digest."
            )
        digests[name] = value
    if not digests and policy.digest_required:
        raise BadRequest("Error: Include at least one message digest.")
    return digests


def policy_of(text: str | None) -> UploadPolicy:
    """The policy that an index's JSON says; what it does not say, or not rightly, is as by default."""
    try:
        told = json.loads(text) if text else {}
    except ValueError:
        told = {}
    defaults = UploadPolicy()
    fields = told.items() if isinstance(told, dict) else ()
    known: dict[str, Any] = {
        name: value for name, value in fields if type(value) is type(getattr(defaults, name, None))
    }
    return replace(defaults, **known)


def check_filename(filename: str | None, form: Form | None, policy: UploadPolicy) -> Distribution:
    """What the name of the uploaded file says (rows 6, 11, 21, 22). Raises `BadRequest`.

    Without a form (git, FTP) the name alone says it.
    """
    if not filename:
        raise BadRequest("Upload payload does not have a file.")
    if _CONTROL.search(filename):
        raise BadRequest("Cannot upload a file with non-printable characters in the name.")
    if "/" in filename or "\\" in filename:
        raise BadRequest("Cannot upload a file with '/' or '\\' in the name.")
    if filename.startswith("."):
        raise BadRequest("Cannot upload a file whose name starts with a dot: an index never lists it.")
    if len(filename.encode("utf-8", "surrogateescape")) > 255 - len(".metadata"):
        raise BadRequest(f"Filename is too long: {filename[:80]!r}...")
    distribution = _fitting(filename, form)
    _check_meant(distribution.name)
    kinds = {distribution.packagetype.value, "bdist_dumb" if distribution.packagetype == "sdist" else ""}
    if form is not None and form.filetype is not None and form.filetype not in kinds:
        extension = "." + filename.rpartition(".")[2]
        raise BadRequest(
            f"Invalid file extension: Extension {extension} is invalid for filetype {form.filetype}."
        )
    check_distribution(distribution, policy)
    return distribution


def _fitting(filename: str, form: Form | None) -> Distribution:
    """The distribution that a file name stands for, given that the form says which project is meant."""
    try:
        distribution = parse(filename)
    except BadName as error:
        raise BadRequest(f"Filename {filename!r} is invalid. {error}") from None
    if form is None:
        return distribution
    if distribution.project != form.project:
        raise BadRequest(
            f"Filename {filename!r} is of the project {distribution.project!r}, "
            f"but the upload says {form.name!r}."
        )
    if form.version and canonical_version(distribution.version) != canonical_version(form.version):
        raise BadRequest(f"Version in filename should be {form.version!r} not {distribution.version!r}.")
    return distribution


def check_distribution(distribution: Distribution, policy: UploadPolicy) -> None:
    """PyPI's stricter rules on a file name, as far as an index asks for them. Raises `BadRequest`."""
    if not policy.local_versions and "+" in distribution.version:
        raise BadRequest(f"The use of local versions in {distribution.version!r} is not allowed.")
    if policy.normalised_names:
        _check_spelling(distribution)
    if policy.platform_tags == "error":
        for sentence in _platform_faults(distribution):
            raise BadRequest(sentence)


def _check_spelling(distribution: Distribution) -> None:
    """Project and version as PyPI has them in file names (SDN-1, SDN-2, WHN-1). Raises `BadRequest`.

    Of kinds that PyPI takes no more, only the project's name is looked at.
    """
    filename, version = distribution.filename, normalized_version(distribution.version)
    spelled = distribution.project.replace("-", "_")
    if not filename.startswith(f"{spelled}-"):
        raise BadRequest(f"Filename {filename!r} should contain the normalized project name {spelled!r}.")
    if not is_version(version):
        raise BadRequest(f"Filename {filename!r} is invalid: {version!r} is no version (PEP 440).")
    if distribution.packagetype is PackageType.WHEEL and filename.split("-")[1] != version:
        raise BadRequest(f"Version in filename should be {version!r} not {filename.split('-')[1]!r}.")
    expected = f"{spelled}-{version}.tar.gz"
    if distribution.packagetype is PackageType.SDIST and filename != expected:
        raise BadRequest(f"Filename {filename!r} is invalid, should be {expected!r}.")


def name_warnings(distribution: Distribution, policy: UploadPolicy) -> tuple[str, ...]:
    """What an index mentions of a file name that it takes."""
    found = _platform_faults(distribution) if policy.platform_tags == "warn" else iter(())
    if policy.standard_names == "warn" and is_standard(distribution.project):
        return (_standard(distribution.name), *found)
    return tuple(found)


def form_warnings(form: Form | None) -> tuple[str, ...]:
    """What of a form was not kept, and was meant to be (ATT-8). uv attaches it by itself: no refusal."""
    sent = _one(form.fields, "attestations") if form is not None else None
    if sent is None or sent == "[]":
        return ()
    return ("The attestations were not kept: this index verifies and serves none of its own files.",)


def is_standard(project: str) -> bool:
    """Whether a module of the standard library has this normalised name (NAM-4)."""
    return project.replace("-", "_") in _STANDARD


def _standard(name: str) -> str:
    return f"A module of the standard library is called {name!r}: whoever installs it gets two of that name."


def check_new_project(distribution: Distribution, policy: UploadPolicy, others: Iterable[str]) -> None:
    """Whether an index begins a project of this name (NAM-4). Raises `BadRequest`.

    `others`: the normalised names of its projects, looked at where the policy asks for it.
    """
    name, project = distribution.name, distribution.project
    if policy.standard_names == "error" and is_standard(project):
        raise BadRequest(f"The name {name!r} isn't allowed. {_standard(name)}")
    if policy.similar_names:
        return
    look = look_alike(project)
    if any(look_alike(other) == look for other in others if other != project):
        raise BadRequest(f"The name {name!r} is too similar to an existing project.")


def _platform_faults(distribution: Distribution) -> Iterator[str]:
    if distribution.packagetype is PackageType.WHEEL:
        for tag in unusual_platforms(distribution.filename):
            yield f"Binary wheel {distribution.filename!r} has an unsupported platform tag {tag!r}."


def unusual_platforms(filename: str) -> tuple[str, ...]:
    """The platform tags of a wheel that PyPI does not take (WHN-5, WHN-6)."""
    fields = filename.removesuffix(".whl").split("-")
    # Six fields: a build tag where the third begins with a digit, else the last is a variant label (WHN-3).
    has_label = len(fields) >= (7 if fields[2:] and fields[2][:1].isdigit() else 6)
    platforms = fields[-2] if has_label else fields[-1]
    return tuple(tag for tag in platforms.split(".") if not _PLATFORM.fullmatch(tag))


def check_digests(form: Form, calculated: Mapping[str, str]) -> None:
    """Every digest that was sent must be the calculated one (row 14). Raises `BadRequest`."""
    for name, value in form.digests.items():
        if calculated[name] != value:
            raise BadRequest("The digest supplied does not match a digest calculated from the uploaded file.")


def check_size(size: int, policy: UploadPolicy, project: str | None) -> None:
    """Row 13. `size` in bytes. Raises `TooLarge`."""
    if policy.file_limit and size > policy.file_limit:
        limit = policy.file_limit / (1 << 20)
        of = f" for project {project!r}" if project else ""
        raise TooLarge(f"File too large. Limit{of} is {limit:g} MiB.")


def check_metadata(data: bytes, policy: UploadPolicy) -> tuple[str, ...]:
    """Check the archive's own metadata (row 5, protocol.md 8) by `packaging.metadata`; the archive decides.

    Returns warnings as sentences. Raises `BadRequest` with the first finding that the policy makes an error.
    """
    findings = _findings(data)
    warnings: list[str] = []
    for sentence, unknown in findings:
        severity = policy.unknown_fields if unknown else policy.metadata
        if severity == "error":
            raise BadRequest(f"Invalid metadata in the archive: {sentence}.")
        if severity == "warn":
            warnings.append(f"{sentence}.")
    if not policy.direct_urls:
        _refuse_direct_urls(data)
    return tuple(warnings[:20])


def _findings(data: bytes) -> list[tuple[str, bool]]:
    """(sentence, whether it is only an unknown field), in PyPI's order."""
    # A tenth of all that a start loads, and nobody needs it before the first upload.
    from packaging.metadata import InvalidMetadata, Metadata  # noqa: PLC0415

    try:
        Metadata.from_email(data, validate=True)
    except ExceptionGroup as group:
        found = [
            (str(error), error.field, "unrecognized" in str(error))
            for error in group.exceptions
            if isinstance(error, InvalidMetadata)
        ]
        first = {"metadata-version": 0, "name": 1, "version": 2}
        found.sort(key=lambda item: (first.get(item[1], 3), item[1]))
        return [(_sentence(text, name), unknown) for text, name, unknown in found]
    except (ValueError, RecursionError, OverflowError) as error:
        # Numbers of thousands of digits and hundreds of nested brackets leave packaging this way (B9).
        return [(f"a field cannot be parsed: {type(error).__name__}", False)]
    return []


def _sentence(text: str, name: str) -> str:
    """A finding on one short line, with the field it is about."""
    line = " ".join(text.split())
    line = line if len(line) <= 200 else f"{line[:200]}..."
    return line if name in line else f"{name}: {line}"


def _refuse_direct_urls(data: bytes) -> None:
    from packaging.metadata import Metadata  # noqa: PLC0415  # see above

    for requirement in Metadata.from_email(data, validate=False).requires_dist or ():
        if requirement.url:
            raise BadRequest(f"Can't have direct dependency: {str(requirement)[:200]}.")
