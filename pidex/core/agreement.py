"""Settings that contradict each other, or need each other."""

from __future__ import annotations

from collections.abc import Mapping

from pidex.core.errors import ConfigError

#: A setting as it is in force, and where it came from: 'default', '--port', 'PIDEX_PORT', a file's path.
Said = tuple[object, str]


def one_of(values: dict[str, Said], one: str, other: str) -> None:
    """Of two settings that contradict each other, drop the one from the weaker source.

    Raises `ConfigError` where both are from the same.
    """
    if not all(values.get(name, (None, ""))[0] for name in (one, other)):
        return
    strength = {name: _strength(values[name][1]) for name in (one, other)}
    if strength[one] == strength[other]:
        raise ConfigError(
            f"{one} ({values[one][1]}) and {other} ({values[other][1]}) contradict each other: take one back."
        )
    del values[min(strength, key=lambda name: strength[name])]


def check(values: Mapping[str, Said]) -> None:
    """Raise `ConfigError` where a setting lacks what it needs."""
    for one, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if values[one][0] and not values[other][0]:
            raise ConfigError(f"{one} ({values[one][1]}) needs {other} beside it: https takes both.")
    if values["ftp_tls"][0] != "off" and not values["tls_cert"][0]:
        raise ConfigError(f"ftp_tls ({values['ftp_tls'][1]}) needs a certificate: set tls_cert and tls_key.")
    if values["login_header"][0] and not values["trusted_proxies"][0]:
        raise ConfigError(
            f"login_header ({values['login_header'][1]}) is believed of trusted proxies alone, and there is"
            " none: name them in trusted_proxies."
        )


def _strength(origin: str) -> int:
    return 2 if origin.startswith("-") else 1 if origin.startswith("PIDEX_") else 0
