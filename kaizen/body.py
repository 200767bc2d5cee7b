"""What comes in from outside as an object of JSON: unknown fields are refused, and no object takes long to refuse."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

MOST_FIELDS = 64  # more than any object here has: one with more is wrong already by those of its first ones


class Body(BaseModel):
    """Base of every request body and of what lies in it.

    Each unknown field becomes an error with a place and words, a hundred times as dear as to have read the field. So of
    an object with very many, only the first ones are looked at. Lists stop at their first bad item (`fail_fast`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _first_fields(cls, given: Any) -> Any:  # noqa: ANN401 (whatever was sent)
        if isinstance(given, dict) and len(given) > MOST_FIELDS:
            return dict(islice(given.items(), MOST_FIELDS))
        return given
