"""What the settings say to the web face."""

from __future__ import annotations

from dataclasses import dataclass, field

from pidex.web.indexes import Indexes


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Values for `Site`; times in seconds, sizes in bytes. `prefix` is '' or '/path', no slash at its end."""

    host: str = "127.0.0.1"
    port: int = 3141
    unix: bool = False
    prefix: str = ""
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    indexes: Indexes = field(default_factory=Indexes)
    login_header: str | None = None
    page_wait: float = 10.0
    page_cache: int = 64 * 1024 * 1024
    open_files: int = 256
    unmatched_accept: str = "html"
    max_age: int = 0
    file_cache_control: str | None = None
    hash_fragment: str = "sha256"
    fallback_url: str | None = None
    welcome: str | None = None
    health_path: str = "/health"
    worker: int = 1
    instance: str = ""

    @property
    def default_index(self) -> str:
        """The index that answers without its name in the path."""
        return self.indexes[0]
