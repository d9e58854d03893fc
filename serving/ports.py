"""Whether a port is free, asked before anything is loaded: uvicorn finds it late, and ends with the code of a refusing gate."""

import socket

from components.artifacts.errors import ConfigError


def check_free(host: str, port: int) -> None:
    """Refuse a port that something else listens on: its answers would be taken for ours.

    Raises:
        ConfigError: It is taken, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"port {port} of {host}: {error.strerror}. Choose another, or stop what has it."
            ) from error
