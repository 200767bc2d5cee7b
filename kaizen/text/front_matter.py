"""Front matter: `key: value` lines between two fences before a Markdown text, and the access list among them.

No YAML: its loaders turn "no" into false and versions into dates, and can be made to eat all memory. Metadata that is
not understood is left out; an access list that is not understood refuses the document, since without it everybody
could see it.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import takewhile

from kaizen.errors import BadDocument, InvalidInput
from kaizen.text.access_list import GROUP_FIELDS, NEARLY_GROUP_FIELDS
from kaizen.text.metadata import field_name
from kaizen.text.normalise import LINE_ENDS, normalise

_MOST_CHARS = 16_384
_RULE = re.compile(r"[\s\ufeff\u200b]*(?P<rule>---|\+\+\+)")
_FRONT = re.compile(
    rf"{_RULE.pattern}[^\S\n]*\n(?P<block>.{{0,{_MOST_CHARS}}}?)^(?:(?P=rule)|\.\.\.)[^\S\n]*(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_FENCE = re.compile(r"^(?:-{3,}|\+{3,}|\.{3,})$", re.MULTILINE)
_KEY = re.compile(r"^([\"']?\w[^:\n]*):(?=\s|\Z)", re.MULTILINE)
# However it is nested, quoted, tagged or written: whoever wrote it meant somebody to be left out. The last is a key
# in whose escapes anything may be hidden.
_NAMES_ACCESS = re.compile(
    rf"\b(?:{'|'.join(GROUP_FIELDS)})\b[^\w:=\n]*(?:[:=]|\n *:\s)|\"[^\"\\\n]*\\[^\"\n]*\" *[:=]", re.IGNORECASE
)
# As a key, nested or not: but nested, `group` is that of a menu.
_NEARLY = rf"group|{NEARLY_GROUP_FIELDS}"
_NEARLY_NAMES_ACCESS = re.compile(
    rf"(?:^|(?:^|[{{,])[^\w\n]{{1,16}}(?![\"']?group\b))[\"']?({_NEARLY})\b[^\w:=\n]*[:=]", re.IGNORECASE | re.MULTILINE
)
_LINE_NAMES_ACCESS = re.compile(
    rf"^[^\w\n\[]{{0,16}}(?:{'|'.join(GROUP_FIELDS)}|{_NEARLY})\b[^\w:=\n]*(?::(?!:)|=(?!=))",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(r"#.*(?:\n#.*)*|.*\n(?:=+|-+)")
_TITLE = re.compile(r".*\n=+")
_ASIDE = re.compile(r"^ *#.*|(?<=: )(?:\"[^\"\\\n]*\"|'[^'\n]*'),?$", re.MULTILINE)  # comments, and quoted values
_COMMENT = re.compile(r"(\"[^\"]*\"|'[^']*')|(?:^|(?<=\s))#.*")
_ITEM = re.compile(r"(?:\"[^\"]*\"|'[^']*'|[^,])+")
_QUOTED = re.compile(r"\"[^\"\\]*\"|'[^']*'")
_PLAIN = re.compile(r"(?!.*(?::\s|:$|\s#))\w[^\[\]{}\",\n]*")
_NO_LIST = frozenset({"", "[]", "[ ]", '""', "''", "null", "~"})
_NO_NAMES = frozenset({"true", "false", "null"})
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,15})(\.\d{1,15})?")


def split_front_matter(text: str) -> tuple[dict[str, object], str]:
    """Return the fields of the front matter, and the text after it.

    An access list comes as a list of names in `groups` or `access`, be it empty. What begins with a rule (`---`) and
    has no `key: value` lines up to another one is all text.

    Raises:
        BadDocument: it begins with a rule, and what follows names an access list that is not understood; or its first
            lines name one where no front matter is.
    """
    text = LINE_ENDS.sub("\n", text)
    if not _RULE.match(text):
        _refuse_unfenced(text)
        return {}, text
    front = _FRONT.match(text)
    if front and front["rule"] == "---" and _KEY.search(front["block"]):
        fields, body = _fields(front["block"]), text[front.end() :]
        if fields.keys().isdisjoint(GROUP_FIELDS):
            _refuse_unfenced(body)
        return fields, body
    head = _first_block(_without_asides(text))
    if _NAMES_ACCESS.search(head):
        raise _not_understood()
    _refuse_nearly(head)
    return {}, text[front.end() :] if front and not front["block"].strip() else text


def refuse_front_matter(text: str) -> None:
    """Raise BadDocument if front matter of what is not Markdown names an access list: nobody would read it."""
    front = _FRONT.match(LINE_ENDS.sub("\n", text))
    if front and _names_access(front["block"]):
        raise BadDocument(
            "It begins with front matter that names an access list, which is read of Markdown only.",
            advice="Give the file the extension .md. Where no list is meant, take away the rules above and below it.",
        )


def _names_access(block: str) -> bool:
    """Whether it does so by the rules of Markdown, understood or not."""
    try:
        return not _fields(block).keys().isdisjoint(GROUP_FIELDS)
    except BadDocument:
        return True


def _refuse_unfenced(text: str) -> None:
    """Raise BadDocument if a line of the first paragraph behind title and headings names an access list."""
    head = text.lstrip(" \t\n\ufeff\u200b")[:_MOST_CHARS]
    lines = _ASIDE.sub("", _beginning(unicodedata.normalize("NFKC", normalise(head))))
    if _LINE_NAMES_ACCESS.search(lines) or (lines.startswith("{") and _NAMES_ACCESS.search(lines)):
        raise BadDocument(
            "Its first lines name an access list, but there is no front matter.",
            advice="Write `groups: [hr, legal]` between two lines `---` at the top. Where no list is meant, let the "
            "text begin with a sentence.",
        )


def _beginning(text: str) -> str:
    """The first paragraph behind title and headings, and these, since one may be none; but a title over `===` is."""
    first, *others = text.split("\n\n")
    if "\n" in first and not _HEADING.fullmatch(first):
        return first
    headings = list(takewhile(_HEADING.fullmatch, others))
    title = [] if _TITLE.fullmatch(first) else [first]
    return "\n".join([*title, *others[: len(headings) + 1]])


def _refuse_nearly(fields: str) -> None:
    """Raise BadDocument if a key among `fields` is nearly that of an access list."""
    if nearly := _NEARLY_NAMES_ACCESS.search(fields):
        raise BadDocument(
            f"Its front matter has {nearly[1]!r}, which is not read as an access list.",
            advice="Write it as `groups: [hr, legal]`. Where it is none, write `groups: []` beside it.",
        )


def _fields(block: str) -> dict[str, object]:
    """Raise BadDocument for an access list that is not understood or there twice; an empty one is none."""
    before, *parts = _KEY.split(block)
    fields: dict[str, object] = {}
    access: dict[str, list[str]] = {}
    others = [before]
    for key, said in zip(parts[::2], parts[1::2], strict=True):
        name = _bare(key)
        if name.lower() in access:
            raise _not_understood()
        if name.lower() in GROUP_FIELDS:
            access[name.lower()] = _names(said)
            continue
        others.append(f"{key}:{said}")
        value = _value(said)
        if value is not None and _usable(name):
            fields[name] = value
    if not any(access.values()) and _NAMES_ACCESS.search(_without_asides("\n".join(others))):
        raise _not_understood()  # a nested one, say; beside one that is understood it is somebody else's
    if not access:
        _refuse_nearly(_without_asides("\n".join(others)))
    return {**fields, **access}


def _without_asides(text: str) -> str:
    return _ASIDE.sub("", unicodedata.normalize("NFKC", normalise(text)))


def _first_block(text: str) -> str:
    """What stands up to a fence, or at most the 16,384 characters that front matter may have; no empty one."""
    blocks = _FENCE.split(text)
    first = next((number for number, block in enumerate(blocks) if block.strip()), 0)
    return blocks[first] if first + 1 < len(blocks) else blocks[first][:_MOST_CHARS]


def _names(said: str) -> list[str]:
    """The names of a list in brackets, of items with dashes, or with commas only; none of `null` and what is empty.

    Raises BadDocument.
    """
    lines = [line for line in map(_without_comment, said.split("\n")) if line]
    if lines and all(line.startswith("- ") for line in lines):
        return [_name(line[2:]) for line in lines]
    whole = "\n".join(lines)
    if whole in _NO_LIST and (lines or not said.strip()):  # `groups: #hr` may be a comment or a name
        return []
    inner = whole[1:-1] if whole.startswith("[") and whole.endswith("]") else whole
    names = [_name(item) for item in _ITEM.findall(inner.strip().removesuffix(","))]
    if not names:
        raise _not_understood()
    return names


def _without_comment(line: str) -> str:
    return _COMMENT.sub(lambda match: match[1] or "", line).strip()


def _name(item: str) -> str:
    item = item.strip()
    if _QUOTED.fullmatch(item):
        return item[1:-1]
    if not _PLAIN.fullmatch(item) or item in _NO_NAMES:
        raise _not_understood()
    return item


def _not_understood() -> BadDocument:
    return BadDocument(
        "It begins with front matter, or with a rule, and names an access list that is not understood.",
        advice="Write `groups: [hr, legal]`, or `groups:` and below it `- hr` on a line of its own, between two lines "
        "`---`. Where no list is meant, put the value that speaks of one in quotes, or write the rule as `***`.",
    )


def _usable(name: str) -> bool:
    try:
        return bool(field_name(name))
    except InvalidInput:
        return False


def _value(said: str) -> object:
    """None of what is nested or not understood."""
    first, *below = (line.strip() for line in said.split("\n"))
    if not first:
        return [_bare(line[2:]) for line in below if line.startswith("- ")] or None
    if first[0] == "[" and first[-1] == "]":
        return [_bare(item) for item in first[1:-1].split(",") if item.strip()]
    if first in ("true", "false"):
        return first == "true"
    number = _NUMBER.fullmatch(first)
    if number:
        return float(first) if number[1] else int(first)
    return _bare(first)


def _bare(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text
