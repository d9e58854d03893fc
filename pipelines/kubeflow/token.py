"""The token of the laptop's endpoint: a file that only its user reads, as a pod finds its own on a cluster."""

import os
import secrets
from pathlib import Path

from components.artifacts.errors import NotFoundError

FILE = "kfp.token"
TOKEN_BYTES = 32


def token_path(home: Path) -> Path:
    """Where it lies."""
    return home / FILE


def make_token(home: Path) -> Path:
    """The file, with a new token where there was none."""
    path = token_path(home)
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(TOKEN_BYTES))
    return path


def read_token(home: Path) -> str:
    """The token.

    Raises:
        NotFoundError: There is none.
    """
    try:
        return token_path(home).read_text().strip()
    except FileNotFoundError:
        raise NotFoundError(f"no token in {token_path(home)}. `recsys kfp up` makes it.") from None
