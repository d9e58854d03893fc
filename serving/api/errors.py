"""What the door refuses on its own account.

RefusedError                     (HTTP status beside each)
├── UnauthorisedError            no key, or none that is known and in force        401
├── ForbiddenError               the key's scopes do not reach so far              403
├── NotThereError                no such page                                      404
├── TooSlowError                 the request did not arrive in time                408
├── BodyTooLargeError            over the limit                                    413
├── UnsupportedError             an encoding or a charset that is not understood   415
├── RateLimitedError             the key's bucket is empty                         429
├── HeadTooLargeError            path, query and headers are over the limit        431
├── BadRequestError              no JSON, no sense                                 400
├── ConsoleFailedError           the operator's page or act failed                 503
├── OverloadedError              too much in flight, here or behind                503
└── FaultError                   no answer from behind: a list may stand in for it
    ├── UpstreamError            the server behind failed                          502
    ├── GoneError                no server behind                                  503
    └── DeadlineError            the server behind did not answer in time          504
"""

from collections.abc import Mapping
from typing import Literal

from components.artifacts.errors import RecsysError


class RefusedError(RecsysError):
    """Anything that the door answers without the server behind it."""

    http_status = 400

    def __init__(self, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class BadRequestError(RefusedError):
    """No JSON, or headers that contradict each other."""


class UnauthorisedError(RefusedError):
    """No key, or none that is known and in force."""

    http_status = 401

    def __init__(self, message: str, scheme: Literal["Bearer", "Basic"] = "Bearer") -> None:
        super().__init__(message, {"www-authenticate": f'{scheme} realm="recsys"'})


class ForbiddenError(RefusedError):
    """The key's scopes do not reach so far."""

    http_status = 403


class NotThereError(RefusedError):
    """No such page."""

    http_status = 404


class TooSlowError(RefusedError):
    """The request did not arrive in time."""

    http_status = 408


class BodyTooLargeError(RefusedError):
    """The body is over the limit."""

    http_status = 413


class UnsupportedError(RefusedError):
    """An encoding or a charset that is not understood."""

    http_status = 415


class RateLimitedError(RefusedError):
    """The key's bucket is empty."""

    http_status = 429


class HeadTooLargeError(RefusedError):
    """Path, query and headers are over the limit."""

    http_status = 431


class OverloadedError(RefusedError):
    """Too much in flight."""

    http_status = 503

    def __init__(self, message: str, retry_after: str = "1") -> None:
        super().__init__(message, {"retry-after": retry_after})


class ConsoleFailedError(RefusedError):
    """The operator's page could not be made, or an act of theirs could not be done."""

    http_status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, {"retry-after": "10"})


class FaultError(RefusedError):
    """No answer from behind.

    Attributes:
        reason: One word for metrics and logs.
    """

    http_status = 502
    reason = "status"


class UpstreamError(FaultError):
    """The server behind failed; its words stay inside."""


class GoneError(FaultError):
    """No server behind, or it failed so often that it is not asked for a while."""

    http_status = 503
    reason = "gone"

    def __init__(self, message: str) -> None:
        super().__init__(message, {"retry-after": "1"})


class DeadlineError(FaultError):
    """The server behind did not answer in time."""

    http_status = 504
    reason = "timeout"
