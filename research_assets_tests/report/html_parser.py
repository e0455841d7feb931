"""Parser of a report for tests: its elements, texts and links."""

from collections import Counter
from html.parser import HTMLParser

VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})


class ParsedReport(HTMLParser):
    """Elements by tag, ids, attributes, the text of each section, and the cells of each table row with an id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.sections: dict[str, str] = {}
        self.figures: Counter[str] = Counter()
        self.tables: Counter[str] = Counter()
        self.cells: dict[str, list[str]] = {}
        self._row: list[str] | None = None
        self._open: list[str] = []
        self._section = ""
        self.feed(page.replace("<wbr>", ""))
        assert not self._open, f"elements without an end tag: {self._open}"

    @property
    def links(self) -> list[str]:
        """Targets of links to other files."""
        return [value for name, value in self.attributes if name == "href" and value[0] != "#" and value != "data:,"]

    def is_self_contained(self) -> None:
        """Assert that the page loads nothing, runs nothing, and that its internal links have targets."""
        assert not {"script", "iframe", "object", "embed", "img", "form"} & set(self.tags)
        assert not [name for name, _ in self.attributes if name.startswith("on")]
        assert not [name for name, _ in self.attributes if name in ("src", "xlink:href", "action", "data")]
        assert any(value.startswith("default-src 'none'") for name, value in self.attributes if name == "content")
        assert {value[1:] for name, value in self.attributes if name == "href" and value[0] == "#"} <= set(self.ids)
        assert [identity for identity, times in self.ids.items() if times > 1] == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)

    def _add(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        named = {name: value or "" for name, value in attrs}
        self.attributes += named.items()
        if "id" in named:
            self.ids[named["id"]] += 1
        if tag == "tr":
            self._row = self.cells.setdefault(named["id"], []) if "id" in named else None
        elif tag in ("td", "th") and self._row is not None:
            self._row.append("")
        if tag == "section":
            self._section = named["id"]
            self.sections[self._section] = ""
        elif tag == "figure":
            self.figures[self._section] += 1
        elif tag == "table":
            self.tables[self._section] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "tr":
            self._row = None
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section and "svg" not in self._open:
            self.sections[self._section] += " ".join(data.split()) + " "
            if self._row:
                self._row[-1] = " ".join([*self._row[-1].split(), *data.split()])
