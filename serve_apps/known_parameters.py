"""Query parameters that do not exist are refused, like fields of a body: a typo must not silently change nothing."""

from __future__ import annotations

import difflib

from fastapi import Request

from kaizen.errors import UnknownField


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency of every route; raises UnknownField with the nearest name."""
    if not request.scope["query_string"]:
        return
    known = [parameter.alias for parameter in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"Did you mean '{near[0]}'?" if near else f"It takes: {', '.join(known) or 'none'}."
            raise UnknownField(f"There is no query parameter '{name[:64]}' here.", advice=advice)
