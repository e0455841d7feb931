"""A report as a browser would understand it: its elements, its words, what it links to."""

from collections import Counter
from html.parser import HTMLParser

VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})


class Parsed(HTMLParser):
    """Elements by tag, ids, attributes, and the text of each section of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.sections: dict[str, str] = {}
        self.figures: Counter[str] = Counter()
        self.tables: Counter[str] = Counter()
        self._open: list[str] = []
        self._section = ""
        self.feed(page)
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        named = {name: value or "" for name, value in attrs}
        self.attributes += named.items()
        if "id" in named:
            self.ids[named["id"]] += 1
        if tag == "section":
            self._section = named["id"]
            self.sections[self._section] = ""
        elif tag == "figure":
            self.figures[self._section] += 1
        elif tag == "table":
            self.tables[self._section] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section and "svg" not in self._open:
            self.sections[self._section] += " ".join(data.split()) + " "
