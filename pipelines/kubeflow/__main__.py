"""`python -m pipelines.kubeflow`: the laptop's Kubeflow endpoint as a process of its own, on loopback."""

import sys
from os import environ

import uvicorn

from components.artifacts.errors import RecsysError
from components.artifacts.home import recsys_home
from pipelines.kubeflow.api import build_app
from pipelines.kubeflow.runs import RunQueue
from pipelines.kubeflow.schedules import Schedules
from pipelines.kubeflow.tables import Tables
from pipelines.kubeflow.token import read_token

PORT_VARIABLE = "RECSYS_KFP_PORT"


def main() -> int:
    """Answer until a signal comes; runs that are executed are stopped then."""
    home = recsys_home()
    try:
        token, tables = read_token(home), Tables(home)
    except RecsysError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    queue = RunQueue(home, tables)
    schedules = Schedules(tables, queue)
    try:
        schedules.start()
        app = build_app(tables, queue, schedules, token)
        uvicorn.run(app, host="127.0.0.1", port=int(environ[PORT_VARIABLE]), access_log=False, server_header=False)
    finally:
        schedules.close()
        queue.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
