"""One tree of errors. Each says what went wrong and what to do next.

Transient errors may succeed when tried again unchanged; permanent ones will not. Edges (HTTP, CLI, jobs) map
the tree to status codes, exit codes and quarantine reasons; nothing below an edge knows about HTTP.
"""

from __future__ import annotations


class KaizenError(Exception):
    """Base of every error that Kaizen raises on purpose.

    Args:
        message: what happened, in one sentence, safe to show to the caller (no secrets, no document text).
        advice: what the reader can do about it.
    """

    code = "error"

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive Exception's own pickling, and errors cross process borders.
        return _rebuild, (type(self), self.message, self.advice)


def _rebuild(kind: type[KaizenError], message: str, advice: str) -> KaizenError:
    return kind(message, advice=advice)


class TransientError(KaizenError):
    """May succeed if tried again."""

    code = "transient"


class PermanentError(KaizenError):
    """Will fail again until something is changed."""

    code = "permanent"


class InvalidInput(PermanentError):
    """The caller sent something that cannot be accepted (HTTP 400/422)."""

    code = "invalid-input"


class UnknownField(InvalidInput):
    """A name that does not exist: a configuration key, a filter field, a request field."""

    code = "unknown-field"


class TooLarge(InvalidInput):
    """Over a stated limit (HTTP 413)."""

    code = "too-large"


class NotFound(PermanentError):
    """The thing that was named does not exist, or the caller may not know that it does (HTTP 404)."""

    code = "not-found"


class Conflict(PermanentError):
    """Lost a compare-and-set, or an idempotency key was reused with other content (HTTP 409)."""

    code = "conflict"


class NotAuthenticated(PermanentError):
    """No key, or a key that is unknown or revoked (HTTP 401)."""

    code = "not-authenticated"


class NotAllowed(PermanentError):
    """The key is good but lacks the scope (HTTP 403)."""

    code = "not-allowed"


class Overloaded(TransientError):
    """The queue is full (HTTP 429 with Retry-After)."""

    code = "overloaded"


class NotYetSearchable(TransientError):
    """The index has not reached the sequence number that was asked for within the deadline (HTTP 503)."""

    code = "not-yet-searchable"


class Unavailable(TransientError):
    """A part that is needed does not answer now (HTTP 503)."""

    code = "unavailable"


class DeadlineExceeded(TransientError):
    """The time allowed ran out (HTTP 504)."""

    code = "deadline-exceeded"


class TooSlow(TransientError):
    """The caller began to send something and did not go on in time (HTTP 408)."""

    code = "too-slow"


class StorageFull(TransientError):
    """No space left where a durable write must go (HTTP 507)."""

    code = "storage-full"


class WriterStopped(PermanentError):
    """A durable write failed in a way that leaves the disk's state unknown; this writer takes no more (HTTP 503)."""

    code = "writer-stopped"


class Corrupt(PermanentError):
    """Stored bytes do not match their recorded checksum or format; they are refused, not served."""

    code = "corrupt"


class BadModel(PermanentError):
    """A model file is missing, unsafe, of the wrong shape, or gives NaN or zero vectors."""

    code = "bad-model"


class BadDocument(PermanentError):
    """A document cannot be read; it is quarantined with this reason and the rest goes on."""

    code = "bad-document"


class ConfigError(PermanentError):
    """The configuration cannot be used."""

    code = "bad-config"
