"""Builds pidex from its settings: the only package that names concrete classes; starts server and loops."""

from pidex.app.faces import site, worker
from pidex.app.main import serve
from pidex.app.parts import Pidex, Source, administration, build, calls

__all__ = ["Pidex", "Source", "administration", "build", "calls", "serve", "site", "worker"]
