"""The exceptions of the platform.

RecsysError
├── ConfigError          a configuration value is wrong                          (HTTP 400, exit code 2)
├── ContractError        a table, an artifact or a bundle breaks its contract    (HTTP 500, exit code 4)
│   └── QuarantineError  more rows than allowed are bad                          (exit code 4)
├── GateRefusedError     a bundle is not good enough to be deployed              (exit code 3)
├── NotFoundError        something named does not exist                          (HTTP 404, exit code 2)
└── ProcessFailedError   a process that was started ended                        (exit code of what it refused, else 1)

A message says what is wrong, where, what was expected, and what to do.
"""


class RecsysError(Exception):
    """Anything this platform refuses on purpose."""

    exit_code = 1


class ConfigError(RecsysError):
    """A configuration value is wrong."""

    exit_code = 2


class ContractError(RecsysError):
    """A table, an artifact or a bundle is not what its reader was promised."""

    exit_code = 4


class QuarantineError(ContractError):
    """More rows than the configuration allows are bad."""


class GateRefusedError(RecsysError):
    """A bundle is not good enough to be deployed."""

    exit_code = 3


class NotFoundError(RecsysError):
    """Something named does not exist."""

    exit_code = 2


class ProcessFailedError(RecsysError):
    """A process that was started here ended; the message says which, why and where its log lies.

    Args:
        message: As said.
        exit_code: Of what it refused, as if that had been refused here; 1 of any other end.
    """

    def __init__(self, message: str, exit_code: int = RecsysError.exit_code) -> None:
        super().__init__(message)
        self.exit_code = exit_code
