"""Identifiers and fingerprints: how things are named so that the same thing always gets the same name."""

from __future__ import annotations

import hashlib
import json
import os
import time

from kaizen.errors import InvalidInput

MAX_DOCUMENT_ID_BYTES = 512
_RANDOM_BYTES = 10
_AT_A_TIME = 256
_ready: list[int] = []
os.register_at_fork(after_in_child=_ready.clear)  # or parent and child would name different things alike
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def fingerprint(value: object) -> str:
    """Return 64 hex digits of SHA-256 over the canonical JSON of `value` (sorted keys, no spaces, no NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def new_id(prefix: str) -> str:
    """Return `prefix_` + 26 characters: 48 bits of milliseconds, then 80 random bits, so ids sort by time."""
    number = (int(time.time() * 1000) << 80) | _random_bits()
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(digits))}"


def _random_bits() -> int:
    """_RANDOM_BYTES from the system, which is asked for many at a time: a call into it costs more than all the rest."""
    try:
        return _ready.pop()
    except IndexError:
        fresh = os.urandom(_RANDOM_BYTES * _AT_A_TIME)
        numbers = [int.from_bytes(fresh[i : i + _RANDOM_BYTES]) for i in range(0, len(fresh), _RANDOM_BYTES)]
        _ready.extend(numbers[1:])
        return numbers[0]


def made_at(name: str) -> float:
    """When `new_id` made the id at the end of `name`, in seconds since the epoch. Raises ValueError: there is none."""
    number = 0
    for digit in name[-26:]:
        number = number * 32 + _ALPHABET.index(digit)
    return (number >> 80) / 1000


def chunk_id(document_id: str, ordinal: int) -> str:
    """Return the name of the chunk at position `ordinal` (from 0) in its document."""
    return f"{document_id}#{ordinal}"


def shard_of(tenant: str, document_id: str, shards: int) -> int:
    """Return the shard in [0, shards) that holds a document: a hash that no process seed can change."""
    digest = hashlib.blake2b(f"{tenant}\0{document_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def check_document_id(document_id: str) -> str:
    """Return `document_id` if it can name a document, else raise InvalidInput.

    Any printable text up to 512 bytes of UTF-8 will do; control characters (NUL above all) and surrounding
    blanks will not, and neither will a path that climbs (`..` as a segment).
    """
    if not document_id or document_id != document_id.strip():
        raise InvalidInput("The document id is empty or has blanks around it.", advice="Send a non-blank id.")
    if len(document_id.encode("utf-8", "surrogatepass")) > MAX_DOCUMENT_ID_BYTES:
        raise InvalidInput(f"The document id is over {MAX_DOCUMENT_ID_BYTES} bytes.", advice="Use a shorter id.")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF for c in document_id):
        raise InvalidInput("The document id has control characters.", advice="Use printable characters only.")
    if ".." in document_id.replace("\\", "/").split("/"):
        raise InvalidInput("The document id has '..' as a path segment.", advice="Use an id that does not climb.")
    return document_id
