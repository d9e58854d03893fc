"""A client of Kubeflow Pipelines' API: which one, with whose token, and its refusals in words."""

import contextlib
import io
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import kfp
from kfp.client import ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from components.artifacts.errors import ConfigError, RecsysError

CONFLICT, UNAUTHENTICATED, FORBIDDEN, SERVER_ERROR = 409, 401, 403, 500
HEALTH, KNOCK_SECONDS = "/apis/v2beta1/healthz", 10.0
REFUSED = "{where}: the token is not accepted ({why}). Name its file with --token-file or KF_PIPELINES_SA_TOKEN_PATH."
AWAY = "{where}: does not answer ({why}). Is it running, and reachable from here?"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class KubeflowError(RecsysError):
    """Kubeflow's API refused or was not reached; the message says what and where."""


class AwayError(KubeflowError):
    """The API does not answer, or not now: the same request may succeed later."""

    exit_code = 75  # sysexits' EX_TEMPFAIL: a job may try again on this one alone


def connect(endpoint: str | None, token: Path | None) -> kfp.Client:
    """A client.

    Args:
        endpoint: Address of the API.
        token: File with the token that it wants; it is read again as it changes, as a projected one does on a cluster.

    Raises:
        ConfigError: There is no address, or the token is not accepted.
        AwayError: The API does not answer.
    """
    if not endpoint:
        raise ConfigError(
            "no address of Kubeflow's API: name it with --endpoint or KF_PIPELINES_ENDPOINT, for example "
            "http://ml-pipeline.kubeflow:8888. `recsys kfp up` starts one on this machine."
        )
    if token is not None and not token.is_file():
        raise ConfigError(f"token {token}: there is no such file. `recsys kfp up` makes one, a pod is given one.")
    _knock(endpoint, token)
    credentials = ServiceAccountTokenVolumeCredentials(str(token)) if token else None
    with refusals(endpoint), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each client warns that it wants a server of version 2
        return kfp.Client(host=endpoint, credentials=credentials)


def _knock(endpoint: str, token: Path | None) -> None:
    """Ask once before the client does, which tries for half a minute and then says no more than that it failed."""
    headers = {"authorization": f"Bearer {token.read_text().strip()}"} if token else {}
    try:
        answer = httpx.get(f"{endpoint.rstrip('/')}{HEALTH}", headers=headers, timeout=KNOCK_SECONDS)
    except httpx.InvalidURL as error:
        raise ConfigError(
            f"endpoint {endpoint}: expected an address such as http://ml-pipeline.kubeflow:8888."
        ) from error
    except httpx.HTTPError as error:
        raise AwayError(AWAY.format(where=endpoint, why=error)) from error
    if answer.status_code in {UNAUTHENTICATED, FORBIDDEN}:
        raise ConfigError(REFUSED.format(where=endpoint, why=answer.status_code))


def is_here(client: kfp.Client) -> bool:
    """Whether the API is this machine's own: `recsys kfp up`, or a port that is forwarded from a cluster."""
    return urlsplit(address(client)).hostname in LOOPBACK


def address(client: kfp.Client) -> str:
    """Of the API."""
    return str(client._existing_config.host)  # the client shows it nowhere else


@contextlib.contextmanager
def refusals(where: str) -> Iterator[None]:
    """Tell the API's refusals in the platform's exceptions, and keep the client's links out of what is printed.

    Raises:
        ConfigError: The token is not accepted, or does not permit it.
        AwayError: The API does not answer, or not now.
        KubeflowError: Anything else was refused.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except ApiException as error:
        said = _message(error)
        if error.status == UNAUTHENTICATED:
            raise ConfigError(
                f"{where}: the token is not accepted ({said}). Name its file with --token-file."
            ) from error
        if error.status == FORBIDDEN:
            raise ConfigError(
                f"{where}: not permitted ({said}). The service account needs pipelines, experiments and runs: get, list, create; "
                "for recurring runs jobs, and delete as well."
            ) from error
        kind = AwayError if error.status >= SERVER_ERROR else KubeflowError
        raise kind(f"{where}: {said}") from error
    except (HTTPError, TimeoutError) as error:
        raise AwayError(AWAY.format(where=where, why=error)) from error


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (KeyError, TypeError, ValueError):
        return f"{error.status} {error.reason}"
