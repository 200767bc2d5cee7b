"""Names of the actors of one installation, all in its Ray namespace. Whoever knows the release knows the names."""

from __future__ import annotations

FLEET = "fleet"


def shard_name(index_id: str, shard: int, replica: int) -> str:
    """Name of one copy of a shard."""
    return f"shard-{index_id}-{shard:03d}-{replica}"


def embedder_name(artifact: str) -> str:
    """Name of the actor that embeds documents (and, when so placed, queries) with one embedder."""
    return f"embedder-{artifact.rsplit('/', 1)[-1]}"


def generator_name(fingerprint: str) -> str:
    """Name of the actor that runs one generator."""
    return f"generator-{fingerprint[:12]}"
