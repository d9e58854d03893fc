"""Kubeflow Model Registry, told of our bundles: others find them there, and KServe reads them by `model-registry://`.

    registered model   recommender
    model version      b-1a2b3c      cut, figures, gate and aliases as custom properties
    model artifact     recommender   where the bundle lies: s3://models/registry/recommender/versions/b-1a2b3c

Ours stays the record. Telling is harmless to repeat: it compares and writes what differs, so what one call missed the next one
makes good. The client is the one that Kubeflow generates from the API's OpenAPI document (PyPI `model-registry`, its package
`mr_openapi`); the wrapper around it sets the logging of the whole process and nests event loops, so it is not used.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from components.artifacts.errors import ConfigError, RecsysError
from components.artifacts.registry import CHALLENGER, CHAMPION, Registry, Version, open_registry
from components.artifacts.remote import ensure_copied, is_on_a_volume

log = logging.getLogger(__name__)

URL, BUNDLES = "RECSYS_MODEL_REGISTRY_URL", "RECSYS_MODEL_REGISTRY_BUNDLES"
TOKEN_FILE, CA = "RECSYS_MODEL_REGISTRY_TOKEN_FILE", "RECSYS_MODEL_REGISTRY_CA"
VARIABLES = (URL, BUNDLES, TOKEN_FILE, CA)
SCHEME = "model-registry://"
"""Of an address that KServe's storage initializer asks the registry about: SCHEME, model, `/`, version."""
FORMAT_NAME, FORMAT_VERSION = "recsys", "1"
"""As our ServingRuntime names its model format."""
SYSTEM, METRICS = "two_stage", ("ndcg_at_10", "recall_at_20", "hit_rate_at_10", "map_at_10")
"""Whose figures of an evaluation, and which."""
PLACE = "uri"
"""Property that is written last: a version that has it has its artifact as well."""
PAGE = "100"
SECONDS = 30.0
"""Longest that one question may take."""

Properties = Mapping[str, str | float | bool]


class ModelRegistryError(RecsysError):
    """The registry was not reached, or refused."""


@dataclass(frozen=True, slots=True)
class ModelRegistryConfig:
    """Which registry, and where it says that bundles lie.

    Attributes:
        url: Of its API, without a path.
        bundles: URI without a slash at its end; a bundle lies at `bundles`/<bundle id>.
        token_file: File with a bearer token, read anew each time; None where none is asked for.
        ca: File of who signed its certificate; None for the system's list.
    """

    url: str
    bundles: str
    token_file: Path | None = None
    ca: Path | None = None

    @classmethod
    def of_environment(cls) -> Self | None:
        """None where no registry is named.

        Raises:
            ConfigError: It is named, and where bundles lie is not; or it is no URL.
        """
        url, bundles = (os.environ.get(one, "").rstrip("/") for one in (URL, BUNDLES))
        if not url:
            return None
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{URL} {url!r}: expected http://HOST:PORT or https://HOST.")
        if "://" not in bundles:
            raise ConfigError(
                f"{BUNDLES} {bundles!r}: expected where bundles lie, as s3://BUCKET/registry/recommender/versions or "
                "pvc://recsys-home/registry/recommender/versions."
            )
        files = [Path(value) if (value := os.environ.get(one)) else None for one in (TOKEN_FILE, CA)]
        return cls(url, bundles, *files)


def tell_model_registry(home: Path, model: str) -> None:
    """Where a registry is configured, tell it of the bundles; that it does not listen is logged and no failure of ours."""
    try:
        config = ModelRegistryConfig.of_environment()
        if config is not None:
            changes = mirror_to_model_registry(open_registry(home), model, config)
            log.info("Model Registry: %d changes told", changes)
    except RecsysError as error:
        log.warning("Model Registry not told of %s, the next move or `recsys model mirror` tells it: %s", model, error)


def mirror_to_model_registry(registry: Registry, model: str, config: ModelRegistryConfig) -> int:
    """Have the registry say what ours says; how much had to be written. What others wrote there beside it stays.

    A bundle that it does not know yet is copied to `config.bundles` first, where that is no volume.

    Raises:
        ModelRegistryError: It was not reached, or refused.
        CopyFailedError: A bundle could not be copied.
    """
    from aiohttp import ClientError
    from mr_openapi.exceptions import OpenApiException

    versions = registry.versions(model)
    try:
        return asyncio.run(_mirrored(model, versions, config)) if versions else 0
    except (
        OpenApiException,
        ClientError,
        OSError,
        ValueError,
    ) as error:  # ValueError: what answered is no such registry
        raise ModelRegistryError(
            f"Model Registry {config.url}: {_sentence(error)}. Run `recsys model mirror` again: it goes on where it stopped."
        ) from error


def properties_of(version: Version, uri: str) -> Properties:
    """What the registry is told of a version; both aliases always, so that one that moved on is taken back."""
    evaluation = version.evaluation()
    figures = evaluation.get("evaluation", {}).get("systems", {}).get(SYSTEM, {})
    means = {name: figures.get(name, {}).get("mean") for name in METRICS}
    gate = evaluation.get("gate", {})
    said: dict[str, str | float | bool | None] = {
        PLACE: uri,
        "as_of": version.manifest.facts.as_of,
        "published_at": version.published_at,
        "schema_hash": version.manifest.schema_hash,
        "xgboost": version.manifest.xgboost,
        "gate_passed": gate.get("passed"),
        "gate": gate.get("sentence"),
        **means,
        **{alias: alias in version.aliases for alias in (CHAMPION, CHALLENGER)},
    }
    return {key: value for key, value in said.items() if value is not None}


async def _mirrored(model: str, versions: list[Version], config: ModelRegistryConfig) -> int:
    from mr_openapi import ApiClient, ModelRegistryServiceApi

    async with ApiClient(_connection(config)) as client:
        session = _Session(ModelRegistryServiceApi(client), config, model)
        model_id = await session.model_id()
        there = await session.versions(model_id)
        for version in versions:
            await session.tell(version, model_id, there.get(version.bundle_id))
        return session.changes


def _connection(config: ModelRegistryConfig) -> Any:  # a Configuration, which is untyped
    from mr_openapi import Configuration

    token = config.token_file.read_text(encoding="utf-8").strip() if config.token_file else None
    return Configuration(host=config.url, access_token=token, ssl_ca_cert=str(config.ca) if config.ca else None)


class _Session:
    """One comparison. Answers are the generated client's, which are untyped."""

    def __init__(self, api: Any, config: ModelRegistryConfig, model: str) -> None:
        self._api, self._config, self._model, self.changes = api, config, model, 0

    async def model_id(self) -> str:
        """Of the registered model, which is made where there is none."""
        from mr_openapi import RegisteredModelCreate
        from mr_openapi.exceptions import NotFoundException

        try:
            found = await self._api.find_registered_model(name=self._model, _request_timeout=SECONDS)
        except NotFoundException:
            found = await self._write(self._api.create_registered_model, RegisteredModelCreate(name=self._model))
        return str(found.id)

    async def versions(self, model_id: str) -> dict[str, Any]:
        """By name, page by page."""
        found: dict[str, Any] = {}
        token: str | None = None
        while True:
            page = await self._api.get_registered_model_versions(
                model_id, page_size=PAGE, next_page_token=token, _request_timeout=SECONDS
            )
            found |= {one.name: one for one in page.items or []}
            token = page.next_page_token
            if not token:
                return found

    async def tell(self, version: Version, model_id: str, found: Any) -> None:
        """A version, its artifact and, last, its properties."""
        from mr_openapi import ModelVersionCreate, ModelVersionUpdate

        uri = f"{self._config.bundles}/{version.bundle_id}"
        wanted = properties_of(version, uri)
        there = _plain(found.custom_properties) if found else {}
        if found and all(key in there and there[key] == value for key, value in wanted.items()):
            return
        if there.get(PLACE) != uri:
            if not is_on_a_volume(uri):
                ensure_copied(version.folder, uri)
            if found is None:
                named = ModelVersionCreate(name=version.bundle_id, registered_model_id=model_id)
                found = await self._write(self._api.create_model_version, named)
            await self._place(found.id, uri)
        properties = (found.custom_properties or {}) | _wrapped(wanted)
        change = ModelVersionUpdate(custom_properties=properties, state=None)  # None: who archived it has archived it
        await self._write(self._api.update_model_version, found.id, change)

    async def _place(self, version_id: str, uri: str) -> None:
        """Its one artifact says where the bundle lies."""
        from mr_openapi import Artifact, ModelArtifact

        page = await self._api.get_model_version_artifacts(version_id, _request_timeout=SECONDS)
        named = [one.actual_instance for one in page.items or [] if one.actual_instance.name == self._model]
        artifact = ModelArtifact(
            id=named[0].id if named else None,
            name=self._model,
            uri=uri,
            model_format_name=FORMAT_NAME,
            model_format_version=FORMAT_VERSION,
        )
        await self._write(self._api.upsert_model_version_artifact, version_id, Artifact(artifact))

    async def _write(self, call: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
        written = await call(*arguments, _request_timeout=SECONDS)
        self.changes += 1
        return written


def _wrapped(properties: Properties) -> dict[str, Any]:
    """As the API has values of several types."""
    from mr_openapi import MetadataBoolValue, MetadataDoubleValue, MetadataStringValue, MetadataValue

    def wrap(value: str | float | bool) -> Any:
        if isinstance(value, bool):
            return MetadataBoolValue(bool_value=value, metadata_type="MetadataBoolValue")
        if isinstance(value, str):
            return MetadataStringValue(string_value=value, metadata_type="MetadataStringValue")
        return MetadataDoubleValue(double_value=float(value), metadata_type="MetadataDoubleValue")

    return {key: MetadataValue(wrap(value)) for key, value in properties.items()}


def _plain(properties: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values themselves; of the types that we write."""
    kinds = ("bool_value", "double_value", "string_value")
    found = {}
    for key, value in (properties or {}).items():
        for kind in kinds:
            if hasattr(value.actual_instance, kind):
                found[key] = getattr(value.actual_instance, kind)
    return found


def _sentence(error: Exception) -> str:
    """Status and reason where it answered."""
    status = getattr(error, "status", None)
    return f"{status} {getattr(error, 'reason', '')}" if status else f"{type(error).__name__} {error}".strip()
