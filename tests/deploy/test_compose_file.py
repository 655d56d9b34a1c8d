"""What docker-compose.yml promises: checked by Docker Compose itself, and by reading it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import compose_file
from tests.deploy.compose_file import OURS, PATH
from tests.deploy.documents import read_yaml
from tests.docs.pages import ROOT, get_page, list_rows
from tests.servers.kafka.jars import POM
from tests.servers.postgres import find_binaries

VARIABLES = {
    "POSTGRES_PASSWORD": "p0stgres",
    "REDIS_PASSWORD": "r3dis",
    "LLMRING_PRINCIPAL_SEED": "c2VlZA==",
    "LLMRING_PRINCIPAL_PUBLIC_KEYS": "cHVibGlj",
    "LLMRING_RECEIPTS_SIGNING_SEED": "cmVjZWlwdHM=",
    "LLMRING_WEBHOOKS_KEY": "d2ViaG9va3M=",
}
COMPOSE = compose_file.read_compose(VARIABLES)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EACH_SERVICE = pytest.mark.parametrize("name", SERVICES)

DATABASE_USERS = set(OURS) - {"gateway"}


def ask_compose(
    program: Path, *arguments: str, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose on the file, without an engine and without a `.env`."""
    return subprocess.run(
        [program, "--file", PATH, "--env-file", "/dev/null", *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_docker_compose_accepts_the_file(docker_compose: Path) -> None:
    done = ask_compose(docker_compose, "--profile", "observability", "config", "--quiet", variables=VARIABLES)
    assert (done.returncode, done.stderr) == (0, "")


def test_docker_compose_reads_what_these_tests_read(docker_compose: Path) -> None:
    done = ask_compose(docker_compose, "--profile", "*", "config", "--format", "json", variables=VARIABLES)
    theirs = json.loads(done.stdout)["services"]
    assert theirs.keys() == SERVICES.keys()
    for name, service in SERVICES.items():
        # Compose writes a dollar twice, so that what it prints can be read again.
        command = [each.replace("$$", "$") for each in theirs[name].get("command") or []]
        assert command == service.get("command", []), name
        assert (theirs[name].get("environment") or {}) == service.get("environment", {}), name
        test = [each.replace("$$", "$") for each in theirs[name]["healthcheck"].get("test", [])]
        assert test == service["healthcheck"].get("test", []), name


@pytest.mark.parametrize("missing", VARIABLES)
def test_without_a_secret_it_says_how_to_make_one(docker_compose: Path, missing: str) -> None:
    variables = {name: value for name, value in VARIABLES.items() if name != missing}
    done = ask_compose(docker_compose, "config", "--quiet", variables=variables)
    assert done.returncode != 0
    assert missing in done.stderr
    assert "run deploy/compose/make-env.sh" in done.stderr
    with pytest.raises(compose_file.MissingVariableError, match=missing):
        compose_file.read_compose(variables)


def test_every_variable_of_the_file_is_on_the_page_or_made_by_the_script() -> None:
    used = set(re.findall(r"\$\{(\w+):", PATH.read_text()))
    rows = list_rows(get_page("docs/deployment.md").prose, "in `.env`")
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    made = VARIABLES.keys()
    assert used - made - {"OTEL_TRACES_SAMPLER_ARG"} == told - {"COMPOSE_PROFILES"}


def test_every_process_is_there() -> None:
    assert SERVICES["migrate"]["command"] == ["migrate"]
    for name in ("gateway", "registry", "ingest", "auth", "receipts", "webhooks"):
        assert SERVICES[name]["command"] == ["serve", name]
    for name in ("rater", "issuer"):
        assert SERVICES[name]["command"] == ["worker", name]
    assert SERVICES["deliverer"]["command"] == ["worker", "webhooks"]
    optional = {name for name, service in SERVICES.items() if service.get("profiles")}
    assert optional == {"otel-collector", "prometheus"}
    assert all(SERVICES[name]["profiles"] == ["observability"] for name in optional)


def test_no_secret_is_in_the_file() -> None:
    text = PATH.read_text()
    for line in text.splitlines():
        if re.search(r"PASSWORD|SEED|SECRET|requirepass|AUTH:", line) and not line.lstrip().startswith("#"):
            required = re.search(r"\$\{\w+:\?", line)
            optional = re.search(r"\$\{LLMRING_(SMTP_PASSWORD|\w+_CLIENT_SECRET):-\}", line)
            assert required or optional or line.strip() == "- --requirepass", line
    assert not re.search(r"://\w*:(?!\$\{)[^@\s/]+@", text), "a password in a URL"


def test_only_the_gateway_publishes_a_port_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8080:8080"]}


@EACH_SERVICE
def test_every_container_has_a_health_check_limits_and_a_restart_policy(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    if name == "migrate":
        assert service["healthcheck"] == {"disable": True}, "it ends: its status is its health"
        assert re.fullmatch(r"on-failure:\d+", service["restart"])
    else:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"], "logs would fill the disk"


@EACH_SERVICE
def test_no_container_may_gain_rights(name: str) -> None:
    service = SERVICES[name]
    assert "privileged" not in service
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    # The image of Postgres changes the owner of its data before it becomes that user.
    assert service.get("cap_drop") == (None if name == "postgres" else ["ALL"])


@EACH_SERVICE
def test_every_image_is_pinned_by_its_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+[\w.-]*$", SERVICES[name]["image"])


def test_the_servers_are_those_that_the_tests_use() -> None:
    kafka = re.findall(r"<version>([\d.]+)</version>", POM.read_text())[-1]
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka}"
    done = subprocess.run(
        [find_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    assert SERVICES["postgres"]["image"] == f"postgres:{done.stdout.split()[-1]}"


@pytest.mark.parametrize("name", OURS)
def test_our_processes_write_nothing_and_have_time_to_drain(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert not service.get("volumes")
    assert int(service["stop_grace_period"].removesuffix("s")) > 15


def test_the_gateway_cannot_reach_postgres() -> None:
    on = {
        network: {n for n, s in SERVICES.items() if network in s["networks"]}
        for network in COMPOSE["networks"]
    }
    assert on["database"] == DATABASE_USERS | {"postgres"}
    assert on["public"] == {"gateway", "otel-collector"}
    assert on["mail"] == {"auth"}
    assert on["hooks"] == {"deliverer"}
    outward = {name for name, each in COMPOSE["networks"].items() if not each.get("internal")}
    assert outward == {"public", "mail", "hooks"}


def test_whoever_names_a_host_is_on_a_network_with_it() -> None:
    for name in OURS:
        service = SERVICES[name]
        named = set(
            re.findall(r"(?:@|//|^)([a-z]+):\d+", "\n".join(service["environment"].values()), re.MULTILINE)
        )
        assert named
        for host in named & SERVICES.keys():
            assert set(service["networks"]) & set(SERVICES[host]["networks"]), f"{name} cannot reach {host}"


def test_what_must_survive_lies_in_volumes() -> None:
    volumes = {name: SERVICES[name]["volumes"] for name in ("postgres", "kafka")}
    assert volumes == {"postgres": ["postgres:/var/lib/postgresql"], "kafka": ["kafka:/var/lib/kafka/data"]}
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"
    assert COMPOSE["volumes"].keys() >= {"postgres", "kafka"}


def test_an_acknowledged_record_is_on_disk_where_there_is_no_second_copy() -> None:
    environment = SERVICES["kafka"]["environment"]
    assert environment["KAFKA_LOG_FLUSH_INTERVAL_MESSAGES"] == "1"
    assert environment["KAFKA_LOG_RETENTION_MS"] == "-1"


def test_postgres_has_a_connection_for_everybody() -> None:
    from services.cli.process import POOL_SIZE

    command = " ".join(SERVICES["postgres"]["command"])
    allowed = int(re.search(r"max_connections=(\d+)", command)[1])  # type: ignore[index]  # it is there
    assert allowed > len(DATABASE_USERS) * (POOL_SIZE + 1) * 1.5


def test_mounted_files_are_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file(), volume


def test_the_collector_listens_where_traces_are_sent_and_has_a_health_check() -> None:
    collector = read_yaml(ROOT / "deploy" / "compose" / "otel-collector.yaml")
    port = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].partition(":")[2]
    example = (ROOT / "deploy" / "compose" / "make-env.sh").read_text()
    assert f"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://otel-collector:{port}/v1/traces" in example
    health = collector["extensions"]["health_check"]["endpoint"]
    assert f"http://{health}/" in SERVICES["otel-collector"]["healthcheck"]["test"]
    for pipeline in collector["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= collector[part].keys()
