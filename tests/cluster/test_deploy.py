"""The files in deploy/: without an engine for containers, all that can be held to the program is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from pidex.config import Settings, drop_boxes, load
from tests.cli.test_service import parsed
from tests.cluster.nodes import of
from tests.walks.server import TOP, environment

DEPLOY = TOP / "deploy"
NODES = ("node1", "node2", "node3")
SETTINGS = str(DEPLOY / "cluster.toml")


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def settings() -> Settings:
    return load({"config": SETTINGS}, {})


def test_the_settings_are_some_and_each_service_that_they_name_is_there(compose: Any) -> None:
    found = settings()
    assert found.catalogue is not None
    assert found.catalogue.endswith("@database/pidex")
    assert found.storage_endpoint == "http://objects:8333"
    assert {"database", "objects", "bucket", "front", *NODES} == set(compose["services"])
    [subnet] = compose["networks"]["default"]["ipam"]["config"]
    assert [subnet["subnet"]] == [*found.trusted_proxies]
    port = compose["services"]["front"]["ports"][0].rpartition(":")[0]
    assert found.public_url == f"http://localhost:{port.partition(':')[2]}"


@pytest.mark.parametrize("name", NODES)
def test_a_node_starts_as_the_program_takes_it(compose: Any, name: str) -> None:
    node = compose["services"][name]
    flags = {key: value for key, value in parsed(node["command"]).items() if value not in (None, ())}
    assert str(flags["config"]) == "/etc/pidex/cluster.toml"
    started = load({**flags, "config": SETTINGS}, {})
    assert (started.host, started.port, started.data) == ("0.0.0.0", 3141, Path("/srv/data"))
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in node["volumes"]}
    assert mounted["/srv/data"] == name  # nobody else's
    assert mounted["/etc/pidex/cluster.toml"] == "./cluster.toml"
    for box in drop_boxes(started):
        assert mounted[str(box)] == "drop"
    assert set(mounted.values()) - {"./cluster.toml"} <= set(compose["volumes"])
    assert int(node["stop_grace_period"].removesuffix("s")) > started.grace
    keys = node["environment"]
    assert {"PGPASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} == set(keys)


def test_secrets_are_asked_for_and_written_nowhere(compose: Any) -> None:
    words = (DEPLOY / "compose.yaml").read_text()
    for name in ("PIDEX_DATABASE_SECRET", "PIDEX_BUCKET_SECRET"):
        assert words.count(f"${{{name}:?") >= 2
    database = compose["services"]["database"]["environment"]
    assert database["POSTGRES_PASSWORD"].startswith("${PIDEX_DATABASE_SECRET:?")


def test_no_image_comes_from_a_place_that_is_written_down(compose: Any) -> None:
    for name, service in compose["services"].items():
        assert service["image"].count("/") <= 1, name
        assert "." not in service["image"].partition("/")[0].partition(":")[0], name


def test_nginx_and_the_containerfile_are_what_the_program_prints() -> None:
    nodes = [word for name in NODES for word in ("--node", f"{name}:3141")]
    # Tests are run without an upstream, which these files say nothing of.
    environ = {key: value for key, value in environment().items() if key != "PIDEX_NO_UPSTREAM"}

    def said(*words: str) -> str:
        command = [sys.executable, "-m", "pidex", "service", *words]
        return subprocess.run(command, cwd=TOP, env=environ, check=True, stdout=-1, text=True).stdout

    assert said("nginx", "--http", "--config", SETTINGS, *nodes) == (DEPLOY / "nginx.conf").read_text()
    printed = said("docker", "--config", "deploy/cluster.toml")
    assert printed == (DEPLOY / "Containerfile").read_text()
    assert "psycopg" in printed
    assert "obstore" in printed


def composes() -> bool:
    """Whether docker is here, with its plugin for compose files."""
    program = shutil.which("docker")
    words = [str(program), "compose", "version"]
    return program is not None and subprocess.run(words, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not composes(), reason="NOT TESTED: there is no docker compose")
def test_docker_takes_the_compose_file() -> None:
    environ = {**os.environ, "PIDEX_DATABASE_SECRET": "a", "PIDEX_BUCKET_SECRET": "b"}
    words = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tests_of_the_cluster_have_the_same_settings() -> None:
    """What `tests/cluster/test_ingress.py` runs as processes is what these files run in containers."""
    from pidex.backends.objects.bucket import Place

    written = {line.partition(" = ")[0] for line in (DEPLOY / "cluster.toml").read_text().splitlines()}
    tested = {line.partition(" = ")[0] for line in of(Place("s3://a/b", "http://c")).splitlines()}
    tested |= {"catalogue", "drop_folders", "trusted_proxies"}
    plain = {"public_url", "log", "workers"}
    assert {name for name in written if not name.startswith("#")} - plain <= tested
