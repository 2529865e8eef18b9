"""Which page is at which path."""

from __future__ import annotations

from pidex.web.ui import home, indexes, management, people, projects, server, uploads
from pidex.web.ui.frame import Path

HOME = Path("/", get=home.home)
#: All pages, in the order in which they are tried; an index's first page is among its own routes.
PATHS = (
    Path("/-/search", get=home.search),
    Path("/-/setup", get=home.setup),
    Path("/-/why", get=home.why),
    Path("/-/why/{subject}", get=home.why),
    Path("/-/why/{subject}/{part}", get=home.why),
    Path("/-/prefer", post=home.prefer),
    Path("/-/login", get=people.login, post=people.begin),
    Path("/-/logout", post=people.end),
    Path("/-/account", get=people.account),
    Path("/-/tokens", post=people.make_token),
    Path("/-/tokens/{token}/revoke", post=people.revoke_token),
    Path("/-/sessions/end", post=people.end_others),
    Path("/-/password", post=people.change_password),
    Path("/-/index", get=indexes.about, post=indexes.change),
    Path("/-/statistics", get=indexes.statistics),
    Path("/-/origins", get=indexes.origins, post=indexes.decide),
    Path("/-/folders", get=indexes.folders),
    Path("/-/admin", get=server.state, own=True),
    Path("/-/admin/health", get=server.health, post=server.verify, own=True),
    Path("/-/admin/people", get=server.people, post=server.change_people, own=True),
    Path("/-/admin/person", get=server.person, post=server.change_person, own=True),
    Path("/-/admin/person/remove", post=server.remove_person, own=True),
    Path("/-/admin/indexes", get=server.indexes, post=server.change_indexes, own=True),
    Path("/-/admin/audit", get=server.audit, own=True),
    Path("/-/admin/audit.csv", get=server.export, own=True),
    Path("/-/admin/audit.json", get=server.export_json, own=True),
    Path("/-/upload", get=uploads.form, takes=uploads.take),
    Path("/project/{name}/", get=projects.overview),
    Path("/project/{name}/-/files/", get=projects.files),
    Path("/project/{name}/-/history/", get=projects.history),
    Path("/project/{name}/-/dependencies/", get=projects.dependencies),
    Path("/project/{name}/-/manage/", get=management.manage),
    Path("/project/{name}/-/yank", post=management.yank),
    Path("/project/{name}/-/unyank", post=management.unyank),
    Path("/project/{name}/-/status", post=management.status),
    Path("/project/{name}/-/owners", post=management.owners),
    Path("/project/{name}/-/restore", post=management.restore),
    Path("/project/{name}/-/delete", post=management.delete),
    Path("/project/{name}/-/file/{filename}/", get=projects.inside),
    Path("/project/{name}/-/file/{filename}/{path:path}", get=projects.member),
    Path("/project/{name}/{version}/", get=projects.overview),
)
