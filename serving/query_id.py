"""Names of answers."""

import secrets
import time


def new_query_id() -> str:
    """32 hex digits: the milliseconds of now in the first 12, so that its file is found by name, then 80 random bits."""
    return f"{time.time_ns() // 10**6:012x}{secrets.token_hex(10)}"
