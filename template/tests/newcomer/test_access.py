"""Signing in and out, with and without a mouse."""

import pytest
from playwright.sync_api import expect

from template.tests.newcomer.conftest import OpenWindow
from template.tests.newcomer.runtimes import Clone

# The first test waits for a clone that installs everything.
pytestmark = pytest.mark.timeout(900)

PATIENCE = 15_000  # ms; a page asks every four seconds


class TestToken:
    """A token opens the page until the user signs out, and no script can read it."""

    def test_a_token_that_is_none_is_refused(self, open_window: OpenWindow) -> None:
        with open_window() as window:
            window.open()
            window.page.get_by_label("Token").fill("nonsense")
            window.page.get_by_role("button", name="Sign in").click()
            expect(window.page.get_by_text("The token is malformed.")).to_be_visible()
            expect(window.page.get_by_label("Token")).to_be_visible()
            # Chromium reports the page's own status, 401, and nothing else.
            (complaint,) = window.complaints
            assert "401" in complaint
            window.complaints.clear()

    def test_signing_out_ends_it(self, open_window: OpenWindow, clone: Clone) -> None:
        with open_window() as window:
            window.sign_in(clone.token)
            assert [cookie["httpOnly"] for cookie in window.page.context.cookies()] == [True]
            assert window.page.evaluate("document.cookie") == ""
            window.page.get_by_role("button", name="Sign out").click()
            expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
            assert window.page.context.cookies() == []


class TestLive:
    """An open page shows that it can't reach the service, and goes on when it can."""

    def test_without_a_network(self, open_window: OpenWindow) -> None:
        with open_window() as window:
            window.open()
            stale = window.page.get_by_text("No answer since")
            window.page.context.set_offline(True)
            expect(stale).to_be_visible(timeout=PATIENCE)
            window.complaints.clear()  # Chromium reports each request that failed
            window.page.context.set_offline(False)
            expect(stale).not_to_be_visible(timeout=PATIENCE)
            window.complaints.clear()


class TestKeyboard:
    """The keyboard reaches everything, and the focus is visible."""

    def test_from_the_top_to_the_first_form(self, open_window: OpenWindow, clone: Clone) -> None:
        with open_window() as window:
            window.open()
            page = window.page
            page.keyboard.press("Tab")
            expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
            for _ in range(20):
                page.keyboard.press("Tab")
                if page.evaluate("document.activeElement.id") == "token":
                    break
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) == "solid"
            page.keyboard.type(clone.token)
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Sign out")).to_be_visible()
