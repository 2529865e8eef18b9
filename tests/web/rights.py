"""What each role is answered on each route: written by hand, from design chapter 4 and issue 3, item 3."""

from __future__ import annotations

#: Statuses in the order of `people.ROLES`: stranger outsider reader uploader maintainer owner admin; '+' is
#: what the route answers to who may. `mine`: the owner's project; `other`: hidden, of nobody; `open`: seen by
#: all. Strangers and outsiders see `open` alone; the owner sees that and `mine`.
RULES: dict[str, dict[str, str]] = {
    "all": {
        "mine": "+ + + + + + +",
        "other": "+ + + + + + +",
        "open": "+ + + + + + +",
    },
    "read": {
        "mine": "404 404 + + + + +",
        "other": "404 404 + + + 404 +",
        "open": "+ + + + + + +",
    },
    # Whether somebody may upload anything at all is asked before the name is known.
    "upload": {
        "mine": "401 403 403 + + + +",
        "other": "401 403 403 + + 404 +",
        "open": "401 403 403 + + 403 +",
    },
    "maintain": {
        "mine": "401 404 403 403 + + +",
        "other": "401 404 403 403 + 404 +",
        "open": "401 403 403 403 + 403 +",
    },
    "own": {
        "mine": "401 404 403 403 403 + +",
        "other": "401 404 403 403 403 404 +",
        "open": "401 403 403 403 403 403 +",
    },
    # Everybody may hear whose a name is that they may see.
    "claim": {
        "mine": "401 404 403 403 403 + +",
        "other": "401 404 403 403 403 404 +",
        "open": "401 403 403 403 403 403 +",
    },
    # To another index, to which the administrator alone may upload.
    "promote": {
        "mine": "404 404 403 403 403 403 +",
        "other": "404 404 403 403 403 404 +",
        "open": "401 403 403 403 403 403 +",
    },
    "known": {"-": "401 + + + + + +"},
    "open": {"-": "+ + + + + + +"},
    # A clone holds every project, and metrics count them: for who may read all of them.
    "whole": {"-": "401 403 + + + 403 +"},
    "push": {"-": "401 403 403 + + + +"},
    # Pages send strangers to where they sign in, and signed-in people away from there.
    "person": {"-": "303 + + + + + +"},
    "guest": {"-": "+ 303 303 303 303 303 303"},
    "sender": {"-": "303 403 403 + + + +"},
    # What is for administrators of the index, and of the server: none of these roles is one of the latter.
    "steward": {"-": "303 403 403 403 403 403 +"},
    "steward-form": {"-": "401 403 403 403 403 403 +"},
    "server": {"-": "303 403 403 403 403 403 403"},
    "server-form": {"-": "401 403 403 403 403 403 403"},
    "manager": {
        "mine": "303 404 403 403 + + +",
        "other": "303 404 403 403 + 404 +",
        "open": "303 403 403 403 + 403 +",
    },
}

#: Method and route, rule, and what '+' is: 200 where nothing else is said. Redirects say the same of each
#: name, there or not, to everybody who may list anything here.
TABLE = """
GET  /-/health                                                            open
GET  /-/livez                                                             open
GET  /-/readyz                                                            open
GET  /health                                                              open
GET  /-/metrics                                                           whole
GET  /-/static/{hash}/{name}                                              open
GET  /favicon.ico                                                         open
GET  /robots.txt                                                          open
GET  /                                                                    open
GET  /simple                                                              open    301
GET  /simple/                                                             open
GET  /simple/{name}                                                       all     301
GET  /simple/{name}/                                                      read
GET  /packages                                                            open    301
GET  /packages/                                                           open
GET  /packages/{one}/{two}/{rest}/{filename}                              read
GET  /packages/{path:path}                                                read    302
GET  /pypi                                                                open    302
GET  /pypi/                                                               open    302
GET  /pypi/{name}/json                                                    read
GET  /pypi/{name}/json/                                                   read
GET  /pypi/{name}/{version}/json                                          read
GET  /pypi/{name}/{version}/json/                                         read
GET  /rss/updates.xml                                                     open
GET  /rss/packages.xml                                                    open
GET  /rss/project/{name}/releases.xml                                     read
GET  /@{moment}/simple                                                    open    301
GET  /@{moment}/simple/                                                   open
GET  /@{moment}/simple/{name}                                             all     301
GET  /@{moment}/simple/{name}/                                            read
GET  /@{moment}/packages/{one}/{two}/{rest}/{filename}                    read
GET  /{name}/json                                                         read
GET  /{name}                                                              all     302
GET  /{name}/                                                             all     302
POST /                                                                    upload
POST /pypi                                                                upload
POST /pypi/                                                               upload
POST /{name}                                                              upload
POST /{name}/                                                             upload
GET  /{repository}.git/{service:path}                                     whole   404
POST /{repository}.git/{service:path}                                     push    404
GET  /-/api/openapi.json                                                  open
GET  /-/api/v1/whoami                                                     open
GET  /-/api/v1/indexes                                                    open
GET  /-/api/v1/indexes/{index}/projects                                   open
GET  /-/api/v1/indexes/{index}/journal                                    open
GET  /-/api/v1/indexes/{index}/downloads                                  open
GET  /-/api/v1/indexes/{index}/unused                                     open
GET  /-/api/v1/indexes/{index}/yanked-downloads                           open
GET  /-/api/v1/indexes/{index}/projects/{project}/downloads               read
GET  /-/api/v1/indexes/{index}/projects/{project}                         read
DELETE /-/api/v1/indexes/{index}/projects/{project}                       own
PUT  /-/api/v1/indexes/{index}/projects/{project}/status                  own
GET  /-/api/v1/indexes/{index}/projects/{project}/restorable              own
GET  /-/api/v1/indexes/{index}/projects/{project}/owners                  read
PUT  /-/api/v1/indexes/{index}/projects/{project}/owners/{subject}        own
DELETE /-/api/v1/indexes/{index}/projects/{project}/owners/{subject}      own
GET  /-/api/v1/indexes/{index}/projects/{project}/releases/{version}      read
DELETE /-/api/v1/indexes/{index}/projects/{project}/releases/{version}    own
PUT  /-/api/v1/indexes/{index}/projects/{project}/releases/{version}/yank maintain
DELETE /-/api/v1/indexes/{index}/projects/{project}/releases/{version}/yank maintain
GET  /-/api/v1/indexes/{index}/projects/{project}/files/{filename}        read
DELETE /-/api/v1/indexes/{index}/projects/{project}/files/{filename}      own
PUT  /-/api/v1/indexes/{index}/projects/{project}/files/{filename}/yank   maintain
DELETE /-/api/v1/indexes/{index}/projects/{project}/files/{filename}/yank maintain
POST /-/api/v1/indexes/{index}/projects/{project}/files/{filename}/restore own
GET  /-/search                                                            open
GET  /-/setup                                                             open
GET  /-/why                                                               open
GET  /-/why/{subject}                                                     open
GET  /-/why/{subject}/{part}                                              open
POST /-/prefer                                                            open    303
GET  /-/login                                                             guest
POST /-/login                                                             open    400
POST /-/logout                                                            open    303
GET  /-/account                                                           person
POST /-/tokens                                                            known
POST /-/tokens/{token}/revoke                                             known   404
POST /-/sessions/end                                                      known   403
POST /-/password                                                          known   403
GET  /-/index                                                             open
POST /-/index                                                             steward-form 400
GET  /-/statistics                                                        open
GET  /-/origins                                                           steward
POST /-/origins                                                           steward-form 400
GET  /-/folders                                                           steward
GET  /-/admin                                                             server
GET  /-/admin/health                                                      server
POST /-/admin/health                                                      server-form
GET  /-/admin/people                                                      server
POST /-/admin/people                                                      server-form
GET  /-/admin/person                                                      server
POST /-/admin/person                                                      server-form
POST /-/admin/person/remove                                               server-form
GET  /-/admin/indexes                                                     server
POST /-/admin/indexes                                                     server-form
GET  /-/admin/audit                                                       server
GET  /-/admin/audit.csv                                                   server
GET  /-/admin/audit.json                                                  server
GET  /-/upload                                                            sender
POST /-/upload                                                            upload
GET  /project/{name}/                                                     read
GET  /project/{name}/{version}/                                           read
GET  /project/{name}/-/files/                                             read
GET  /project/{name}/-/history/                                           read
GET  /project/{name}/-/dependencies/                                      read
GET  /project/{name}/-/file/{filename}/                                   read
GET  /project/{name}/-/file/{filename}/{path:path}                        read    404
GET  /project/{name}/-/manage/                                            manager
POST /project/{name}/-/yank                                               maintain 303
POST /project/{name}/-/unyank                                             maintain 303
POST /project/{name}/-/status                                             own     303
POST /project/{name}/-/owners                                             own     303
POST /project/{name}/-/restore                                            own     303
POST /project/{name}/-/delete                                             own
GET  /-/api/v1/tokens                                                     known
POST /-/api/v1/indexes                                                    server-form
DELETE /-/api/v1/indexes/{index}                                          server-form
GET  /-/api/v1/indexes/{index}/settings                                   steward-form
PUT  /-/api/v1/indexes/{index}/settings                                   steward-form
GET  /-/api/v1/upstreams                                                  server-form
POST /-/api/v1/upstreams                                                  server-form
PUT  /-/api/v1/upstreams/{upstream}                                       server-form
DELETE /-/api/v1/upstreams/{upstream}                                     server-form
GET  /-/api/v1/indexes/{index}/origins                                    open
GET  /-/api/v1/indexes/{index}/origins/{project}                          read
PUT  /-/api/v1/indexes/{index}/origins/{project}                          claim
DELETE /-/api/v1/indexes/{index}/origins/{project}                        steward-form
GET  /-/api/v1/indexes/{index}/reservations                               steward-form
PUT  /-/api/v1/indexes/{index}/reservations/{pattern}                     steward-form
DELETE /-/api/v1/indexes/{index}/reservations/{pattern}                   steward-form
GET  /-/api/v1/indexes/{index}/rules                                      steward-form
PUT  /-/api/v1/indexes/{index}/rules                                      steward-form
PUT  /-/api/v1/indexes/{index}/exemptions/{subject}                       steward-form
DELETE /-/api/v1/indexes/{index}/exemptions/{subject}                     steward-form
PUT  /-/api/v1/indexes/{index}/projects/{project}/releases/{version}/hold steward-form
DELETE /-/api/v1/indexes/{index}/projects/{project}/releases/{version}/hold steward-form
PUT  /-/api/v1/indexes/{index}/projects/{project}/files/{filename}/hold   steward-form
DELETE /-/api/v1/indexes/{index}/projects/{project}/files/{filename}/hold steward-form
POST /-/api/v1/indexes/{index}/projects/{project}/releases/{version}/promote promote
POST /-/api/v1/tokens                                                     known   201
DELETE /-/api/v1/tokens/{token}                                           known   404
"""

#: What a token of the administrator is answered, by its narrowing: reading, uploading, yanking and deleting
#: of `other`, then reading of `open`. A token that may not read does not know what there is.
TOKENS: dict[str, tuple[dict[str, object], str]] = {
    "everything": ({}, "200 200 200 200 200"),
    "read": ({"scopes": ["read"]}, "200 403 403 403 200"),
    "upload": ({"scopes": ["upload"]}, "404 200 404 404 404"),
    "delete": ({"scopes": ["delete"]}, "404 404 200 200 404"),
    "admin": ({"scopes": ["admin"]}, "404 404 404 404 404"),
    "read and upload": ({"scopes": ["read", "upload"]}, "200 200 403 403 200"),
    "read and delete": ({"scopes": ["read", "delete"]}, "200 403 200 200 200"),
    "of pub-*": ({"projects": ["pub-*"]}, "404 404 404 404 200"),
    "of other-thing": ({"projects": ["other-thing"]}, "200 200 200 200 404"),
    "of another index": ({"indexes": ["stage"]}, "404 404 404 404 404"),
}
