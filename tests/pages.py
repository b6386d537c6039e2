"""Reading pages as a browser does: elements and text, never patterns in the source."""

from html.parser import HTMLParser
from typing import NamedTuple


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str]


class Page(HTMLParser):
    """`elements` in their order, and the text that people read."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._texts: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self._texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [
            element
            for element in self.elements
            if element.tag == tag and attributes.items() <= element.attributes.items()
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, (tag, attributes, found)
        return found[0]

    def forms(self, path: str) -> list[Element]:
        """The forms that are sent to this path. The key behind it differs each time."""
        return [
            form
            for form in self.all("form")
            if form.attributes.get("action", "").partition("?")[0] == path
        ]

    def active(self) -> list[Element]:
        """What could run or load something: none of it may come from what people typed."""
        return [element for element in self.elements if _is_active(element)]


def _is_active(element: Element) -> bool:
    return (
        element.tag in {"script", "img", "iframe", "object", "embed", "style", "base"}
        or any(name.startswith("on") or name == "style" for name in element.attributes)
        or any(
            element.attributes.get(name, "").strip().lower().startswith(("javascript:", "data:"))
            for name in ("href", "src", "action", "formaction")
        )
    )
