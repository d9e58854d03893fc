"""`recsys stream`: events from Kafka, and to it."""

from typing import Annotated

import typer

HELP = """Events from a Kafka topic, in place of POST /v1/events or beside it, and the log of events to one.

\b
export RECSYS_KAFKA_BOOTSTRAP_SERVERS=localhost:9092
recsys stream schema                            what a record has to be
recsys stream consume --topic shop.events       until Ctrl-C
recsys stream mirror --to recsys.acknowledged   the log of events as a topic

As many consumers as the topic has partitions share it. The mirror writes events whoever posted them. Connection,
TLS and SASL are RECSYS_KAFKA_* variables; `python -m serving.stream --help` lists them. In a container:
`python -m serving.stream`, and `python -m serving.stream.mirror`, which are told by variables alone.
"""

app = typer.Typer(help=HELP, no_args_is_help=True)


@app.command()
def consume(
    topic: Annotated[str | None, typer.Option(help="Topic of events.")] = None,
    brokers: Annotated[str | None, typer.Option(help="Brokers to ask first, HOST:PORT with commas between.")] = None,
    group: Annotated[str | None, typer.Option(help="Consumer group; its members share the partitions.")] = None,
    dead_letter_topic: Annotated[
        str | None, typer.Option("--dead-letters", help="Topic of records that are no event; TOPIC.dead-letters.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Where a new group begins: earliest (what the topic holds) or latest.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of /healthz, /readyz and /metrics.")] = None,
) -> None:
    """Apply a topic's events to the log and the online store, as the server applies posted ones, until Ctrl-C.

    A record is one event of POST /v1/events as JSON; an event_id counts once, however often it is delivered. An offset is
    committed once the event is on the disk, so a consumer that is killed loses nothing. A record that is no event goes to
    the topic of dead letters with the reason in its header `recsys-reason`. Both topics have to be there:

    \b
    kafka-topics.sh --bootstrap-server localhost:9092 --create \\
        --topic recsys.events --partitions 6
    kafka-topics.sh --bootstrap-server localhost:9092 --create \\
        --topic recsys.events.dead-letters --partitions 1
    """
    import logging

    from serving.settings import settings_from_environment
    from serving.stream.run import run_stream
    from serving.stream.settings import kafka_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    given = _said(
        topic=topic,
        bootstrap_servers=brokers,
        group=group,
        dead_letter_topic=dead_letter_topic,
        start=start,
        http_port=port,
    )
    run_stream(kafka_settings(given), settings_from_environment())


@app.command()
def mirror(
    to: Annotated[
        str | None, typer.Option(help="Topic that gets the events; RECSYS_KAFKA_MIRROR_TOPIC where left out.")
    ] = None,
    brokers: Annotated[str | None, typer.Option(help="Brokers to ask first, HOST:PORT with commas between.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Where a new mirror begins: earliest (the whole log) or latest.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of /healthz, /readyz and /metrics.")] = None,
) -> None:
    """Write every acknowledged event of the log to a topic, keyed by its user, until Ctrl-C.

    The place in the log is kept in $RECSYS_HOME/logs/mirror once the brokers have the events: a mirror that is started again
    goes on there. A crash may write some again; an event_id tells a repeated one. One mirror writes one topic.
    """
    import logging

    from components.artifacts.home import recsys_home
    from serving.stream.mirror.run import run_mirror
    from serving.stream.settings import kafka_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    given = _said(mirror_topic=to, bootstrap_servers=brokers, start=start, http_port=port)
    run_mirror(kafka_settings(given), recsys_home())


@app.command()
def schema() -> None:
    """Print the JSON Schema of a record's value, for producers and for a Schema Registry."""
    import json

    from serving.stream.records import record_schema

    typer.echo(json.dumps(record_schema(), indent=2))


def _said(**options: str | int | None) -> dict[str, str | int]:
    """The options that were given; the others are the variables' to say."""
    return {name: value for name, value in options.items() if value is not None}
