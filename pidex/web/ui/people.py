"""Signing in and out, and what is one's own: tokens, projects, password."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from pidex.accounts.signing import WRONG
from pidex.core.errors import BadRequest, NotFound, PidexError, Unauthenticated
from pidex.core.tokens import SCOPES
from pidex.web.auth import COOKIE
from pidex.web.ui.frame import Parts
from pidex.web.ui.home import where_of
from pidex.web.ui.visit import Moved, Outcome, Shown, Visit, back, cookie

#: Days that a token may be made for; 0: without an end.
DAYS = (7, 30, 90, 365, 0)
#: Seconds of a session's cookie, as of the session.
SESSION_SECONDS = 12 * 3600


def login(parts: Parts, visit: Visit) -> Outcome:
    """`/-/login`: the form."""
    del parts
    if visit.by.name is not None:
        return Moved(back(visit.value("next")))
    return _login(visit, None)


def _login(visit: Visit, error: PidexError | None) -> Shown:
    values = {"next": visit.value("next"), "name": visit.value("name"), "error": error}
    # No 401: that makes a browser ask by itself, and remember what it was told.
    status = 200 if error is None else 403 if isinstance(error, Unauthenticated) else error.status
    return Shown("login.html", values, status)


def begin(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/login`: a new session, where name and password are right."""
    name, password = visit.value("name"), (visit.form or {}).get("password", "")
    if not name or ":" in name or not password:
        return _login(visit, BadRequest("Type user name and password."))
    secret = base64.b64encode(f"{name}:{password}".encode("utf-8", "replace")).decode()
    try:
        by = parts.site.accounts.authenticate(f"Basic {secret}", visit.call.origin.client)
        if by.name is None:
            raise Unauthenticated(WRONG)
        text, _ = parts.sessions.begin(by=by)
    except PidexError as error:
        if error.status >= 500:
            raise
        return _login(visit, error)
    secure = visit.call.origin.url.startswith("https:")
    return Moved(back(visit.value("next")), [cookie(COOKIE, text, seconds=SESSION_SECONDS, secure=secure)])


def end(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/logout`: the session is over, here and in the browser."""
    text = visit.cookies.get(COOKIE)
    if text and visit.session is not None:
        parts.sessions.end(text, by=visit.by)
    secure = visit.call.origin.url.startswith("https:")
    return Moved("", [cookie(COOKIE, "", seconds=0, secure=secure)])


def account(parts: Parts, visit: Visit) -> Outcome:
    """`/-/account`: tokens, projects, password."""
    return _account(parts, visit, None)


def _account(parts: Parts, visit: Visit, error: PidexError | None) -> Shown:
    name = _self(visit)
    tokens = parts.administration.list_tokens(name, by=visit.by)
    grants = parts.administration.list_grants(by=visit.by)
    mine = {f"user:{name}", *(f"group:{group}" for group in visit.by.groups)}
    own = sorted(
        (grant for grant in grants if grant.subject in mine),
        key=lambda grant: (grant.index or "", grant.project),
    )
    return Shown(
        "account.html",
        {
            "tokens": sorted(tokens, key=lambda each: (each.state != "valid", -each.created)),
            "own": own,
            "sessions": parts.sessions.list_own(visit.cookies.get(COOKIE, ""), by=visit.by),
            "scopes": SCOPES,
            "days": DAYS,
            "error": error,
            "changes_password": visit.by.token is None and visit.by.via in ("password", "session"),
        },
        error.status if error else 200,
    )


def make_token(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/tokens`: a new token, shown on this page and never again."""
    name = _self(visit)
    days = visit.value("days")
    try:
        if days not in map(str, DAYS):
            raise BadRequest("Choose how long the token is to last.")
        expires = parts.site.clock() + int(days) * 86_400 if int(days) else None
        made = parts.administration.create_token(
            name,
            comment=visit.value("comment"),
            scopes=tuple(visit.many.get("scope", ())),
            indexes=_globs(visit.value("indexes")),
            projects=_globs(visit.value("projects")),
            expires=expires,
            by=visit.by,
        )
    except BadRequest as error:
        return _account(parts, visit, error)
    where = where_of(parts, visit)
    return Shown("token.html", {"made": made, "where": where})


def _globs(text: str) -> Sequence[str]:
    return tuple(text.replace(",", " ").split()) or ("*",)


def revoke_token(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/tokens/<number>/revoke`: the token ends."""
    name, text = _self(visit), visit.params["token"]
    own = {str(token.id) for token in parts.administration.list_tokens(name, by=visit.by)}
    if text not in own:
        raise NotFound(f"You have no token {text[:40]}.")
    parts.administration.revoke_token(int(text), by=visit.by)
    return Moved("-/account?done=revoked")


def end_others(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/sessions/end`: one's sessions end, but for this one."""
    _self(visit)
    parts.sessions.end_others(visit.cookies.get(COOKIE, ""), by=visit.by)
    return Moved("-/account?done=ended")


def change_password(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/password`: another password; all sessions of the user end, this one too."""
    name, form = _self(visit), visit.form or {}
    try:
        if form.get("password", "") != form.get("again", ""):
            raise BadRequest("The two new passwords differ.")
        parts.administration.set_password(
            name, form.get("password", ""), current=form.get("current", ""), by=visit.by
        )
    except PidexError as error:
        if error.status >= 500:
            raise
        return _account(parts, visit, error)
    return Moved("-/login?done=password")


def _self(visit: Visit) -> str:
    if visit.by.name is None:
        raise Unauthenticated("Sign in to see to your tokens.")
    return visit.by.name
