"""The laptop's Kubeflow endpoint as a background process, written down beside door and server."""

from pathlib import Path

from components.artifacts.errors import ConfigError
from pipelines.kubeflow.token import make_token
from pipelines.stack import Part, part_file, start_part, stop_part
from serving.ports import check_free

NAME = "kfp"


def up(home: Path, port: int) -> tuple[Part, Path]:
    """Start it and wait until it is ready; the process, and the file of its token.

    Raises:
        ConfigError: It runs already, or the port is taken.
        ServerFailedError: It did not become ready; the message names its log.
    """
    running = Part.read(home, NAME)
    if running is not None and running.process() is not None:
        raise ConfigError(f"kfp of {home}: running already at {running.url}. `recsys kfp down` stops it.")
    check_free("127.0.0.1", port)
    token = make_token(home)
    url = f"http://127.0.0.1:{port}"
    try:
        return start_part(home, NAME, "pipelines.kubeflow", {"RECSYS_KFP_PORT": str(port)}, url), token
    except BaseException:
        down(home)
        raise


def down(home: Path) -> Part | None:
    """Stop it and wait for its end; what was running. Harmless to repeat, and it touches no other process."""
    part = Part.read(home, NAME)
    running = part if part is not None and part.process() is not None else None
    if running is not None:
        stop_part(running)
    part_file(home, NAME).unlink(missing_ok=True)
    return running
