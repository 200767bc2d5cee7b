"""What may name an object, and how a pointer's value is written: the same for every store."""

from __future__ import annotations

import re

from kaizen.errors import Corrupt, InvalidInput
from kaizen.storage.manifest import MANIFEST_FILE, decode_summed, encode_summed

POINTER_SUFFIX = ".pointer"
_MAX_NAME_BYTES = 768  # S3 takes 1024, and a prefix and file names come on top
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=+@-]*")


def check_name(name: str) -> str:
    """Return `name` if it can name an object, else raise InvalidInput.

    Segments of letters, digits and `_.=+@-`, not beginning with a dot, divided by single slashes: nothing that
    climbs, is absolute, or means something to a shell or a URL.
    """
    segments = name.split("/")
    reserved = name.endswith(POINTER_SUFFIX) or segments[-1] == MANIFEST_FILE
    if reserved or len(name) > _MAX_NAME_BYTES or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise InvalidInput(
            f"{name[:80]!r} cannot name an object.",
            advice="Use letters, digits and _.=+@- in segments divided by '/', none beginning with a dot.",
        )
    return name


def encode_pointer(value: str) -> bytes:
    """Return a pointer's bytes, which carry their own checksum."""
    return encode_summed(value)


def decode_pointer(data: bytes, name: str) -> str:
    """Return a pointer's value; Corrupt unless the bytes are exactly what `encode_pointer` gave."""
    try:
        value = decode_summed(data)
    except ValueError as error:
        raise Corrupt(
            f"The pointer {name!r} is torn or changed.", advice="Write it again, from what the ledger says."
        ) from error
    if not isinstance(value, str):
        raise Corrupt(f"The pointer {name!r} holds no text.", advice="Write it again, from what the ledger says.")
    return value
