"""Requests at a steady rate to the service in a cluster, and the books afterwards.

CLUSTER_SECONDS is how long each load lasts, 60 by default.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.kubernetes.cluster import Cluster
from tests.polling import until
from tests.stack.load import under_load

SECONDS = float(os.environ.get("CLUSTER_SECONDS", "60"))
RATE = 100  # requests a second
POST_EVERY = 20  # one of so many makes a link
LINKS = "/api/v1/links"


@contextmanager
def loaded(
    cluster: Cluster,
    api: httpx.Client,
    slugs: list[str],
    *,
    held: int = 0,
    refused: bool = False,
    apart_from: str = "",
) -> Iterator[None]:
    """Load the service during the block. Each redirect was answered, and counted once.

    At most `held` requests were lost with a process that was killed: they may have been counted.
    `refused`: requests that need Postgres may hear 503 meanwhile.
    """

    def build(client: httpx.AsyncClient, number: int) -> httpx.Request:
        if number % POST_EVERY == 0:
            made = {"url": "https://example.com/made"}
            return client.build_request("POST", LINKS, headers=api.headers, json=made)
        slug = slugs[number % len(slugs)]
        return client.build_request("GET", f"/{slug}", headers={"Host": "localhost"})

    before = clicks(api, slugs)
    url = cluster.address(apart_from=apart_from)
    with under_load(url, build, rate=RATE, seconds=SECONDS) as outcome:
        yield
    print(f"\n{outcome}; {dict(outcome.statuses)}; {outcome.lost[:3]}")  # noqa: T201 -- the figures
    assert len(outcome.lost) <= held, outcome.lost
    wrong = [fault for fault in outcome.wrong if not (refused and ": 503 (" in fault)]
    assert len(wrong) <= held, wrong
    redirects = outcome.statuses[302]
    until(lambda: clicks(api, slugs) - before >= redirects, every=0.5)
    assert 0 <= clicks(api, slugs) - before - redirects <= held


def clicks(api: httpx.Client, slugs: list[str]) -> int:
    return sum(api.get(f"{LINKS}/{slug}/clicks").json()["total"] for slug in slugs)
