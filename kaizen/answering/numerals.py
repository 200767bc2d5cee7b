"""The numbers that a text states, in digits or in words, with what makes them other numbers: sign, magnitude, percent.

"-40" is not "40", "3 million" is "3,000,000" and not "3", "3 %" is "three percent", and "1.2.3" is not "1.2".
"""

from __future__ import annotations

import re
from itertools import pairwise

_UNITS = "one two three four five six seven eight nine"
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {
    "zero": 0,
    "a": 1,
    "and": 0,
    **{word: value for value, word in enumerate(f"{_UNITS} {_TEENS}".split(), 1)},
    **{word: 10 * value for value, word in enumerate(_TENS.split(), 2)},
}
_POWERS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "bn": 9, "trillion": 12, "m": 6}

_GAP = r"[\s-]{1,2}"
_MAGNITUDE = r"(?:hundred|thousand|million|billion|trillion)\b"
_UNIT, _TEEN, _TEN = (words.replace(" ", "|") for words in (_UNITS, _TEENS, _TENS))
_BELOW_HUNDRED = rf"(?:(?:{_TEN})(?:{_GAP}(?:{_UNIT}))?|{_TEEN}|{_UNIT}|zero)\b"
_PERCENT = r"(?P<percent>\s?%|[\s-]{1,2}per[\s-]?cent\b)?"
# A minus stands at the beginning of a number alone: 10-20, 10 -20 and IL-6 have none.
_BEFORE_SIGN = r"\s(\[{<>=~:;,\"'|`*\u201c\u201d\u2018\u2019\xab\xbb\u2248\u2264\u2265"
_SIGN = rf"(?:(?<![^{_BEFORE_SIGN}])(?<![\d%]\s)(?P<sign>[-\u2212\u2013]|minus\s))?"
# Both begin with a look ahead at what a number can begin with: it makes them five times faster.
_WRITTEN = re.compile(
    rf"(?=[-\u2212\u2013m$\u20ac\u00a3.\d]){_SIGN}(?P<currency>[$\u20ac\u00a3]\s?)?"
    r"(?:(?P<version>(?!\d{1,2}\.\d{1,2}\.\d{4}(?!\d))\d+(?:\.\d+){2,})"  # a date of three parts is none
    r"|(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![^\s(\[<>=~\-\u2212\u2013])\.\d+)"
    rf"(?P<powers>(?:[\s-]{{0,2}}(?:{_MAGNITUDE}|bn\b)){{0,4}}(?(currency)(?:\s?m\b)?)){_PERCENT})",  # 3 m are metres
)
_SPELT = re.compile(  # repeated a few times at most: a text may say "million million" for ever
    rf"(?<!\w)(?=[-\u2212\u2013mtfsenoza]){_SIGN}\b(?P<words>(?:(?<!half\s)(?<!of\s)a(?={_GAP}{_MAGNITUDE})|{_BELOW_HUNDRED})"
    rf"(?:(?:{_GAP}{_MAGNITUDE}){{1,4}}(?:{_GAP}(?:and\s)?{_BELOW_HUNDRED})?){{0,6}}){_PERCENT}"
)
_LETTERS = re.compile(r"[a-z]+")
_TO = re.compile(r"\s?(?:to|and|or|[-\u2013,/])\s?")


def numbers(text: str) -> frozenset[str]:
    """Return the numbers of `text` in one form: digits without grouping commas and needless zeros.

    A "one" alone is none: it is rarely a number. Words are English ones.
    """
    text = text.lower()
    written = {_signed(match, _written(match), bool(match["percent"])) for match in _WRITTEN.finditer(text)}
    spelt = [match for match in _SPELT.finditer(text) if _counts(match)]
    return frozenset(written | {_signed(match, _composed(match["words"]), bool(match["percent"])) for match in spelt})


def shared(text: str) -> frozenset[str]:
    """What numbers may mean that stand before another one of the same kind: in "5 to 10%", 5% as well as 5."""
    text, found = text.lower(), set()
    for one, following in pairwise(_WRITTEN.finditer(text)):
        if one["digits"] and following["digits"] and _TO.fullmatch(text, one.end(), following.start()):
            found.add(_signed(one, _scaled(one["digits"], following["powers"]), bool(following["percent"])))
            found.add(_signed(one, _scaled(one["digits"], ""), percent=False))
    return frozenset(found)


def _counts(match: re.Match[str]) -> bool:
    return match["words"] != "one" or match["percent"] is not None


def _signed(match: re.Match[str], value: str, percent: bool) -> str:
    return f"{'-' if match['sign'] else ''}{value}{'%' if percent else ''}"


def _written(match: re.Match[str]) -> str:
    if match["version"]:
        return str(match["version"])
    return _scaled(match["digits"], match["powers"])


def _scaled(digits: str, powers: str) -> str:
    power = sum(_POWERS[word] for word in _LETTERS.findall(powers))
    whole, _, fraction = digits.replace(",", "").partition(".")
    fraction = fraction.ljust(power, "0")
    return _plain(f"{whole}{fraction[:power]}.{fraction[power:]}")


def _plain(number: str) -> str:
    whole, _, fraction = number.partition(".")
    return f"{whole.lstrip('0') or '0'}.{fraction.rstrip('0')}".rstrip(".")


def _composed(words: str) -> str:
    """The value of "two hundred and five thousand"."""
    total = current = 0
    for word in _LETTERS.findall(words):
        if word == "hundred":
            current *= 100
        elif word in _POWERS:
            total, current = total + current * 10 ** _POWERS[word] if current else total * 10 ** _POWERS[word], 0
        else:
            current += _VALUES[word]
    return str(total + current)
