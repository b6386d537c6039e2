"""How the page looks in every width and both colour schemes, and whether it is accessible.

The screenshots are in .local/screenshots, for people to look at.
"""

from pathlib import Path

import pytest

from template.tests.newcomer.browser import SCHEMES, WIDTHS, Scheme
from template.tests.newcomer.conftest import OpenWindow
from template.tests.newcomer.runtimes import Clone

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
class TestLooks:
    """No width cuts anything off, and axe-core finds nothing in either scheme."""

    def test_to_a_stranger(
        self, open_window: OpenWindow, shots: Path, width: int, scheme: Scheme
    ) -> None:
        size = {"width": width, "height": 900}
        with open_window(viewport=size, color_scheme=scheme) as window:
            window.open()
            window.look(shots / f"stranger-{width}-{scheme}.png")

    def test_signed_in(
        self, open_window: OpenWindow, clone: Clone, shots: Path, width: int, scheme: Scheme
    ) -> None:
        size = {"width": width, "height": 900}
        with open_window(viewport=size, color_scheme=scheme) as window:
            window.sign_in(clone.token)
            window.page.get_by_text("Newest tokens").click()
            window.look(shots / f"signed-in-{width}-{scheme}.png")

    def test_an_error(
        self, open_window: OpenWindow, shots: Path, width: int, scheme: Scheme
    ) -> None:
        size = {"width": width, "height": 900}
        with open_window(viewport=size, color_scheme=scheme) as window:
            window.open("/page/imports/1")
            window.complaints.clear()  # Chromium reports the page's own status, 401
            window.look(shots / f"error-{width}-{scheme}.png")
