"""A KServe ModelServer with one bundle: KServe's V1, V2 and gRPC protocols, and the routes of the public API."""

import asyncio
import logging
import sys
from collections.abc import Mapping
from typing import Any

from prometheus_client import REGISTRY

from components.artifacts.errors import ConfigError
from feature_repo.schema import SchemaError
from serving.admission import Admission
from serving.bundle_source import BundleSource
from serving.drain import Drain
from serving.event_types import trained_weights
from serving.front import Application, Front
from serving.garbage import settle
from serving.hot_routes import HotRoutes
from serving.http11 import bounded_protocol
from serving.inference_body import InferenceBody
from serving.live_events import LiveEvents
from serving.live_recommender import LiveRecommender
from serving.metrics import ServerMetrics
from serving.online_features import UserReader
from serving.ports import check_free
from serving.prediction_log import PredictionLog
from serving.recommender import Recommender
from serving.settings import Settings
from serving.tls import KnownCallers, grpc_credentials, uvicorn_tls
from serving.tracing import tracing

log = logging.getLogger(__name__)
SWITCH_SECONDS = 0.001
"""Longest that a request waits for the interpreter each time that another thread wants it, a writer of logs or the look for
a bundle: a request lets go of it some dozen times, at each row from SQLite for one, and Python's own bound is 5 ms."""


def run_server(settings: Settings) -> None:
    """Serve until a signal comes; what waits in the logs is written before it returns.

    Raises:
        NotFoundError: There is no such bundle.
        ContractError: The bundle is damaged, or its golden requests are answered otherwise than in training.
        ConfigError: The rules file is wrong, exploration would break its rules, the stores are not as they should be, a
            certificate cannot be used, or a port is taken.
    """
    for port in filter(None, (settings.http_port, settings.grpc_port)):
        check_free(settings.host, port)
    sys.setswitchinterval(SWITCH_SECONDS)
    source = BundleSource(settings)
    bundle = source.open_checked()
    predictions = None
    if settings.log_impressions:
        predictions = PredictionLog(
            settings.home,
            settings.flush_seconds,
            is_replay=settings.accept_request_time,
            host=settings.host_name and f"{settings.host_name}-",
        )
    try:
        users = UserReader(settings.home, timeout_seconds=settings.online_timeout_seconds)
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    metrics = ServerMetrics(REGISTRY)
    live = LiveRecommender(Recommender(bundle, users, predictions, settings, metrics=metrics), source)
    events = _events(live, metrics)
    if predictions:
        predictions.start()
    live.start()
    events.start()
    try:
        _start(live, events, metrics)
    finally:
        live.close()
        events.close()
        if predictions:
            predictions.close()


def _events(live: LiveRecommender, metrics: ServerMetrics) -> LiveEvents:
    def weights() -> Mapping[str, float]:
        return trained_weights(live.bundle.manifest.facts.config)

    settings = live.settings
    return LiveEvents.of(
        settings.home, max_events=settings.max_events, weights=weights, metrics=metrics, host=settings.host_name
    )


def _start(recommender: LiveRecommender, events: LiveEvents, metrics: ServerMetrics) -> None:
    settings, drain = recommender.settings, Drain(recommender.settings.drain_seconds)
    traces = tracing(settings.traces_url, settings.traces_share, service="recsys-server", trusts_parent=True)
    server_module = _import_kserve(settings, metrics)
    from serving.models import RankerModel, RecommenderModel
    from serving.operations import add_operations
    from serving.routes import add_routes, hot_routes

    checked: Application = InferenceBody(server_module.app, max_bytes=settings.max_body_bytes)
    answering = HotRoutes(checked, hot_routes(recommender), max_body_bytes=settings.max_body_bytes)
    admitted: Application = Admission(answering, queue_seconds=settings.queue_seconds)
    if settings.tls_client_ca:
        admitted = KnownCallers(admitted, settings.tls_client_names)
    front = Front(admitted, metrics)
    outermost = drain.around(traces.around(front) if traces else front)
    server_module.RESTServer = _behind(outermost, server_module.RESTServer, settings, drain)

    models: list[Any] = [
        RecommenderModel("recommender", recommender),
        RankerModel("ranker", recommender),
    ]

    def is_ready() -> bool:
        return not drain.is_on and all(model.ready for model in models)

    add_routes(server_module.app, recommender, events, is_ready=is_ready)
    add_operations(server_module.app, recommender, is_ready=is_ready)
    repository = _closed_repository()

    class Server(server_module.ModelServer):  # type: ignore[name-defined]  # kserve publishes no types
        def stop(self, sig: int) -> None:
            repository.is_stopping = True
            super().stop(sig)

    server = Server(
        http_port=settings.http_port,
        grpc_port=settings.grpc_port or 8081,
        enable_grpc=settings.grpc_port > 0,
        workers=1,
        enable_latency_logging=False,
        registered_models=repository,
        grace_period=10,
    )
    _use_uvloop()
    settle()
    try:
        server.start(models)
    finally:
        if traces:
            traces.close()


def _import_kserve(settings: Settings, metrics: ServerMetrics) -> Any:  # kserve publishes no types
    """KServe's server module, its gRPC behind our guard and on the configured address: it knows 0.0.0.0 only.

    KServe reads sys.argv when it is imported; the options here are this program's own.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        from kserve import model_server
        from kserve.protocol.grpc import server as grpc_server
    finally:
        sys.argv = arguments

    from serving.grpc_admission import GrpcAdmission

    aio_server = grpc_server.aio.server
    guard = GrpcAdmission(metrics, queue_seconds=settings.queue_seconds)

    def bound_server(*args: Any, interceptors: tuple[Any, ...] = (), **options: Any) -> _BoundGrpcServer:
        # Outermost: KServe's own interceptor would make of a refusal a fault of the server.
        return _BoundGrpcServer(aio_server(*args, interceptors=(guard, *interceptors), **options), settings)

    grpc_server.aio.server = bound_server
    logging.getLogger("kserve").setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(_is_our_fault)
    return model_server


def _behind(front: Application, rest_server: Any, settings: Settings, drain: Drain) -> Any:  # kserve publishes no types
    """KServe's REST server behind our own applications, on the configured address."""

    tls = uvicorn_tls(settings.identity, settings.tls_client_ca)

    class BoundRestServer(rest_server):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.config.host, self.config.app = settings.host, front
            self.config.ssl_context_factory = tls
            drain.hold(self._server)
            self.config.http = bounded_protocol(
                max_head_bytes=settings.max_head_bytes, head_seconds=settings.head_seconds
            )
            # The front logs what went wrong: a line for each request would cost as much as the rest of HTTP.
            access_log = logging.getLogger("uvicorn.access")
            access_log.handlers, access_log.propagate = [], False

    return BoundRestServer


def _use_uvloop() -> None:
    """KServe's --event-loop is ignored with one worker: it runs on the loop of asyncio's policy."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(uvloop.new_event_loop())


def _is_our_fault(record: logging.LogRecord) -> bool:
    """KServe logs a traceback for a client's mistake; the front logs its 4xx, and the client the reason."""
    from kserve.errors import InvalidInput, ModelNotFound

    return not (record.exc_info and isinstance(record.exc_info[1], InvalidInput | ModelNotFound))


class _BoundGrpcServer:
    """gRPC's server with the address to listen on replaced, and TLS where the settings say so."""

    def __init__(self, server: Any, settings: Settings) -> None:
        self._server, self._settings = server, settings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_insecure_port(self, address: str) -> int:
        port = address.rpartition(":")[2]
        own, identity = f"{self._settings.host}:{port}", self._settings.identity
        if identity is None:
            return int(self._server.add_insecure_port(own))
        return int(self._server.add_secure_port(own, grpc_credentials(identity, self._settings.tls_client_ca)))


def _closed_repository() -> Any:
    """KServe's repository without the open route that unloads a model; the server's own stop may."""
    from kserve.model_repository import ModelRepository

    class ClosedRepository(ModelRepository):
        is_stopping = False

        def unload(self, name: str) -> None:
            if self.is_stopping:
                super().unload(name)
                return
            raise KeyError(f"{name}: models are not unloaded over HTTP; stop the server.")

        async def load(self, name: str) -> bool:
            return self.get_model(name) is not None

    return ClosedRepository()
