"""What every service made from this one has: liveness, and a read that needs a token."""

from collections.abc import Mapping, Sequence

from bench.laboratory import Laboratory, Server
from bench.load import Exchange, Outcome, request
from bench.scenarios import Row, Scenario

LIVE = "/health/live"
TOKENS = "/api/v1/tokens?limit=1"


class Api:
    def __init__(self, service: Server, token: str) -> None:
        live = Exchange(request("GET", LIVE), "HTTP/1.1 200 ")
        read = Exchange(request("GET", TOKENS, token=token), "HTTP/1.1 200 ", '"name":"bench"')
        self.rows = [
            Row(f"GET {LIVE}", service, [live]),
            Row(f"GET {TOKENS}", service, [read]),
        ]

    def check(self, _laboratory: Laboratory, _runs: Mapping[str, Sequence[Outcome]]) -> bool:
        return True


def prepare(_laboratory: Laboratory, service: Server, token: str) -> Scenario:
    return Api(service, token)
