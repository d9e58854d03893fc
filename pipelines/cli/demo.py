"""`recsys demo`: everything in one go, on real data."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.progress import ConsoleProgress, show_log

if TYPE_CHECKING:
    from pipelines.demo import Demo

REPLAY_STEPS = 5
"""Progress lines of a replay."""


def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON; progress goes to stderr.")
    ] = False,
    sample: Annotated[float, typer.Option(min=0.02, max=1.0, help="Share of the households; 1 is all of them.")] = 1.0,
) -> None:
    """Train, evaluate, serve, replay, monitor, retrain and roll out on a year of real grocery purchases.

    The data come with the installation. State lies in $RECSYS_HOME/demo (default: ./.recsys/demo); a second run
    takes unchanged training steps from the cache.
    """
    from components.artifacts.home import recsys_home
    from pipelines.demo import run_demo

    console = Console(stderr=as_json)
    show_log(console)
    done = run_demo(recsys_home() / "demo", sample=sample, progress=_DemoConsole(console))
    if as_json:
        typer.echo(json.dumps(done.to_dict(), indent=1))
    else:
        _summary(done, console)


class _DemoConsole(ConsoleProgress):
    """The demo on a terminal."""

    def stage(self, title: str) -> None:
        """A rule with the title."""
        self.console.print()
        self.console.rule(f"[bold]{title}[/bold]", align="left")

    def note(self, text: str) -> None:
        """A line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def recommended(self, answer: Mapping[str, Any], about: str) -> None:
        """The list of one household."""
        title = f"{answer['user_id']} ({about})"
        table = Table("", "product", "department", "why", title=title, title_justify="left", box=None, pad_edge=False)
        for item in answer["items"]:
            name = item["title"] or item["item_id"]
            table.add_row(str(item["position"]), name, item["department"] or "", item["reason"])
        self.console.print(table)
        self.console.print()

    def replayed(self, done: int, total: int) -> None:
        """A line now and then."""
        if done % max(1, total // REPLAY_STEPS) == 0:
            self.console.print(f"    {done:,} of {total:,} visits", style="dim", highlight=False)


def _summary(done: "Demo", console: Console) -> None:
    """One screen: what was done, how long it took, how good it is, where to look."""
    from pipelines.demo import metrics

    assert done.trained is not None
    assert done.judged is not None
    assert done.drilled is not None
    assert done.retraining is not None
    console.print()
    console.rule("[bold]Summary[/bold]", align="left")
    console.print(_times(done))
    console.print()
    console.print(_quality(metrics(done.trained)))
    lines = {
        "gate": f"{'passed' if done.trained.gate['passed'] else 'refused'}: {done.trained.gate['sentence']}",
        "champion": f"{done.trained.bundle_id} ({done.interactions:,} interactions of {done.dataset} read)",
        "monitoring": f"{done.judged.verdict.state}: {done.judged.verdict.sentence}",
        "drill": f"{done.drilled.verdict.state}: {done.drilled.verdict.sentence}",
        "retraining": done.retraining.sentence,
        **{f"rollout {one.trial.name}": f"{one.trial.about}: {one.sentence}" for one in done.rollouts},
        **{f"{name} report": str(path) for name, path in done.reports().items()},
        "serve it": f"RECSYS_HOME={done.home} .venv/bin/recsys serve",
        "look at it": f"RECSYS_HOME={done.home} .venv/bin/recsys model list",
    }
    console.print()
    for name, text in lines.items():
        console.print(f"[bold]{name}[/bold]  {text}", highlight=False, soft_wrap=True)


def _times(done: "Demo") -> Table:
    table = Table("stage", "seconds", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, seconds in done.seconds.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_row("in all", f"{sum(done.seconds.values()):.1f}", style="bold")
    return table


def _quality(systems: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Most generators name nothing that the user knows: what they are worth is in the last column."""
    from pipelines.demo import METRICS, OF_NEW

    first, *others = *METRICS, OF_NEW
    table = Table("system", "NDCG@10", "", "recall@20", "NDCG@10, new items", box=None, pad_edge=False)
    order = sorted(systems, key=lambda name: (name != "two_stage", -systems[name][first]["mean"]))
    for name in order:
        values = systems[name]
        cells = [
            f"{values[first]['mean']:.4f}",
            f"[dim]{values[first]['low']:.4f} to {values[first]['high']:.4f}[/dim]",
        ]
        cells += [f"{values[metric]['mean']:.4f}" for metric in others]
        table.add_row(name, *cells, style="bold" if name == "two_stage" else "")
    return table
