"""Plain text and Markdown: kept as they are, so that offsets and code survive; front matter becomes metadata."""

from __future__ import annotations

import re
from typing import Any

from kaizen.text.access_list import GROUP_FIELDS
from kaizen.text.front_matter import refuse_front_matter, split_front_matter
from kaizen.text.metadata import MAX_FIELDS, MAX_VALUE_CHARS
from kaizen.text.rows import OWN_FIELDS

_CODE_FENCE = re.compile(r" {0,3}(?:(`{3,})([^`]*)|(~{3,})(.*))")
_HEADING = re.compile(r"^#[ \t](.*)$", re.MULTILINE)  # trimmed outside: within, one line of blanks would take hours
_UNDERLINED = re.compile(r"\A\s*(\S.{0,500})\n=+[ \t]*$", re.MULTILINE)
_TITLE_CHARS = 80
_MOST_HEADING_CHARS = 500
_HEADING_WITHIN_CHARS = 65_536  # a heading further down is not the title


def read_text(text: str) -> dict[str, Any]:
    """Return plain text as it is: title, text, metadata.

    Raises:
        BadDocument: it begins with front matter that names an access list.
    """
    refuse_front_matter(text)
    return {"title": "", "text": text, "metadata": {}}


def read_markdown(text: str) -> dict[str, Any]:
    """Return Markdown without its front matter: title, text, metadata, and the access list, empty if it names none.

    The title is that of the front matter, else the first heading, else the first line outside code. Values too
    long to filter on are left out.

    Raises:
        BadDocument: its front matter names an access list that is not understood.
    """
    fields, body = split_front_matter(text)
    title = str(fields.get("title", "")) or _heading(_prose(body[:_HEADING_WITHIN_CHARS]))
    metadata = {name: value for name, value in fields.items() if name not in OWN_FIELDS and _short(value)}
    # An empty one, too, so that what else its front matter holds is not taken for one: that is judged already.
    groups = {"groups": [], **{name: fields[name] for name in GROUP_FIELDS if name in fields}}
    return {"title": title, "text": body, "metadata": dict(list(metadata.items())[: MAX_FIELDS - 1]), **groups}


def _heading(prose: str) -> str:
    underlined = _UNDERLINED.search(prose[:2048])
    if underlined:
        return underlined[1]
    lines = (match[1].strip(" \t").rstrip(" \t#") for match in _HEADING.finditer(prose))
    return next((line for line in lines if 0 < len(line) <= _MOST_HEADING_CHARS), "") or first_line(prose)


def _prose(text: str) -> str:
    """Return the lines of `text` that are in no fenced block of code: there `# x` is a comment."""
    lines, fence = [], ""
    for line in text.split("\n"):
        mark = _CODE_FENCE.fullmatch(line)
        if not fence and mark:
            fence = mark[1] or mark[3]
        elif not fence:
            lines.append(line)
        elif mark and (mark[1] or mark[3]).startswith(fence) and not (mark[2] or mark[4] or "").strip():
            fence = ""
    return "\n".join(lines)


def _short(value: object) -> bool:
    return all(len(item) <= MAX_VALUE_CHARS for item in (value if isinstance(value, list) else [str(value)]))


def first_line(text: str) -> str:
    """Return the first line of `text`, cut between words to 80 characters: the title of what names none.

    The content gives the title, not the file's name, so that a copy under another name is an exact duplicate.
    """
    line = text.lstrip().split("\n", 1)[0].strip().lstrip("#-*> ").strip()
    if len(line) <= _TITLE_CHARS:
        return line
    return line[:_TITLE_CHARS].rsplit(" ", 1)[0].rstrip(" ,;:")
