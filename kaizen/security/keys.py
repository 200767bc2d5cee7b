"""API keys: how they are made, stored and recognised.

A secret is 256 random bits. It is stored as a plain SHA-256: slow hashes exist to make guessing costly where
people choose the secret, and nobody can guess 256 random bits, at any speed; a slow hash would only make every
request dear and give attackers a way to burn our CPU.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kaizen.errors import ConfigError, InvalidInput, NotAuthenticated
from kaizen.records import SCOPES, Principal, Scope
from kaizen.run_state import KEY_FILE
from kaizen.storage import durable
from kaizen.storage.ledger.keys import KeyRecord, Keys

_PREFIX = "kz"
_MAX_CACHED = 4096
_MAX_HEADER = 512


class Secret:
    """A secret that does not show itself in logs, tracebacks or f-strings; `reveal()` is the only way in."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself, to hand to its owner once."""
        return self._text

    @property
    def key_id(self) -> str:
        """The public part, by which the key is listed and revoked."""
        return _parse(self._text)[0]

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)


def new_key(*, tenant: str, name: str, scopes: Sequence[Scope], groups: Sequence[str] = ()) -> tuple[Secret, KeyRecord]:
    """Make a key: the secret `kz_<key id>_<random>` for its owner, and the record for the ledger.

    Raises:
        InvalidInput: the tenant or name is blank, or a scope does not exist.
    """
    if not tenant.strip() or not name.strip() or not tenant.isprintable() or not name.isprintable():
        raise InvalidInput("A key needs a tenant and a name in printable characters.", advice="Name both.")
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise InvalidInput(f"Unknown or missing scopes: {sorted(unknown)}.", advice=f"Choose from {', '.join(SCOPES)}.")
    secret = Secret(f"{_PREFIX}_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}")
    return secret, _record(secret, tenant=tenant, name=name, scopes=scopes, groups=groups)


class Known(NamedTuple):
    """Who calls, from memory. `aging`: half of its time is over; the ledger had better be asked before all of it is."""

    principal: Principal
    aging: bool


class Authenticator:
    """Turns an Authorization header (`Bearer kz_...`) into a Principal.

    Good keys are remembered for `ttl_seconds`, so a revocation takes effect within that time and a busy key
    costs two ledger reads in it. Failures are not remembered: an attacker could fill any such memory.
    """

    def __init__(self, keys: Keys, *, ttl_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._ttl = ttl_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: dict[str, tuple[float, KeyRecord]] = {}

    def authenticate(self, header: str | None) -> Principal:
        """Ask the ledger who calls, and remember it.

        Raises:
            NotAuthenticated: there is no key in it, or it is unknown, wrong or revoked (the answer is the same).
        """
        key_id, digest = _presented(header)
        asked = self._clock()
        record = self._keys.find(key_id)
        self._remember(key_id, record, asked + self._ttl)
        return _principal(record, digest)

    def remembered(self, header: str | None) -> Known | None:
        """Who calls, without the ledger and so without waiting; None: ask it. Raises as `authenticate` does."""
        key_id, digest = _presented(header)
        now = self._clock()
        with self._lock:
            expires, record = self._cache.get(key_id, (now, None))
        if record is None or now >= expires:
            return None
        return Known(_principal(record, digest), aging=now >= expires - self._ttl / 2)

    def _remember(self, key_id: str, record: KeyRecord | None, expires: float) -> None:
        with self._lock:
            self._cache.pop(key_id, None)
            if record is not None and record.revoked is None:
                while len(self._cache) >= _MAX_CACHED:
                    del self._cache[next(iter(self._cache))]
                self._cache[key_id] = (expires, record)


def _principal(record: KeyRecord | None, digest: str) -> Principal:
    expected = record.secret_sha256 if record is not None else _NOBODY
    if not hmac.compare_digest(digest, expected) or record is None or record.revoked is not None:
        raise _refused()
    return Principal(key_id=record.id, tenant=record.tenant, groups=record.groups, scopes=record.scopes)


def local_key(directory: Path, keys: Keys, *, tenant: str) -> Secret:
    """Return this installation's own key, making it on first start: all scopes, in a file of mode 0600.

    Any number of processes may call this at once; all get the same key. The ledger is told again each time, so a
    crash between the file and the ledger mends itself; a revoked local key stays revoked.

    Raises:
        ConfigError: the file is readable by others, or does not hold a key.
    """
    path = directory / KEY_FILE
    if not path.exists():
        _create(path, new_key(tenant=tenant, name="local", scopes=SCOPES)[0])
    secret = _read(path)
    if keys.find(secret.key_id) is None:
        keys.add(_record(secret, tenant=tenant, name="local", scopes=SCOPES))
    return secret


def _record(
    secret: Secret, *, tenant: str, name: str, scopes: Sequence[Scope], groups: Sequence[str] = ()
) -> KeyRecord:
    return KeyRecord(
        id=secret.key_id,
        secret_sha256=_digest(secret.reveal()),
        tenant=tenant,
        name=name,
        groups=tuple(groups),
        scopes=tuple(scopes),
        created=time.time(),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_NOBODY = "0" * 64  # compared with when the key is unknown, so that both ways take the same steps


def _parse(text: str) -> tuple[str, str]:
    """Return key id and random part; ValueError when `text` has not the form of a secret."""
    prefix, key_id, random = text.split("_", 2)
    if prefix != _PREFIX or not key_id or not random:
        raise ValueError("not a key")
    return key_id, random


def _presented(header: str | None) -> tuple[str, str]:
    """Return the key id and the hash of the secret in a header."""
    scheme, _, text = (header or "").strip().partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or len(text) > _MAX_HEADER or not text.isascii() or not text.isprintable():
        raise _refused()
    try:
        return _parse(text)[0], _digest(text)
    except ValueError:
        raise _refused() from None


def _refused() -> NotAuthenticated:
    return NotAuthenticated(
        "The API key is missing, unknown or revoked.", advice="Send it as 'Authorization: Bearer kz_...'."
    )


def _create(path: Path, secret: Secret) -> None:
    """Put the file in place with its whole content and mode at once; whoever comes second keeps the first's."""
    durable.make_directories(path.parent)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    durable.write_new(beside, secret.reveal().encode() + b"\n", mode=0o600)
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    durable.sync_directory(path.parent)


def _read(path: Path) -> Secret:
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others.", advice=f"Revoke that key, then delete {path}.")
    secret = Secret(path.read_text().strip())
    try:
        secret.key_id  # noqa: B018 - reading it checks the form
    except ValueError as error:
        raise ConfigError(f"{path} does not hold a key.", advice="Delete it; a new one is made.") from error
    return secret
