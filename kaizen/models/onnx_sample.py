"""Texts on which an ONNX export is compared with torch: many lengths, scripts and oddities, none of them private."""

from __future__ import annotations

_SENTENCES = (
    "The ledger is the truth; every index is a view of it at a sequence number.",
    "How do I read a file line by line without loading it into memory?",
    "Return a new list containing all items from the iterable in ascending order.",
    "In 1969, two astronauts walked on the Moon while a third stayed in orbit.",
    "Aspirin lowers the risk of a second heart attack by about 20% in adults over 50.",
    "def area(r: float) -> float: return 3.14159 * r ** 2",
    "An e-mail was sent to nobody@example.org at 09:41 on 2024-02-29.",
    "The pressure distribution over a swept wing was measured at Mach 0.85.",
    "Water boils at a lower temperature on high mountains, since the air presses less.",
    "SELECT name, count(*) FROM visits GROUP BY name HAVING count(*) > 3;",
    "Terms, conditions & charges apply: see section 4.2(b), page 17.",
    "She sold sea shells, he bought books, and they both forgot their umbrellas.",
)
_ODD = (
    "",
    " ",
    ".",
    "a",
    "?!",
    "0",
    "\t\n",
    "the",
    "3.14",
    "--- *** ---",
    "x" * 300,
    "na\xefve caf\xe9 \xfcber stra\xdfe",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002",
    "\u041c\u043e\u0441\u043a\u0432\u0430 - \u0441\u0442\u043e\u043b\u0438\u0446\u0430.",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u2211 x\xb2 \u2264 \u221e",
    "\U0001f600 \U0001f680 ok",
    "[CLS] not a special token [SEP]",
    "<b>bold</b> &amp; plain",
    "C:\\temp\\file.txt",
    "zero\u200bwidth",
    "a\u0301e\u0301",
)


def _growing() -> list[str]:
    """Texts of 1 to 28 sentences: past the 256 or 512 tokens at which embedders cut."""
    return [
        " ".join((_SENTENCES * 3)[first : first + count]) for first in range(4) for count in (1, 2, 3, 5, 9, 17, 28)
    ]


SAMPLE: tuple[str, ...] = (*_SENTENCES, *_ODD, *_growing())
