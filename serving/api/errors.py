"""What the door refuses on its own account.

RefusedError                     (HTTP status beside each)
├── UnauthorisedError            no key, or none that is known and in force        401
├── ForbiddenError               the key's scopes do not reach so far              403
├── TooSlowError                 the request did not arrive in time                408
├── BodyTooLargeError            over the limit                                    413
├── UnsupportedError             an encoding or a charset that is not understood   415
├── RateLimitedError             the key's bucket is empty                         429
├── HeadTooLargeError            path, query and headers are over the limit        431
├── BadRequestError              no JSON, no sense                                 400
├── UpstreamError                the server behind failed                          502
├── OverloadedError              too much in flight, or no server behind           503
└── DeadlineError                the server behind did not answer in time          504
"""

from collections.abc import Mapping

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

    def __init__(self, message: str) -> None:
        super().__init__(message, {"www-authenticate": 'Bearer realm="recsys"'})


class ForbiddenError(RefusedError):
    """The key's scopes do not reach so far."""

    http_status = 403


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


class UpstreamError(RefusedError):
    """The server behind failed; its words stay inside."""

    http_status = 502


class OverloadedError(RefusedError):
    """Too much in flight, or no server behind."""

    http_status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, {"retry-after": "1"})


class DeadlineError(RefusedError):
    """The server behind did not answer in time."""

    http_status = 504
