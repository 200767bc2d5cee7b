"""Front matter: `key: value` lines between two fences before a Markdown text, and the access list among them.

No YAML: its loaders turn "no" into false and versions into dates, and can be made to eat all memory. Metadata that is
not understood is left out; an access list that is not understood refuses the document, since without it everybody
could see it.
"""

from __future__ import annotations

import re

from kaizen.errors import BadDocument, InvalidInput
from kaizen.text.metadata import field_name
from kaizen.text.normalise import LINE_ENDS
from kaizen.text.rows import GROUP_FIELDS

_MOST_CHARS = 16_384
_OPEN = re.compile(r"[\s\ufeff]*---[^\S\n]*\n")
_CLOSE = re.compile(r"^(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.MULTILINE)
_KEY = re.compile(r"^[^\s#-][^:\n]*:", re.MULTILINE)
# However it is indented, quoted or bracketed: whoever wrote it meant somebody to be left out. A comment did not.
_NAMES_ACCESS = re.compile(
    rf"^[-?{{\"' \t\xa0\ufeff\u200b]*(?:{'|'.join(GROUP_FIELDS)})[\"']?[^\S\n]*[:=]", re.MULTILINE | re.IGNORECASE
)
_ACCESS = re.compile(rf"([\"']?)({'|'.join(GROUP_FIELDS)})\1[^\S\n]*:(.*)", re.IGNORECASE)
_CONTINUES = re.compile(r"\s|-|#|\]|\Z")
_COMMENT = re.compile(r"(\"[^\"]*\"|'[^']*')|(?:^|(?<=\s))#.*")
_ITEM = re.compile(r"(?:\"[^\"]*\"|'[^']*'|[^,])+")
_QUOTED = re.compile(r"\"([^\"]*)\"|'([^']*)'")
_PLAIN = re.compile(r"(?!.*(?::\s|:$|\s#))(?![-?](?:\s|$))[^\s\[\]{}\"'#&*!|>%@`~,][^\[\]{}\",\n]*")
_NO_LIST = frozenset({'""', "''", "null", "~"})
_NO_NAMES = frozenset({"true", "false", "null"})
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,15})(\.\d{1,15})?")
_ADVICE = "Write `groups: [hr, legal]`, or `groups:` and below it `- hr` on a line of its own, between two lines `---`."


def split_front_matter(text: str) -> tuple[dict[str, object], str]:
    """Return the fields of the front matter, and the text after it.

    An access list comes as a list of names in `groups` or `access`. What begins with a rule (`---`) and has no
    `key: value` lines up to another one is all text.

    Raises:
        BadDocument: it begins with `---` and names an access list that is not understood.
    """
    text = LINE_ENDS.sub("\n", text)
    opened = _OPEN.match(text)
    if opened is None:
        return {}, text
    closed = _CLOSE.search(text, opened.end())
    block = text[opened.end() : closed.start() if closed else len(text)]
    if closed is None or len(block) > _MOST_CHARS or (block.strip() and not _KEY.search(block)):
        if _NAMES_ACCESS.search(block):
            raise BadDocument(
                "It begins with `---` and names an access list, but what follows is no front matter of at most "
                f"{_MOST_CHARS} characters.",
                advice=f"{_ADVICE} For a rule at the top, write `***`.",
            )
        return {}, text
    lines = block.split("\n")
    return {**_metadata(lines), **_access(lines)}, text[closed.end() :]


def _metadata(lines: list[str]) -> dict[str, object]:
    """What is nested or not understood is left out, and so is the access list."""
    fields: dict[str, object] = {}
    key = ""
    for line in lines:
        item = line.strip()
        if item.startswith("- "):
            if key and isinstance(fields.get(key, []), list):
                fields[key] = [*_strings(fields.get(key)), _bare(item[2:])]
        elif line[:1].strip() and ":" in line and not line.startswith("#"):
            name, _, value = line.partition(":")
            key = "" if _ACCESS.fullmatch(line) else _usable(_bare(name))
            if key and value.strip():
                fields[key] = _value(value.strip())
    return fields


def _access(lines: list[str]) -> dict[str, object]:
    """The access lists by field, each the names that it holds; an empty one is none.

    Raises:
        BadDocument: a line names one and is not understood, or names it again.
    """
    found: dict[str, object] = {}
    for number, line in enumerate(lines):
        named = _ACCESS.fullmatch(line)
        if named is None:
            continue
        below = lines[number + 1 :]
        end = next((n for n, other in enumerate(below) if not _CONTINUES.match(other)), len(below))
        names = _names([named[3], *below[:end]])
        field = named[2].lower()
        if field in found:
            raise _not_understood()
        if names:
            found[field] = names
    if not found and any(_NAMES_ACCESS.match(line) and not _ACCESS.fullmatch(line) for line in lines):
        raise _not_understood()  # a nested one, say; beside one that is understood it is somebody else's
    return found


def _names(lines: list[str]) -> list[str]:
    """The names of a list in brackets, of items with dashes, or with commas only; none of `null` and what is empty.

    Raises BadDocument.
    """
    said = [line for line in (_without_comment(line) for line in lines) if line]
    if said and all(line.startswith("- ") for line in said):
        return [_name(line[2:]) for line in said]
    if any(line.startswith("-") for line in said[1:]) or (not said and lines[0].strip()):
        raise _not_understood()  # the latter: `groups: #hr`, a comment or a name
    whole = "\n".join(said)
    inner = whole[1:-1].strip() if whole.startswith("[") and whole.endswith("]") else whole
    if not inner or whole in _NO_LIST:
        return []
    names = [_name(item) for item in _ITEM.findall(inner.removesuffix(","))]
    if not names:
        raise _not_understood()
    return names


def _without_comment(line: str) -> str:
    return _COMMENT.sub(lambda match: match[1] or "", line).strip()


def _name(item: str) -> str:
    item = item.strip()
    quoted = _QUOTED.fullmatch(item)
    if quoted:
        return quoted[1] or quoted[2] or ""
    if not _PLAIN.fullmatch(item) or item in _NO_NAMES:
        raise _not_understood()
    return item


def _not_understood() -> BadDocument:
    return BadDocument("Its front matter has an access list that is not understood.", advice=_ADVICE)


def _usable(name: str) -> str:
    try:
        return field_name(name)
    except InvalidInput:
        return ""


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _value(text: str) -> object:
    if text[0] == "[" and text[-1] == "]":
        return [_bare(item) for item in text[1:-1].split(",") if item.strip()]
    if text in ("true", "false"):
        return text == "true"
    number = _NUMBER.fullmatch(text)
    if number:
        return float(text) if number[1] else int(text)
    return _bare(text)


def _bare(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text
