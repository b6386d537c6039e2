"""The way in and out of the production stack: addresses, networks, the proxy's rights."""

import json
import ssl
from contextlib import closing
from http.client import HTTPSConnection
from typing import Any

import pytest
from python_on_whales import Container

from tests.polling import until
from tests.stack.images import ONE, Images
from tests.stack.source import run
from tests.stack.stack import Stack, rights

FORGED = "203.0.113.77"
# Ask for a page with a forged address, and print the id of the request.
FORGE = f"""
import ssl, sys, urllib.request as u
headers = {{"X-Forwarded-For": "{FORGED}", "Host": "localhost"}}
context = ssl._create_unverified_context()
with u.urlopen(u.Request(sys.argv[1] + "/docs", headers=headers), context=context) as answer:
    print(answer.headers["X-Request-Id"])
"""
# Connecting a UDP socket sends nothing, and fails if there is no way to the address.
WAY_OUT = """
import socket
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9))
    print(True)
except OSError:
    print(False)
"""
PROXY_USER = "10002"


def configuration(stack: Stack, **variables: str) -> dict[str, Any]:
    """What Compose makes of compose.yaml."""
    command = ["docker", "compose", "-f", "compose.yaml", "config", "--format", "json"]
    said = run(command, cwd=stack.source, env={**stack.environment, **variables})
    found: dict[str, Any] = json.loads(said)
    return found


def client_of(stack: Stack, request_id: str) -> str:
    """Whom the service took for the client of a request."""
    said = str(stack.container("app").logs(tail=200))
    [line] = [line for line in said.splitlines() if f'"request_id":"{request_id}"' in line]
    return str(json.loads(line)["client"])


def addresses(container: Container, network: str) -> tuple[str, str]:
    """The addresses of a container in a network, IPv4 and IPv6."""
    found = (container.network_settings.networks or {})[network]
    return str(found.ip_address), str(found.global_ipv6_address)


class TestAddresses:
    """The service believes the proxy, and nobody else, who a client is."""

    def test_another_container_forges_none(self, stack: Stack) -> None:
        back = f"{stack.name}_back"
        said = stack.run_in("worker", "python", "-c", FORGE, "http://app:8000")
        assert client_of(stack, said) == addresses(stack.container("worker"), back)[0]

    def test_the_proxy_passes_on_none_that_a_client_made_up(self, stack: Stack) -> None:
        with stack.client() as client:
            answer = client.get("/docs", headers={"X-Forwarded-For": FORGED})
        assert client_of(stack, answer.headers["x-request-id"]) not in {FORGED, None}

    def test_a_client_with_ipv6_keeps_its_address(self, stack: Stack, images: Images) -> None:
        edge = f"{stack.name}_edge"
        _, proxy = addresses(stack.container("proxy"), edge)
        # The name is in the certificate, and the address is not.
        command = ["python", "-c", FORGE, "https://localhost"]
        with_name = [("localhost", f"[{proxy}]")]
        said = stack.docker.run(
            images.name(ONE), command, networks=[edge], add_hosts=with_name, remove=True
        )
        assert ":" in client_of(stack, str(said))

    def test_a_proxy_with_a_new_address_is_believed(self, stack: Stack, images: Images) -> None:
        front = f"{stack.name}_front"
        proxy = stack.container("proxy")
        before = addresses(proxy, front)[0]
        stack.docker.network.disconnect(front, proxy)
        # Another container takes the proxy's address.
        other = stack.docker.run(
            images.name(ONE), ["sleep", "60"], detach=True, init=True, networks=[front]
        )
        try:
            stack.docker.network.connect(front, proxy, alias="proxy")
            with stack.client() as client:
                until(lambda: client.get("/docs").status_code == 200)
                answer = client.get("/docs")
            now = addresses(stack.container("proxy"), front)[0]
            assert now != before
            assert client_of(stack, answer.headers["x-request-id"]) != now
        finally:
            other.remove(force=True)


class TestWayOut:
    """Only the proxy has a way to the internet, for its certificates."""

    @pytest.mark.parametrize(
        ("service", "has"),
        [("app", False), ("worker", False), ("db", False), ("redis", False), ("proxy", True)],
    )
    def test_of_a_service(self, stack: Stack, images: Images, service: str, has: bool) -> None:  # noqa: FBT001 -- a parameter of the test
        said = stack.docker.run(
            images.name(ONE),
            ["python", "-c", WAY_OUT],
            networks=[f"container:{stack.container(service).id}"],
            remove=True,
        )
        assert said == str(has)

    def test_a_setting_opens_it(self, stack: Stack) -> None:
        networks = configuration(stack, ISOLATED="false")["networks"]
        assert not networks["back"].get("internal", False)
        assert networks["front"]["internal"]


class TestListening:
    """The proxy listens on IPv4 and IPv6, unless a setting says where."""

    @pytest.mark.parametrize(
        ("bind", "found"),
        [("", [None, None]), ("127.0.0.1", ["127.0.0.1"] * 2), ("[::1]", ["::1"] * 2)],
    )
    def test_addresses_of_the_host(self, stack: Stack, bind: str, found: list[str | None]) -> None:
        ports = configuration(stack, HTTP_BIND=bind)["services"]["proxy"]["ports"]
        assert [port.get("host_ip") for port in ports] == found
        assert [port["target"] for port in ports] == [80, 443]

    def test_a_kernel_without_ipv6(self, stack: Stack) -> None:
        assert configuration(stack, IPV6="true")["networks"]["edge"]["enable_ipv6"]
        assert not configuration(stack, IPV6="false")["networks"]["edge"]["enable_ipv6"]


class TestPort80:
    """It leads to the service, and to no other host."""

    @pytest.mark.parametrize(("host", "status"), [("localhost", 308), ("evil.example", 421)])
    def test_hosts(self, stack: Stack, host: str, status: int) -> None:
        url = f"http://127.0.0.1:{stack.variables['HTTP_PORT']}/x?y"
        with stack.client() as client:
            answer = client.get(url, headers={"Host": host})
        location = "https://localhost/x?y" if status == 308 else None
        assert (answer.status_code, answer.headers.get("location")) == (status, location)


class TestPort443:
    """It serves its own host, and no other."""

    @pytest.mark.parametrize(
        ("target", "host", "status"),
        [
            ("/health/live", "localhost", 200),
            ("/health/live", "evil.example", 421),
            ("http://evil.example/health/live", "localhost", 421),
        ],
    )
    def test_hosts(self, stack: Stack, target: str, host: str, status: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        port = int(stack.variables["HTTPS_PORT"])
        connection = HTTPSConnection("localhost", port, timeout=10, context=context)
        with closing(connection):
            connection.request("GET", target, headers={"Host": host})
            assert connection.getresponse().status == status


class TestRights:
    """The proxy is not root, and keeps the certificates of a version that was."""

    def test_processes_have_no_capability(self, stack: Stack) -> None:
        assert rights(stack.container("proxy"), "CapPrm|CapEff") == {PROXY_USER, "0" * 16}

    def test_a_volume_of_root_is_moved_over(self, stack: Stack) -> None:
        root = "/data/caddy/pki/authorities/local/root.crt"
        before = stack.run_in("proxy", "cat", root)
        stack.docker.compose.stop(["proxy"])
        [proxy] = stack.containers("proxy", every=True)
        volume = [(f"{stack.name}_caddy_data", "/data")]
        give = ["sh", "-c", "chown -R 0:0 /data && chmod 700 /data/caddy/pki"]
        stack.docker.run(str(proxy.config.image), give, user="0", volumes=volume, remove=True)
        stack.up()
        assert stack.run_in("proxy", "cat", root) == before
        assert stack.run_in("proxy", "stat", "-c", "%u", root) == PROXY_USER
