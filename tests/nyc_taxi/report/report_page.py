"""What a report's page says, as a reader finds it: its tables, pictures and marked numbers."""

from html.parser import HTMLParser
from pathlib import Path


class ReportPage(HTMLParser):
    """A page, read from its file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text()
        self.tables: dict[str, list[list[str]]] = {}
        """Rows of cells by the table's id, the header first."""
        self.pictures: dict[str, str] = {}
        """What each picture says, by its address."""
        self.marked: dict[str, int] = {}
        """Numbers of rows by name."""
        self.headings: list[str] = []
        self.addresses: list[str] = []
        """Everything that a browser would fetch or follow."""
        self._rows: list[list[str]] | None = None
        self._into: list[str] | None = None
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.addresses += [found[name] for name in ("src", "href", "action", "srcset", "data") if name in found]
        if tag == "img":
            self.pictures[found["src"]] = found["alt"]
        elif tag == "data":
            self.marked[found["id"]] = int(found["value"])
        elif tag == "table":
            self._rows = self.tables[found["id"]] = []
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows is not None:
            self._rows[-1].append("")
            self._into = self._rows[-1]
        elif tag in ("h1", "h2"):
            self.headings.append("")
            self._into = self.headings

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h1", "h2"):
            self._into = None
        elif tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] = f"{self._into[-1]} {data.strip()}".strip()

    def column(self, table: str, number: int) -> list[float]:
        """The numbers of one column of a table, without its header."""
        return [float(row[number].replace(",", "")) for row in self.tables[table][1:]]
