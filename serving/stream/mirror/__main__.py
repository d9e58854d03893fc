"""`python -m serving.stream.mirror`: the mirror of a container; everything is said by RECSYS_KAFKA_* and RECSYS_HOME."""

import sys

from components.artifacts.home import recsys_home
from serving.arguments import run_program
from serving.stream.mirror.run import run_mirror
from serving.stream.settings import PREFIX, KafkaSettings, kafka_settings


def main() -> int:
    """Write the log to the topic; a refusal is one line and its exit code."""
    return run_program(
        "python -m serving.stream.mirror", KafkaSettings, PREFIX, lambda: run_mirror(kafka_settings(), recsys_home())
    )


if __name__ == "__main__":
    sys.exit(main())
