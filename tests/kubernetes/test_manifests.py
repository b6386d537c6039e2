"""The manifests are valid, agree with compose.yaml, and their pods have few rights."""

import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import Settings
from app.infra.capacity import count_connections
from app.registry import SETTINGS
from tests.kubernetes.manifests import COMPONENTS, FOLDER, OVERLAYS, load, named, pods, render
from tests.kubernetes.manifests import settings as settings_of
from tests.live import ROOT

pytestmark = pytest.mark.skipif(
    not (shutil.which("kubectl") and shutil.which("kubernetes-validate")),
    reason="kubectl and kubernetes-validate are not installed: make tools",
)
# Kinds of other projects, whose schemas kubernetes-validate does not have.
FOREIGN = {"HTTPRoute", "PodMonitor"}
# Only the migration's job reads it.
OWN = {"DATABASE_OWNER_URL"}


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    """The pods of development."""
    return dict(pods(load(render(FOLDER / "overlays" / "development"))))


def check(file: Path) -> None:
    done = subprocess.run(
        ["kubernetes-validate", "--strict", "--quiet", str(file)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class TestSchemas:
    """Each overlay, and each component with the base, fits the current version of Kubernetes."""

    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_overlay(self, overlay: str, tmp_path: Path) -> None:
        file = tmp_path / "rendered.yaml"
        file.write_text(render(FOLDER / "overlays" / overlay))
        check(file)

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_component(self, component: str, tmp_path: Path) -> None:
        copy = tmp_path / "deploy"
        shutil.copytree(FOLDER.parent, copy)  # kustomize wants relative paths
        overlay = copy / "kubernetes" / "overlays" / "one"
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(
            textwrap.dedent(f"""\
                resources: [../../base]
                components: [../../components/{component}]
                namespace: drydock
                configMapGenerator: [{{ name: settings, literals: [A=b] }}]
                """)
        )
        file = tmp_path / "rendered.yaml"
        known = [found for found in load(render(overlay)) if found["kind"] not in FOREIGN]
        file.write_text(yaml.safe_dump_all(known))
        check(file)


@pytest.mark.parametrize("overlay", OVERLAYS)
class TestPods:
    """Each pod is as Pod Security's `restricted` demands, and can't fill a node."""

    def test_they_have_few_rights(self, overlay: str) -> None:
        for name, pod in pods(load(render(FOLDER / "overlays" / overlay))):
            assert pod["automountServiceAccountToken"] is False, name
            assert pod["enableServiceLinks"] is False, name
            assert pod["securityContext"]["runAsNonRoot"] is True, name
            assert pod["securityContext"]["runAsUser"] != 0, name
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }, name
                memory = container["resources"]["limits"]["memory"]
                assert container["resources"]["requests"]["memory"] == memory, name

    def test_probes_ask_for_a_host_that_is_allowed(self, overlay: str) -> None:
        app = dict(pods(load(render(FOLDER / "overlays" / overlay))))["app"]["containers"][0]
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            (header,) = app[kind]["httpGet"]["httpHeaders"]
            assert header["name"] == "Host"
            assert header["value"] in settings_of(overlay)["ALLOWED_HOSTS"].split(",")

    def test_settings_are_known_and_their_connections_fit(self, overlay: str) -> None:
        given = settings_of(overlay)
        kinds = [Settings.model_fields, *(kind.model_fields for kind in SETTINGS)]
        assert {name.lower() for name in set(given) - OWN} <= {n for kind in kinds for n in kind}
        scaler = named(
            load(render(FOLDER / "overlays" / overlay)), "HorizontalPodAutoscaler", "app"
        )
        replicas = int(given["REPLICAS"])
        assert replicas == scaler["spec"]["maxReplicas"]
        changed = {"replicas": replicas, "database_pool_size": int(given["DATABASE_POOL_SIZE"])}
        urls: dict[str, Any] = {"database_url": given["DATABASE_URL"], "redis_url": "redis://redis"}
        needed = count_connections(Settings(**urls).model_copy(update=changed))
        assert needed <= 97  # of Postgres' usual 100


class TestCompose:
    """Kubernetes runs the same as compose.yaml."""

    @pytest.mark.parametrize("name", ["app", "worker", "migrate", "redis"])
    def test_memory(self, rendered: dict[str, Any], compose: Any, name: str) -> None:
        (default,) = re.findall(r":-(\d+)m\}", compose[name]["mem_limit"])
        (container,) = rendered[name]["containers"]
        assert container["resources"]["limits"]["memory"] == f"{default}Mi"

    def test_images(self, rendered: dict[str, Any], compose: Any) -> None:
        for name, service in (("postgres", "db"), ("redis", "redis")):
            (default,) = re.findall(r":-([^}]+)\}", compose[service]["image"])
            assert rendered[name]["containers"][0]["image"] == default

    def test_users(self, rendered: dict[str, Any], compose: Any) -> None:
        of_image = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1]
        users = dict.fromkeys(("app", "worker", "migrate"), of_image)
        users |= {"postgres": compose["db"]["user"], "redis": compose["redis"]["user"]}
        for name, user in users.items():
            context = rendered[name]["securityContext"]
            assert f"{context['runAsUser']}:{context['runAsGroup']}" == user

    def test_commands(self, rendered: dict[str, Any], compose: Any) -> None:
        for name in ("worker", "migrate"):
            assert rendered[name]["containers"][0]["args"] == compose[name]["command"]
        ours = rendered["redis"]["containers"][0]["args"][0]
        theirs = compose["redis"]["command"][-1].replace("$$", "$")
        theirs = theirs.replace("${REDIS_MAXMEMORY:-200mb}", "200mb")
        assert ours == theirs.replace("/etc/redis.conf", "/etc/redis/redis.conf")

    def test_a_pod_has_the_time_to_finish(self, rendered: dict[str, Any]) -> None:
        grace = int(Settings.model_fields["shutdown_grace"].default)
        (app,) = rendered["app"]["containers"]
        pause = int(app["lifecycle"]["preStop"]["exec"]["command"][-1])
        assert rendered["app"]["terminationGracePeriodSeconds"] >= grace + pause + 5
        assert rendered["worker"]["terminationGracePeriodSeconds"] >= grace + 5
