"""FTP, with TLS or without: sessions of pyftpdlib over what a visit sees, each in a thread of its own."""

from __future__ import annotations

import base64
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from pyftpdlib.authorizers import AuthenticationFailed
from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

from pidex.core.errors import PidexError, TooMany, Unauthenticated
from pidex.core.model import ANONYMOUS, Principal
from pidex.ingress.transfers import Files, Upload, sentence
from pidex.ingress.visit import Services, Visit

#: Sessions at the same time, in all and from one address.
MOST_SESSIONS, MOST_FROM_ONE = 128, 32
#: Seconds without a command, without a byte of a transfer, and before a wrong password is answered.
IDLE_SECONDS, STALL_SECONDS, WRONG_SECONDS = 300, 120, 1
#: Seconds in which every thread notices that it is to end, and in which one that is busy may end.
TURN_SECONDS, END_SECONDS = 0.25, 2.0
#: The names by which strangers sign in.
STRANGERS = frozenset({"anonymous", "ftp"})

BINARY = "Packages are sent in binary mode only, text mode damages them: send TYPE I (in a client: binary)."

log = logging.getLogger("pidex.ftp")


@dataclass(frozen=True, slots=True)
class Terms:
    """How sessions are held. `tls`: 'off', 'optional' or 'required'; `certificate`: chain and key."""

    passive_ports: range | None = None
    masquerade: str | None = None
    tls: str = "off"
    certificate: tuple[Path, Path] | None = None


class Ftp:
    """The FTP server over a listening socket, which stays open when it ends."""

    def __init__(self, listener: socket.socket, services: Services, terms: Terms) -> None:
        self._listener, self._services = listener, services
        self._handler = _handler(services, terms)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`; transfers under way are cut, and nothing of them stays."""
        server = _Server(self._listener.dup(), self._handler)
        try:
            while not stop.is_set():
                server.serve_forever(timeout=TURN_SECONDS, blocking=False, handle_exit=False)
                self._services.drafts.sweep()
        finally:
            server.close_all()
            self._services.drafts.close()


class _Server(ThreadedFTPServer):  # type: ignore[misc]
    """One thread a session: whoever hashes or waits for a disk keeps nobody else waiting."""

    max_cons, max_cons_per_ip = MOST_SESSIONS, MOST_FROM_ONE
    poll_timeout, join_timeout = TURN_SECONDS, END_SECONDS

    def __init__(self, listener: socket.socket, handler: type[Any]) -> None:
        # Those of the class are shared by all servers of a process.
        self._exit, self._lock = threading.Event(), threading.Lock()
        super().__init__(listener, handler)


def _handler(services: Services, terms: Terms) -> type[Any]:
    """The session class for these terms: pyftpdlib takes its settings from the class."""
    secure = terms.tls != "off" and terms.certificate is not None
    settings: dict[str, object] = {
        "services": services,
        "authorizer": _Authorizer(),
        "abstracted_fs": Files,
        "dtp_handler": _TlsData if secure else _Data,
        "passive_ports": None if terms.passive_ports is None else list(terms.passive_ports),
        "masquerade_address": terms.masquerade,
    }
    if secure and terms.certificate is not None:
        chain, key = terms.certificate
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.use_certificate_chain_file(os.fspath(chain))
        context.use_privatekey_file(os.fspath(key))
        required = terms.tls == "required"
        settings |= {
            "ssl_context": context,
            "tls_control_required": required,
            "tls_data_required": required,
        }
    base: type[Any] = _TlsSession if secure else _PlainSession
    return type("Session", (base,), settings)


# --- who ----------------------------------------------------------------------------------------------------


class _Sentence(str):
    """Text that keeps its letters: pyftpdlib capitalises what it says of a wrong password."""

    __slots__ = ()

    def capitalize(self) -> str:
        return self


class _Authorizer:
    """Signs in by the accounts; rights are asked for where something is done."""

    def validate_authentication(self, name: str, password: str, session: Any) -> None:
        try:
            session.visit = Visit(session.services, _principal(session, name, password))
            if not session.visit.indexes():
                raise Unauthenticated("There is nothing here for you: sign in with another name.")
        except (Unauthenticated, TooMany) as error:
            log.info("FTP: %s from %s was not let in: %s", name[:100], session.remote_ip, error)
            raise AuthenticationFailed(_Sentence(sentence(error))) from None
        except PidexError as error:
            raise AuthenticationFailed(_Sentence(sentence(error))) from None

    def get_home_dir(self, name: str) -> str:
        return "/"

    def get_msg_login(self, name: str) -> str:
        return "Signed in: a package is in the index once it is whole."

    def get_msg_quit(self, name: str) -> str:
        return "Goodbye."

    def has_perm(self, name: str, perm: str, path: str | None = None) -> bool:
        return True

    def get_perms(self, name: str) -> str:
        return "elradfw"

    def impersonate_user(self, name: str, password: str) -> None:
        """Nobody becomes anybody on the system."""

    def terminate_impersonation(self, name: str) -> None:
        """See `impersonate_user`."""


def _principal(session: Any, name: str, password: str) -> Principal:
    if name.lower() in STRANGERS:
        return ANONYMOUS._replace(via="ftp", address=session.remote_ip)
    plain = f"{name}:{password}".encode(errors="replace")
    header = f"Basic {base64.b64encode(plain).decode()}"
    found: Principal = session.services.accounts.authenticate(header, session.remote_ip)
    return found


# --- connections --------------------------------------------------------------------------------------------


class _Data(DTPHandler):  # type: ignore[misc]
    """A data connection: at its end the file is received, and the reply says what became of it."""

    timeout = STALL_SECONDS
    ac_in_buffer_size = ac_out_buffer_size = 256 * 1024

    def handle_read(self) -> None:
        super().handle_read()
        if isinstance(self.file_obj, Upload) and self.file_obj.over:
            self.close()

    handle_read_event = handle_read

    def handle_error(self) -> None:
        error = sys.exc_info()[1]
        told = "An error of the server ended the transfer. Its log says more."
        if isinstance(error, PidexError):  # a file that changes while it is sent
            told = sentence(error)
        else:
            self.log_exception(self)
        self._resp = (f"426 {told}", None)
        self.close()

    def close(self) -> None:
        if not self._closed and isinstance(self.file_obj, Upload):
            try:
                told = self.file_obj.end(self.transfer_finished, self._left_alone)
            except Exception:
                self.log_exception(self)
                told = "451 An error of the server: the file was not received. Its log says more."
            if told:
                self._resp = (told, None)
        super().close()

    def _left_alone(self) -> bool:
        """Whether the session is over: who is killed closes a data connection as who is done."""
        try:
            with socket.socket(fileno=os.dup(self.cmd_channel.socket.fileno())) as control:
                return control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class _TlsData(TLS_DTPHandler, _Data):  # type: ignore[misc]
    """The same over TLS, where the caller asked for it (PROT P)."""

    def handle_error(self) -> None:
        _Data.handle_error(self)


class _Session:
    """What differs from pyftpdlib's sessions."""

    services: Services
    visit: Visit
    respond: Callable[[str], None]
    _current_type: str
    _restart_position: int

    banner = "pidex: packages by FTP"
    timeout, auth_failed_timeout, max_login_attempts = IDLE_SECONDS, WRONG_SECONDS, 3
    use_sendfile = False
    use_gmt_times = True

    def ftp_STOR(self, file: str, mode: str = "w") -> Any:
        return self._binary() and super().ftp_STOR(file, mode)  # type: ignore[misc]

    def ftp_RETR(self, file: str) -> Any:
        return self._binary() and super().ftp_RETR(file)  # type: ignore[misc]

    def ftp_STOU(self, line: str) -> None:
        """Names are not made up here."""
        self.respond("550 A package has its own name: send it by STOR.")

    def ftp_SIZE(self, path: str) -> None:
        """In text mode too, in which nothing is sent: clients ask in whatever mode they are."""
        kind, self._current_type = self._current_type, "i"
        try:
            super().ftp_SIZE(path)  # type: ignore[misc]
        finally:
            self._current_type = kind

    def _binary(self) -> bool:
        if self._current_type == "i":
            return True
        self._restart_position = 0
        self.respond(f"550 {BINARY}")
        return False

    def log(self, msg: str, logfun: object = None) -> None:
        log.debug("FTP: %s", msg)

    logline = log

    def logerror(self, msg: str) -> None:
        log.warning("FTP: %s", msg)

    def log_exception(self, instance: object) -> None:
        log.exception("FTP: a session failed")

    def log_cmd(self, cmd: str, arg: str, respcode: int, respstr: str) -> None:
        """What was refused is in the reply."""

    def log_transfer(self, **_: object) -> None:
        """What was received is logged where it is."""


class _PlainSession(_Session, FTPHandler):  # type: ignore[misc]
    """A session without TLS."""


class _TlsSession(_Session, TLS_FTPHandler):  # type: ignore[misc]
    """A session that may, or has to, turn to TLS."""
