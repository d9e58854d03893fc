"""What is known of one request when it is logged."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from serving.api.assignment import Assignment
from serving.api.keys import Scope
from serving.api.requests import Head


@dataclass
class Exchange:
    """Filled on the way.

    Attributes:
        route: Pattern of the path, or what stands for none.
        started: Of a clock that never goes back, seconds.
        arrived: The time of day then.
        head: The request's headers.
        caller: Name of the key, or a token's subject.
        scopes: What the caller may do.
        headers: Of the answer.
        upstream: Name of the server that was asked last.
        query_id: Of the answer.
        fallback: Why the door answered in a server's place; None where a server did.
        user_id: Who was asked about, where it is an experiment's user.
        assignments: Of the experiments that take the user.
        asked_at: The time that a request of a replay says it is; None of live traffic.
    """

    route: str
    started: float = field(default_factory=time.perf_counter)
    arrived: datetime = field(default_factory=lambda: datetime.now(UTC))
    head: Head = field(default_factory=dict)
    caller: str | None = None
    scopes: tuple[Scope, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    upstream: str | None = None
    query_id: str | None = None
    fallback: str | None = None
    user_id: str = ""
    assignments: tuple[Assignment, ...] = ()
    asked_at: datetime | None = None
