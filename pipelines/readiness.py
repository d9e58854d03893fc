"""What a server or a door says of itself at /readyz, over HTTP or HTTPS."""

import ssl

import httpx

from components.artifacts.errors import ConfigError
from serving.api.settings import door_settings
from serving.tls import asking

DISTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""OpenSSL's word, in what httpx says."""


def readyz(url: str, *, seconds: float) -> httpx.Response:
    """Its answer, whatever it is; no proxy of the environment is asked.

    Args:
        url: Of the process.
        seconds: Longest that connecting, and answering, may take.

    Raises:
        TransportError: It does not answer.
        ConfigError: Its certificate is not believed, or the settings that say which are cannot be used.
    """
    try:
        return httpx.get(f"{url}/readyz", timeout=seconds, trust_env=False, verify=verification(url))
    except httpx.ConnectError as error:
        if DISTRUSTED not in str(error):
            raise
        raise ConfigError(
            f"{url}: {error}. RECSYS_API_UPSTREAM_CA names the file of who signs certificates."
        ) from error


def verification(url: str) -> ssl.SSLContext | bool:
    """How httpx verifies an address: as the door verifies the servers behind it, and showing what it shows.

    Raises:
        ConfigError: The settings that say so cannot be used.
    """
    if not url.startswith("https://"):
        return True
    settings = door_settings({"upstreams": f"stable={url}"})
    return asking(settings.upstream_ca, settings.upstream_identity)
