"""What every service made from this one has: liveness, and a read that needs a token."""

from bench.laboratory import Laboratory, Server
from bench.load import Exchange, request
from bench.scenarios import Row, Scenario

LIVE = "/health/live"
TOKENS = "/api/v1/tokens?limit=1"


def prepare(_laboratory: Laboratory, service: Server, token: str) -> Scenario:
    live = Exchange(request("GET", LIVE), "HTTP/1.1 200 ")
    read = Exchange(request("GET", TOKENS, token=token), "HTTP/1.1 200 ", '"name":"bench"')
    return Scenario([Row(f"GET {LIVE}", service, [live]), Row(f"GET {TOKENS}", service, [read])])
