"""`python -m serving.stream`: the consumer of a container; everything is said by RECSYS_KAFKA_* and RECSYS_* variables."""

import logging
import sys

from components.artifacts.errors import RecsysError
from serving.arguments import read_arguments
from serving.json_lines import JsonLines
from serving.settings import settings_from_environment
from serving.stream.run import run_stream
from serving.stream.settings import PREFIX, KafkaSettings, kafka_settings


def main() -> int:
    """Take events in; a refusal is one line and its exit code."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        text = read_arguments(sys.argv[1:], "python -m serving.stream", KafkaSettings, PREFIX)
        if text is not None:
            sys.stdout.write(f"{text}\n")
            return 0
        run_stream(kafka_settings(), settings_from_environment())
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
