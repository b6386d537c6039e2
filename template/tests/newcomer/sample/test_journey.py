"""The first minutes with the sample: make a link, follow it, see it counted, import a file."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from template.tests.newcomer.conftest import OpenWindow
from template.tests.newcomer.runtimes import Clone

# The first test waits for a clone that installs everything.
pytestmark = pytest.mark.timeout(900)

ROWS = 60_000  # a few seconds of importing: enough to see the bar move
COUNTED = 15_000  # ms until a click has to show up: one second to count it, four until it is asked


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file whose last row is wrong."""
    path = tmp_path_factory.mktemp("csv") / "links.csv"
    rows = (f"https://example.com/berths/{number}" for number in range(ROWS - 1))
    path.write_text("\n".join(["url", *rows, "nowhere"]))
    return path


def row(page: Page, slug: str) -> str:
    text: str = page.get_by_role("row").filter(has_text=f"/{slug}").inner_text()
    return re.sub(r"\s+", " ", text)


class TestJourney:
    """The forms of the page work without a reload."""

    def test_a_link_is_made_followed_and_counted(
        self, open_window: OpenWindow, clone: Clone
    ) -> None:
        with open_window() as window:
            window.sign_in(clone.token)
            page = window.page
            page.get_by_label("Where it leads").fill(f"{clone.url}/health/live")
            page.get_by_label("Short name").fill("first")
            page.get_by_label("Title").fill("My first link")
            page.get_by_role("button", name="Make it short").click()
            made = page.locator(".made")
            expect(made).to_have_text(re.compile(f"Your link is {clone.url}/first"))
            assert row(page, "first").endswith(" 0")
            with page.context.expect_page() as followed:
                made.get_by_role("link").click()
            expect(followed.value).to_have_url(f"{clone.url}/health/live")
            followed.value.close()
            page.bring_to_front()
            count = page.get_by_role("row").filter(has_text="/first").get_by_role("cell").last
            expect(count).to_have_text("1", timeout=COUNTED)

    def test_an_import_moves_its_bar(
        self, open_window: OpenWindow, clone: Clone, table: Path
    ) -> None:
        with open_window() as window:
            window.sign_in(clone.token)
            page = window.page
            page.get_by_label("A CSV file").set_input_files(table)
            page.get_by_role("button", name="Import").click()
            page.wait_for_url("**/page/imports/*")
            bar = page.get_by_role("progressbar")
            seen: list[float] = []
            while page.get_by_role("heading", level=1).inner_text() == "Importing":
                value = float(bar.evaluate("bar => bar.value"))
                if value not in seen:
                    seen.append(value)
                page.wait_for_timeout(50)
            expect(bar).to_have_js_property("value", ROWS)
            between = [value for value in seen if 0 < value < ROWS]
            assert len(between) >= 2, seen
            assert seen == sorted(seen)
            expect(page.get_by_text("Imported, but not every row")).to_be_visible()
            expect(page.get_by_role("row").filter(has_text=f"{ROWS + 1}")).to_contain_text("url")

    def test_signed_out_elsewhere_the_links_are_gone(
        self, open_window: OpenWindow, clone: Clone
    ) -> None:
        with open_window() as window:
            window.sign_in(clone.token)
            expect(window.page.get_by_role("heading", name="Newest links")).to_be_visible()
            window.page.context.clear_cookies()
            expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible(
                timeout=COUNTED
            )
            expect(window.page.get_by_role("heading", name="Newest links")).not_to_be_visible()


class TestWithoutScripts:
    """All of it works in a browser that runs no scripts."""

    def test_it(self, open_window: OpenWindow, clone: Clone, table: Path) -> None:
        with open_window(java_script_enabled=False) as window:
            window.sign_in(clone.token)
            page = window.page
            page.get_by_label("Where it leads").fill(f"{clone.url}/health/live")
            page.get_by_label("Short name").fill("plain")
            page.get_by_role("button", name="Make it short").click()
            expect(page.locator(".made")).to_contain_text("/plain")
            page.get_by_label("A CSV file").set_input_files(table)
            page.get_by_role("button", name="Import").click()
            # The page loads itself again until it is done.
            expect(page.get_by_role("heading", level=1)).to_have_text(
                "Imported, but not every row", timeout=60_000
            )
