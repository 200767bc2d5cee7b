"""Ray's token: whoever has it may run code on the cluster, so it is asked for, and kept from other users.

A private Ray makes `~/.ray/auth_token` when it first starts, readable by everybody on the machine, and asks every
process for it from then on. Processes that connect later must turn the asking on themselves, before they connect.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

# Not public, but the only way after `import ray`: the variable RAY_AUTH_MODE is read once, by the import.
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available


def token_file() -> Path:
    """Where Ray keeps the token of this user."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))


def keep_private() -> None:
    """Take the token from other users' eyes."""
    path = token_file()
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)


def use_token() -> None:
    """Connect with the user's token from now on, if there is one."""
    logging.getLogger(maybe_enable_token_auth_if_token_available.__module__).setLevel(
        logging.ERROR
    )  # it warns of success
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
