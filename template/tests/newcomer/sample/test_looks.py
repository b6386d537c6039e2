"""How the sample looks on the page, in every width and both colour schemes."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import FilePayload

from template.tests.newcomer.browser import SCHEMES, WIDTHS, Scheme
from template.tests.newcomer.conftest import OpenWindow
from template.tests.newcomer.runtimes import Clone

pytestmark = pytest.mark.timeout(900)

MIXED = b"url,slug\nhttps://example.com/import,imported\nnowhere,\nhttps://a.example/,handbook\n"
CLICKS = {
    "handbook": ("https://example.com/people/handbook/2026", "Handbook for new colleagues", 34),
    "roadmap": ("https://example.com/planning?quarter=4", "Roadmap, fourth quarter", 12),
    "incident-42": ("https://example.com/incidents/42/timeline#decisions", None, 51),
    "stand-up": ("https://meet.example.com/r/9f2c-41", "Daily stand-up", 20),
    "expenses": ("https://example.com/finance/expenses.pdf", "Expenses form", 3),
    "a-name-as-long-as-names-get-here-which-is-sixty-four-characters-x": (
        f"https://example.com/{'long/' * 100}",
        "A title that goes on and on, " * 6,
        1,
    ),
}


@pytest.fixture(scope="module")
def life(clone: Clone) -> None:
    """A service with some links and clicks."""
    headers = {"Authorization": f"Bearer {clone.token}"}
    with httpx.Client(base_url=clone.url, headers=headers, timeout=20) as api:
        for slug, (url, title, clicks) in CLICKS.items():
            link = {"slug": slug[:64], "url": url, "title": title}
            assert api.post("/api/v1/links", json=link).status_code in {201, 409}
            for _ in range(clicks):
                assert api.get(f"/{slug[:64]}").status_code == 302


@pytest.mark.usefixtures("life")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
class TestLooks:
    """No width cuts anything off, and axe-core finds nothing in either scheme."""

    def test_signed_in(
        self, open_window: OpenWindow, clone: Clone, shots: Path, width: int, scheme: Scheme
    ) -> None:
        size = {"width": width, "height": 900}
        with open_window(viewport=size, color_scheme=scheme) as window:
            window.sign_in(clone.token)
            window.page.get_by_text("Newest tokens").first.click()
            window.look(shots / f"links-{width}-{scheme}.png")

    def test_a_form_that_is_wrong(
        self, open_window: OpenWindow, clone: Clone, shots: Path, width: int, scheme: Scheme
    ) -> None:
        size = {"width": width, "height": 900}
        with open_window(viewport=size, color_scheme=scheme) as window:
            window.sign_in(clone.token)
            window.page.get_by_label("Where it leads").fill("https://a:b@example.com/")
            window.page.get_by_label("Short name").fill("handbook")
            window.page.get_by_role("button", name="Make it short").click()
            window.page.get_by_text("must not contain credentials").wait_for()
            window.complaints.clear()  # Chromium reports the page's own status, 422
            window.look(shots / f"wrong-{width}-{scheme}.png")

    def test_an_import(
        self, open_window: OpenWindow, clone: Clone, shots: Path, width: int, scheme: Scheme
    ) -> None:
        size = {"width": width, "height": 900}
        file = FilePayload(name="links.csv", mimeType="text/csv", buffer=MIXED)
        with open_window(viewport=size, color_scheme=scheme) as window:
            window.sign_in(clone.token)
            window.page.get_by_label("A CSV file").set_input_files(file)
            window.page.get_by_role("button", name="Import").click()
            window.page.get_by_text("Imported, but not every row").wait_for()
            window.look(shots / f"import-{width}-{scheme}.png")
