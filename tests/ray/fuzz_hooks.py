"""What schemathesis checks of Kaizen besides its own checks; it loads this module into its own process."""

from __future__ import annotations

import re

import schemathesis
from schemathesis.generation import GenerationMode

MEMBERS = {"type", "title", "status", "detail", "advice"}
MOMENTARY = {f"urn:kaizen:{code}" for code in ("not-ready", "not-yet-searchable", "unavailable")}
# What JSON Schema cannot say, and a refusal says in words: refused although the request fits the schema.
BEYOND_THE_SCHEMA = re.compile(
    r"There is no field '.*' to filter on"
    r"|The field '.*' is of type"
    r"|[Mm]etadata field .* is of type"
    r"|With new metadata fields "
    r"|body(\.\w+|\.\d+)*\.filter\b"
    r"|The document id "
    r"|A metadata field has an unusable name"
    r"|Its access list has an unusable group name"
    r"|It has no text"
    r"|This chunk was not shown in this impression"
    r"|A canary is for at most"
    r"|There is no change \d+ yet",
    re.DOTALL,
)


@schemathesis.check
def nothing_breaks(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """No 5xx, but for the honest word of a busy machine that a part needs a moment."""
    if response.status_code >= 500:
        problem = response.json()
        assert problem["type"] in MOMENTARY, f"a {response.status_code}: {problem}"


@schemathesis.check
def refusals_are_problems(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Every refusal is problem+json that says what to do, and when it will be worth another try."""
    if response.status_code < 400:
        return
    kind = response.headers.get("content-type", [""])[0]
    assert kind == "application/problem+json", f"a {response.status_code} of type {kind}"
    problem = response.json()
    assert set(problem) >= MEMBERS, f"a problem without {MEMBERS - set(problem)}"
    assert problem["status"] == response.status_code
    assert problem["advice"], "a problem without advice"
    assert (response.status_code not in (429, 503)) or "retry-after" in response.headers
    assert (response.status_code != 405) or "allow" in response.headers


@schemathesis.check
def what_fits_the_schema_is_accepted(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """The schema promises no more than the service takes."""
    meta = case.meta
    if meta is None or meta.generation.mode is not GenerationMode.POSITIVE or response.status_code not in (400, 422):
        return
    detail = response.json()["detail"]
    assert BEYOND_THE_SCHEMA.match(detail), f"fits the schema, but is refused: {detail}"
