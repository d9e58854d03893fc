"""`python -m serving.stream`: the consumer of a container; everything is said by RECSYS_KAFKA_* and RECSYS_* variables."""

import sys

from serving.arguments import run_program
from serving.settings import settings_from_environment
from serving.stream.run import run_stream
from serving.stream.settings import PREFIX, KafkaSettings, kafka_settings


def main() -> int:
    """Take events in; a refusal is one line and its exit code."""
    return run_program(
        "python -m serving.stream",
        KafkaSettings,
        PREFIX,
        lambda: run_stream(kafka_settings(), settings_from_environment()),
    )


if __name__ == "__main__":
    sys.exit(main())
