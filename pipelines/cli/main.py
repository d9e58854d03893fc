"""`recsys`: the command line of the platform."""

import sys
from typing import Any, NoReturn

import typer
from rich.text import Text

from components.artifacts.errors import ConfigError, RecsysError
from feature_repo.own import OwnFeaturesError
from pipelines.cli import (
    console,
    data,
    demo,
    experiment,
    features,
    keys,
    kfp,
    model,
    monitor,
    rollout,
    serve,
    stack,
    stream,
    train,
)
from pipelines.cli.screen import screen

HELP = """A recommender platform: data -> features -> training -> serving -> monitoring -> retraining.

[bold]Start here[/bold]

  recsys demo                 all of it on real data, in a quarter of an hour
  recsys data check my.yaml   what is in my tables, and what is missing
  recsys train run my.yaml    train, evaluate and register a bundle
  recsys up                   answer requests with the champion
  recsys down                 stop that

State lies in $RECSYS_HOME (default: ./.recsys). Exit codes: 0 done, 1 a step failed, 2 wrong usage or
configuration, 3 the gate refused a bundle or a window failed, 4 data or an artifact breaks its contract, 5 too little
data for a verdict, 75 Kubeflow's API was away, try later. A step that refuses has the code of its refusal: 2, 3 or 4.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(features.app, name="features")
app.add_typer(model.app, name="model")
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("status")(stack.status)
app.add_typer(keys.app, name="keys")
app.add_typer(rollout.app, name="rollout")
app.add_typer(experiment.app, name="experiment")
app.command("serve")(serve.serve)
app.add_typer(stream.app, name="stream")
app.add_typer(monitor.app, name="monitor")
app.command("console")(console.console)
app.add_typer(kfp.app, name="kfp")
app.command("demo")(demo.demo)


def command_line() -> Any:  # of Typer's own copy of click, which has no public name
    """All commands, with the paragraphs of their help as one line each: the terminal breaks them where it ends."""
    root = typer.main.get_command(app)
    _unwrap(root)
    return root


def _unwrap(command: Any) -> None:
    command.help = "\n\n".join(_paragraph(text) for text in (command.help or "").split("\n\n"))
    for below in getattr(command, "commands", {}).values():
        _unwrap(below)


def _paragraph(text: str) -> str:
    is_as_it_stands = text.startswith(AS_IT_STANDS) or any(line.startswith(" ") for line in text.split("\n"))
    return text.removeprefix(AS_IT_STANDS) if is_as_it_stands else " ".join(text.split("\n"))


AS_IT_STANDS = "\b\n"
"""Before a paragraph of help whose lines are commands."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it; Typer makes it of the interrupt."""


def main() -> None:
    """Run the command line; a refusal is one message and its exit code, not a traceback."""
    try:
        command_line()()
    except RecsysError as error:
        _refuse(str(error), error.exit_code)
    except OwnFeaturesError as error:  # a column that only the canonical tables know
        _refuse(str(error), ConfigError.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(f"{error.filename}: {error.strerror}. See that the folder is there and may be written.", 1)
    except SystemExit as left:
        if left.code == INTERRUPTED:
            screen(stderr=True).print("stopped")
        raise


def _refuse(message: str, exit_code: int) -> NoReturn:
    screen(stderr=True, soft_wrap=True).print(Text.assemble(("error", "bold red"), f" {message}"), highlight=False)
    sys.exit(exit_code)
