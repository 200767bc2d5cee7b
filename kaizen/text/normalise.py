"""One form for all text, made once on the way in, so that chunk offsets refer to the text that is stored."""

from __future__ import annotations

import re
import unicodedata

LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# Characters that no reader sees: controls (C0, C1, but tab and newline), zero-width space, byte-order mark, soft
# hyphen, bidirectional overrides, interlinear marks, noncharacters, lone surrogates, and the tag characters in which
# instructions to a model can be hidden. Zero-width joiners stay: Persian, Indic scripts and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_MOST_INDENT = 32
_BLANK = " \t\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_BLANKS = re.compile(f"^[{_BLANK}]+|[{_BLANK}]{{2,}}|[{_BLANK[1:]}]", re.MULTILINE)
_TRAILING = re.compile(f" {{1,{_MOST_INDENT}}}$", re.MULTILINE)  # a blank line may be all indentation
_EMPTY_LINES = re.compile("\n{3,}")
_NOT_ASCII = re.compile("[^\x00-\x7f]{32,}")
_MOST_MARKS = 30  # on one letter: the Stream-Safe Text Format of Unicode's UAX #15


def normalise(text: str) -> str:
    """Return `text` in NFC, with "\\n" line ends, without invisible characters, with runs of blanks collapsed.

    Indentation (up to 32 blanks, a tab counting 4) and single empty lines stay: code and paragraphs live by them.
    Idempotent, linear in time, and what it returns can always be encoded.
    """
    if text.isascii() and text.isprintable() and "  " not in text:  # one plain line, as nearly every query and title is
        return text.strip(" ")
    text = LINE_ENDS.sub("\n", text)
    text = _INVISIBLE.sub("", text)
    text = _nfc(text)
    text = _BLANKS.sub(_collapse, text)
    text = _TRAILING.sub("", text)
    return _EMPTY_LINES.sub("\n\n", text).strip("\n ")


def one_line(text: str, most: int = 500) -> str:
    """Return `text` normalised, on one line, cut to `most` characters: what a title is."""
    return " ".join(normalise(text[: 8 * most]).split())[:most].strip()


def _collapse(match: re.Match[str]) -> str:
    run, start = match.group(), match.start()
    if start and match.string[start - 1] != "\n":
        return " "
    return " " * min(len(run) + 3 * run.count("\t"), _MOST_INDENT)


def _nfc(text: str) -> str:
    # CPython orders combining marks by insertion sort: one letter under a million marks would take hours. Text that
    # passes is_normalized has its marks in order already, and is checked in linear time.
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", _NOT_ASCII.sub(_limit_marks, text))


def _limit_marks(match: re.Match[str]) -> str:
    kept, marks = [], 0
    for char in match.group():
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)
