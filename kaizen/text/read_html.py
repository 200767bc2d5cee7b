"""HTML as text, by lxml: tolerant of any markup, in C, and without recursion. Runs in the sandbox."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from lxml import etree

from kaizen.errors import BadDocument
from kaizen.text.decode import decode

# What a reader of the page does not read as its text. Navigation is the same on every page of a site.
_DROPPED = frozenset(
    {"script", "style", "template", "noscript", "head", "iframe", "object", "embed", "svg", "canvas", "audio"}
    | {"video", "nav", "button", "select", "textarea"}
)
_PARAGRAPHS = frozenset(
    {"p", "div", "section", "article", "main", "header", "footer", "aside", "blockquote", "pre", "table", "ul", "ol"}
    | {"dl", "figure", "figcaption", "form", "fieldset", "address", "details", "summary", "hr", "body"}
    | {"h1", "h2", "h3", "h4", "h5", "h6"}
)
_HEADED = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "summary"})  # a button in one is what folds it: its words
_LINES = frozenset(["br", "tr", "li", "dt", "dd", "caption", "option"])
_SPACE = re.compile(r"[ \t\r\n\f]+")
_EMPTY_ITEMS = re.compile("^- *\n", re.MULTILINE)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
# The WHATWG Encoding Standard: its labels; and a page whose ASCII names UTF-16 cannot be in it.
_AS_BROWSERS_DO = {"iso8859-1": "cp1252", "ascii": "cp1252"} | dict.fromkeys(
    ("utf-16", "utf-16-le", "utf-16-be"), "utf-8"
)
# Codecs of Python that are no encodings of pages: one of them takes time quadratic in the page.
_NO_CHARSETS = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "utf-7"})


def rows(file: BinaryIO, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the one document of `file`: title, text, metadata."""
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True)
    text = _decoded(file.read())
    root = etree.fromstring(text.encode("utf-8", "replace"), parser) if text.strip() else None
    if any("Excessive depth" in entry.message for entry in parser.error_log):
        raise BadDocument("Its tags are nested deeper than 2048.", advice="Flatten it, or send its text.")
    if root is None:
        raise BadDocument("It has no text.", advice="Fill it or remove it.")
    metadata = {"author": _meta(root, "author"), "language": (root.get("lang") or "").strip()}
    yield {
        "title": _title(root),
        "text": _main_text(root) or _Text(root).text(),
        "metadata": {name: value for name, value in metadata.items() if value},
    }


def _decoded(data: bytes) -> str:
    declared = _CHARSET.search(data[:4096])
    if declared and not data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        label = declared[1].decode("ascii")
        try:
            name = codecs.lookup(label).name
            if name in _NO_CHARSETS:
                raise LookupError(label)
            return data.decode(_AS_BROWSERS_DO.get(name, name)).replace("\0", "")
        except (LookupError, UnicodeError) as error:
            raise BadDocument(f"It is not in {label!r}, as it says.", advice="Convert it to UTF-8.") from error
    return decode(data)


def _meta(root: Any, name: str) -> str:  # noqa: ANN401 (lxml ships no types)
    return str(root.xpath("string(//meta[@name=$name]/@content)", name=name)).strip()


def _title(root: Any) -> str:  # noqa: ANN401
    return str(root.xpath("string(//head/title)")).strip() or str(root.xpath("string(//h1[1])")).strip()


def _main_text(root: Any) -> str:  # noqa: ANN401
    """Return the text of the page's main part, "" if it marks none: the rest is the same on every page of a site."""
    main = next((element for element in root.iter("main") if not _hidden(element)), None)
    return "" if main is None else _Text(main).text().strip()


class _Text:
    """Collects the text of a tree: paragraphs apart by an empty line, list items and table rows each on a line."""

    def __init__(self, root: Any) -> None:  # noqa: ANN401
        self._root = root
        self._walk = etree.iterwalk(root, events=("start", "end"))
        self._parts: list[str] = []
        self._pre = 0
        self._cells = 0
        self._headed = 0

    def text(self) -> str:
        """Return the text."""
        for event, element in self._walk:
            if event == "start":
                self._open(element)
            else:
                self._close(element)
        return _EMPTY_ITEMS.sub("", "".join(self._parts))

    def _open(self, element: Any) -> None:  # noqa: ANN401
        tag = element.tag
        if self._is_dropped(element):
            self._walk.skip_subtree()
            return
        self._break(tag)
        if tag == "li":
            self._parts.append("- ")
        self._pre += tag == "pre"
        self._cells += tag in ("td", "th")
        self._headed += tag in _HEADED
        self._add(element.text)

    def _close(self, element: Any) -> None:  # noqa: ANN401
        tag = element.tag
        if not self._is_dropped(element):
            self._pre -= tag == "pre"
            self._cells -= tag in ("td", "th")
            self._headed -= tag in _HEADED
            if tag in ("td", "th"):
                self._parts.append(" | " if element.getnext() is not None else "")
            elif tag != "br":
                self._break(tag)
        if element is not self._root:  # what follows the root is not in it
            self._add(element.tail)

    def _is_dropped(self, element: Any) -> bool:  # noqa: ANN401
        tag = element.tag
        if tag == "button" and self._headed:
            return _hidden(element)
        return not isinstance(tag, str) or tag in _DROPPED or _hidden(element)

    def _break(self, tag: str) -> None:
        if self._cells and tag not in ("table", "tr"):
            self._parts.append(" " if tag in _PARAGRAPHS or tag in _LINES else "")
        elif tag in _PARAGRAPHS:
            self._parts.append("\n\n")
        elif tag in _LINES and not (self._parts and self._parts[-1].endswith("\n")):
            self._parts.append("\n")

    def _add(self, text: str | None) -> None:
        if not text:
            return
        if not self._pre:
            text = _SPACE.sub(" ", text)
            if self._parts and self._parts[-1].endswith("\n"):
                text = text.lstrip(" ")
        if text:
            self._parts.append(text)


def _hidden(element: Any) -> bool:  # noqa: ANN401
    style = (element.get("style") or "").replace(" ", "").lower()
    return element.get("hidden") is not None or "display:none" in style or "visibility:hidden" in style
