"""Names of the actors of one installation, all in its Ray namespace. Whoever knows the release knows the names."""

from __future__ import annotations

FLEET = "fleet"
STEWARD = "steward"


def shard_name(index_id: str, shard: int, replica: int) -> str:
    """Name of one copy of a shard."""
    return f"shard-{index_id}-{shard:03d}-{replica}"


def embedder_name(made_by: str) -> str:
    """Name of the actor that cuts and embeds documents for an index: embedder and chunking make it what it is."""
    return f"embedder-{made_by[:12]}"


def generator_name(fingerprint: str) -> str:
    """Name of the actor that runs one generator."""
    return f"generator-{fingerprint[:12]}"
