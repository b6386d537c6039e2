"""A backup holds links and their clicks."""

from pathlib import Path
from secrets import token_hex

import httpx
import pytest

from tests.polling import until
from tests.stack.stack import Stack

pytestmark = pytest.mark.timeout(300)

LINKS = "/api/v1/links"


def stored(api: httpx.Client) -> dict[str, object]:
    """Return each link with its clicks."""
    links = api.get(LINKS, params={"limit": 100}).json()["items"]
    return {
        link["slug"]: (link, api.get(f"{LINKS}/{link['slug']}/clicks").json()["total"])
        for link in links
    }


class TestBackup:
    """backup and restore bring back each link, each count, and no cached redirect."""

    def test_round(self, stack: Stack, api: httpx.Client, tmp_path: Path) -> None:
        kept = f"kept-{token_hex(3)}"
        for number in range(12):
            link = {"url": f"https://example.com/{number}", "slug": f"{kept}-{number}"}
            assert api.post(LINKS, json=link).status_code == 201
            for _ in range(number % 4):
                assert api.get(f"/{kept}-{number}").status_code == 302
        last = f"{LINKS}/{kept}-11/clicks"
        until(lambda: api.get(last).json()["total"] == 3)
        before = stored(api)

        stack.script("backup", str(tmp_path / "of.dump"))
        changed = {"url": "https://example.com/changed"}
        assert api.patch(f"{LINKS}/{kept}-3", json=changed).status_code == 200
        stack.script("restore", str(tmp_path / "of.dump"), TAG="")
        until(lambda: api.get("/health").status_code == 200)
        assert stored(api) == before
        assert api.get(f"/{kept}-3").headers["Location"] == "https://example.com/3"
