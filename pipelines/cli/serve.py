"""`recsys serve`: the model server."""

from typing import Annotated

import typer

from pipelines.cli.options import AcceptRequestTime, Rules


def serve(
    bundle: Annotated[str, typer.Option(help="Alias, id or folder of the bundle.")] = "champion",
    port: Annotated[int, typer.Option(help="Port of REST.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; 0 turns it off.")] = 8081,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    model: Annotated[str, typer.Option(help="Registered model.")] = "recommender",
    rules_file: Rules = None,
    accept_request_time: AcceptRequestTime = False,
) -> None:
    """Serve a bundle with KServe's ModelServer until Ctrl-C.

    \b
    curl 'localhost:8080/v1/recommendations?user_id=1&k=5'
    curl localhost:8080/v1/models/recommender:predict \\
        -d '{"instances": [{"user_id": "1", "k": 5}]}'
    curl localhost:8080/v1/events -d '{"events": [{
        "event_id": "e1", "user_id": "1", "item_id": "1082185",
        "interaction_type": "purchase",
        "event_timestamp": "2017-11-13T10:00:00Z"}]}'
    """
    import logging

    import serving.lean_xgboost  # noqa: F401 - before anything that imports XGBoost
    from serving.server import run_server
    from serving.settings import settings_from_environment

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    given = {
        "bundle": bundle,
        "http_port": port,
        "grpc_port": grpc_port,
        "host": host,
        "model_name": model,
        "rules_file": rules_file,
        "accept_request_time": accept_request_time,
    }
    run_server(settings_from_environment(given))
