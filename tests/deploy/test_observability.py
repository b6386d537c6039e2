"""Alerts and dashboard, with the real promtool, and a real Prometheus that scrapes the service."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.config import Settings
from app.infra.queue import make_queue
from app.infra.redis import make_redis
from app.registry import FEATURES
from tests.live import ROOT
from tests.polling import eventually
from tests.service import Program, Service
from tests.sockets import unused_port

FOLDER = ROOT / "deploy" / "observability"
needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed: apt install prometheus",
)


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def alerts() -> dict[str, Any]:
    return {
        rule["alert"]: rule for group in load("alerts.yml")["groups"] for rule in group["rules"]
    }


def panels() -> list[Any]:
    found: list[Any] = json.loads((FOLDER / "grafana" / "dashboard.json").read_text())["panels"]
    return found


class TestAlerts:
    """Each alert has a section in the runbook, and tests for firing and for staying quiet."""

    def test_each_has_its_section_in_the_runbook(self) -> None:
        text = (ROOT / "docs" / "runbook.md").read_text()
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(alerts())
        for name, rule in alerts().items():
            assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"

    def test_each_is_tested_for_firing_and_for_staying_quiet(self) -> None:
        cases = [
            case for test in load("alerts.test.yml")["tests"] for case in test["alert_rule_test"]
        ]
        firing = {case["alertname"] for case in cases if case.get("exp_alerts")}
        quiet = {case["alertname"] for case in cases if not case.get("exp_alerts")}
        assert firing == quiet == set(alerts())

    @needs_prometheus
    @pytest.mark.parametrize(
        "words", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yml")]
    )
    def test_promtool_passes(self, words: tuple[str, ...]) -> None:
        done = subprocess.run(
            ["promtool", *words], cwd=FOLDER, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
class TestMetrics:
    """A Prometheus that scrapes the running service answers every panel, and knows each alert."""

    async def test_it(self, service: Service, tmp_path: Path) -> None:
        ports = {job: unused_port() for job in ("app", "worker")}
        app = service.another_app(METRICS_PORT=str(ports["app"]))
        service.worker.stop()  # it would take the job, and serves no metrics
        service.command("worker", METRICS_PORT=str(ports["worker"])).start()
        await asyncio.to_thread(app.wait_until, "/health/ready")
        async with scraping(ports, tmp_path) as prometheus, service.client(app) as client:
            traffic = asyncio.create_task(use(client))
            await run_a_job(service)
            for panel in panels():
                for target in panel["targets"]:
                    expression = target["expr"].replace("$__rate_interval", "1m")

                    async def is_answered(expression: str = expression) -> bool:
                        return bool(await ask(prometheus, "query", query=expression))

                    await eventually(f"{panel['title']}: {expression}", is_answered)
            traffic.cancel()
            rules = (await ask(prometheus, "rules"))["groups"][0]["rules"]
            assert {rule["name"] for rule in rules} == set(alerts())
            assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        known = set()
        for port in ports.values():
            known |= await served(port)
        used = {name for rule in alerts().values() for name in re.findall(r"\w+_\w+", rule["expr"])}
        metrics = {name for name in used if re.match(r"(http|db|drydock|process)_", name)}
        labels = {"http_route", "http_response_status_code", "db_client_connection_state"}
        assert {
            re.sub(r"_(total|count|bucket|sum)$", "", name) for name in metrics - labels
        } <= known


@asynccontextmanager
async def scraping(ports: dict[str, int], folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus with the shipped configuration, except for where it finds the containers."""
    config = load("prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    port = unused_port()
    words = [
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    program = Program("prometheus", [str(shutil.which("prometheus")), *words], {}, folder)
    program.start()
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False
        ) as client:
            yield client
    finally:
        program.kill()


async def ask(prometheus: httpx.AsyncClient, what: str, **params: str) -> Any:
    try:
        answer = await prometheus.get(f"/api/v1/{what}", params=params)
    except httpx.TransportError:
        return None  # it is not ready yet
    assert answer.status_code in {200, 503}, answer.text
    if answer.status_code != 200:
        return None
    data = answer.json()["data"]
    return data["result"] if what == "query" else data


async def use(client: httpx.AsyncClient) -> None:
    """Requests that are answered, refused and not found, until the task is cancelled."""
    while True:
        await client.get("/api/v1/tokens")
        await client.get("/api/v1/tokens", headers={"Authorization": "Bearer nonsense"})
        await client.get("/api/nowhere")
        await asyncio.sleep(0.05)


async def run_a_job(service: Service) -> None:
    cron = FEATURES[0].work.crons[0].task
    async with make_redis(
        Settings(database_url=service.postgres.url, redis_url=service.redis.url)
    ) as redis:
        await make_queue(redis).enqueue(cron.__qualname__)


async def served(port: int) -> set[str]:
    """The metrics that a process serves, whether they have samples or not."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    names = re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)
    return {name.removesuffix("_total") for name in names}
