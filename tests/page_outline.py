"""What a page of a report would load, and whether its tags close."""

from html.parser import HTMLParser


class Outline(HTMLParser):
    """Collects what a page would load, its ids, and whether its tags close."""

    void = frozenset({"meta", "link", "input", "br", "wbr", "path", "rect", "line", "use", "stop"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [f"{name}={value}" for name, value in attrs if name in ("src", "srcset", "href", "xlink:href")]
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag
