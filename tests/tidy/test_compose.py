"""docker-compose.yml refers to nothing that does not exist, and leaves nothing to a default that hurts."""

import re

import pytest
import yaml

from dataflows.settings import load_settings
from ops.cli import COMMANDS
from ops.commands.run import Flow
from ops.kafka.installation import kafka_version
from tests.tidy.source import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "ratemill"}
FLOWS = {name: service for name, service in OURS.items() if service["command"][0] == "run"}
CLUSTER = {
    "broker",
    "topics",
    "rating",
    "relay",
    "settlement",
    "notifications",
    "mail",
    "synthetic",
    "prometheus",
    "grafana",
}
GRAFANA = "ops/compose/grafana"


def seconds(duration: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def interpolated(text: str) -> str:
    """Text with the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: dict) -> dict[str, str]:
    """Where in the container: what of the host."""
    parts = [interpolated(volume).split(":") for volume in service.get("volumes", [])]
    return {inside: outside for outside, inside, *_ in parts}


def document(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text())


def each(services: dict):
    return pytest.mark.parametrize(("name", "service"), services.items(), ids=list(services))


def test_both_forms_are_there():
    assert set(SERVICES) == CLUSTER | {"ratemill"}
    assert SERVICES["ratemill"]["profiles"] == ["embedded"]


@each(SERVICES)
def test_what_a_service_waits_for_can_happen(name, service):
    for needed, how in service.get("depends_on", {}).items():
        other = SERVICES[needed]
        assert set(other.get("profiles", [])) <= set(service.get("profiles", [])), needed
        match how["condition"]:
            case "service_healthy":
                assert "test" in other["healthcheck"]
            case "service_completed_successfully":
                assert other["restart"] == "no"
            case condition:
                assert condition == "service_started"


def test_services_start_in_some_order():
    started: set[str] = set()
    while ready := {name for name in SERVICES if set(SERVICES[name].get("depends_on", {})) <= started} - started:
        started |= ready
    assert started == set(SERVICES)


@each(SERVICES)
def test_a_service_is_bounded_and_watched(name, service):
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert service["restart"] in ("no", "unless-stopped")
    assert seconds(service["stop_grace_period"]) >= 30
    assert service["healthcheck"] == {"disable": True} if name == "topics" else service["healthcheck"]["test"]


@each(SERVICES)
def test_what_is_mounted_exists(name, service):
    for inside, outside in mounts(service).items():
        assert inside.startswith("/")
        assert (ROOT / outside).exists() if outside.startswith(".") else outside in COMPOSE["volumes"], outside


def test_each_volume_is_used():
    assert set(COMPOSE["volumes"]) <= {outside for service in SERVICES.values() for outside in mounts(service).values()}


@each(SERVICES)
def test_ports_are_open_to_this_machine_only(name, service):
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_no_port_is_given_twice():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(ports) == sorted(set(ports))


@each({name: service for name, service in SERVICES.items() if name not in OURS})
def test_images_of_others_have_a_version(name, service):
    assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])


def test_the_broker_is_that_of_the_tests():
    assert SERVICES["broker"]["image"] == f"apache/kafka:{kafka_version()}"


@each(OURS)
def test_settings_are_known(name, service):
    settings = load_settings(service["environment"])
    if name in CLUSTER:
        assert settings.kafka["bootstrap.servers"] in SERVICES["broker"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
        assert settings.metrics_host == "0.0.0.0"
        assert service["expose"] == [str(settings.metrics_port)]
    assert any(str(settings.ledger).startswith(f"{inside}/") for inside in mounts(service))


@each(OURS)
def test_commands_exist(name, service):
    assert service.get("entrypoint", ["sh", "-c"]) == ["sh", "-c"]
    lines = service["command"][0].split(" && ") if "entrypoint" in service else ["ratemill " + service["command"][0]]
    for line in lines:
        program, command, *_ = line.split()
        assert (program, command in COMMANDS) == ("ratemill", True)


def test_every_flow_runs():
    assert all(service["command"][1] == name for name, service in FLOWS.items())
    assert {name for name, service in FLOWS.items() if "profiles" not in service} == FLOWS.keys() == set(Flow)


@each({name: service for name, service in SERVICES.items() if "test" in service["healthcheck"]})
def test_a_healthcheck_asks_the_service_itself(name, service):
    asked = " ".join(service["healthcheck"]["test"])
    assert all(host in ("localhost", name) for host in re.findall(r"\b([a-z]+):\d+\b", asked))


def test_prometheus_asks_flows_at_their_port():
    scraped = document("ops/compose/prometheus.yml")["scrape_configs"]
    targets = {target for job in scraped for static in job["static_configs"] for target in static["targets"]}
    assert "rating:9464" in targets
    for target in targets:
        name, port = target.split(":")
        assert FLOWS[name]["environment"]["RATEMILL_METRICS_PORT"] == port


def test_prometheus_reads_the_file_that_is_mounted():
    service = SERVICES["prometheus"]
    (path,) = (word.partition("=")[2] for word in service["command"] if word.startswith("--config.file="))
    assert mounts(service)[path] == "./ops/compose/prometheus.yml"


def test_grafana_asks_prometheus():
    (source,) = document(f"{GRAFANA}/datasources/prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert mounts(SERVICES["grafana"])["/etc/grafana/provisioning"] == f"./{GRAFANA}"


def test_grafana_shows_the_dashboards():
    (provider,) = document(f"{GRAFANA}/dashboards/ratemill.yml")["providers"]
    folder = mounts(SERVICES["grafana"])[provider["options"]["path"]]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/ratemill.json"
    assert (ROOT / folder / "ratemill.json").exists()
