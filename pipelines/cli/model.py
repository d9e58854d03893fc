"""`recsys model`: the registry of bundles."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from components.deploy_canary.rollout import LOCAL
from pipelines.cli.options import Set, Target, overrides
from pipelines.cli.screen import print_rows, screen

app = typer.Typer(help="List, compare and promote bundles.", no_args_is_help=True)

Model = Annotated[str, typer.Option("--model", help="Registered model.")]
Bundle = Annotated[str, typer.Argument(help="Id, a beginning of it, `champion` or `challenger`.", metavar="BUNDLE")]
Reason = Annotated[str, typer.Option(help="Why; kept in the history.")]
METRICS = ("ndcg_at_10", "recall_at_20", "hit_rate_at_10", "map_at_10")


@app.command("list")
def list_versions(model: Model = "recommender") -> None:
    """List the bundles, the newest first, with their aliases and figures."""
    names = ("bundle", "alias", "as of", "published", "NDCG@10", "recall@20", "gate")
    table = Table(*(Column(name, no_wrap=True) for name in names), box=None, pad_edge=False)
    for version in _registry().versions(model):
        evaluation = version.evaluation()
        ours = evaluation.get("evaluation", {}).get("systems", {}).get("two_stage", {})
        passed = {True: "passed", False: "refused", None: "-"}[evaluation.get("gate", {}).get("passed")]
        table.add_row(
            version.bundle_id,
            ", ".join(version.aliases),
            version.manifest.facts.as_of[:10],
            version.published_at[:10],
            _figure(ours, "ndcg_at_10"),
            _figure(ours, "recall_at_20"),
            passed,
        )
    print_rows(screen(), table, f"no bundle of {model} yet: `recsys train run` makes one")


@app.command()
def show(bundle: Bundle = "champion", model: Model = "recommender") -> None:
    """Print a bundle's manifest without its configuration, its figures and where its report lies, as JSON."""
    version = _registry().version(model, bundle)
    manifest = json.loads(version.manifest.to_json())
    config = manifest["facts"].pop("config")
    content = {
        "folder": str(version.folder),
        "report": str(version.report),
        "aliases": version.aliases,
        "dataset": config.get("dataset", {}).get("name"),
        "manifest": manifest,
        "gate": version.evaluation().get("gate"),
    }
    typer.echo(json.dumps(content, indent=1))


@app.command()
def compare(first: Bundle, second: Bundle = "champion", model: Model = "recommender") -> None:
    """Print two bundles' figures side by side. Each was measured on the weeks after its own training cut."""
    versions = [_registry().version(model, name) for name in (first, second)]
    table = Table(
        "", *(f"{version.bundle_id} (as of {version.manifest.facts.as_of[:10]})" for version in versions), box=None
    )
    systems = [version.evaluation().get("evaluation", {}).get("systems", {}) for version in versions]
    for system in sorted(set(systems[0]) | set(systems[1])):
        for metric in METRICS:
            table.add_row(
                f"{system} {metric}", *(_figure(one.get(system, {}), metric, interval=True) for one in systems)
            )
    screen().print(table)


@app.command("off-policy")
def off_policy(
    candidate: Bundle,
    logged: Annotated[str, typer.Option(help="Bundle whose drawn lists are the evidence.")] = "champion",
    start: Annotated[str | None, typer.Option(help="First day of the window; four weeks before its end.")] = None,
    end: Annotated[str | None, typer.Option(help="Day after the last; the newest whose horizon is over.")] = None,
    now: Annotated[str | None, typer.Option(help="Time of the judgement, in a replay; now where not given.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration; where left out, the logged bundle's.")] = None,
    sets: Set = None,
    model: Model = "recommender",
) -> None:
    """Estimate from the logs of a server that explored what a bundle that never served would have earned.

    Exits with 3 where the candidate surely earns less, 5 where the logs are no evidence for a decision.
    """
    from components.artifacts.cuts import parse_moment
    from components.artifacts.home import recsys_home
    from pipelines.off_policy import judge_version

    console = screen()
    judged = judge_version(
        recsys_home(),
        model,
        candidate,
        logged,
        start=parse_moment(start) if start else None,
        end=parse_moment(end) if end else None,
        now=parse_moment(now) if now else datetime.now(UTC),
        config=config,
        overrides=overrides(sets),
    )
    judgement = judged.judgement
    console.print(_estimates(judgement))
    console.print(f"{judgement.decision} {judgement.sentence}", highlight=False, soft_wrap=True)
    console.print(f"written to {judged.path}", highlight=False, soft_wrap=True)
    raise typer.Exit(judgement.exit_code)


@app.command()
def explain(
    user: Annotated[str, typer.Argument(help="Who; an unknown id gets what is popular.", metavar="USER")],
    item: Annotated[str | None, typer.Option(help="Explain this item, shown or not.")] = None,
    bundle: Annotated[str, typer.Option(help="Id, a beginning of it, `champion` or `challenger`.")] = "champion",
    as_of: Annotated[str | None, typer.Option(help="When; the bundle's training date where left out.")] = None,
    k: Annotated[int, typer.Option("-k", help="Items to explain.", min=1, max=100)] = 5,
    model: Model = "recommender",
) -> None:
    """Say why a user is shown what: sources, and what moved each item's score, in words.

    \b
    recsys model explain 1
    recsys model explain 1 --item 1082185     # where it stands, and why not higher
    """
    from components.artifacts.home import recsys_home
    from pipelines.explain import explain_user

    explained = explain_user(recsys_home(), model, bundle, user, item=item, as_of=as_of, k=k)
    console = screen()
    console.print(explained.sentence, highlight=False, soft_wrap=True)
    for entry in explained.items:
        console.print(f"\n{entry.heading}", style="bold", highlight=False, soft_wrap=True)
        for line in entry.lines:
            console.print(f"  {line}", highlight=False, soft_wrap=True)


@app.command()
def promote(
    bundle: Bundle,
    model: Model = "recommender",
    reason: Reason = "promoted by hand",
    force: Annotated[bool, typer.Option(help="Promote it although the gate refused it.")] = False,
    target: Target = LOCAL,
) -> None:
    """Make a bundle the champion: running servers take it over within seconds, without dropping a request.

    On a cluster the target's InferenceService is given the bundle, and its pods are replaced one by one. A bundle that the gate
    refused is not promoted without --force.
    """
    from components.artifacts.errors import GateRefusedError

    version = _registry().version(model, bundle)
    gate = version.evaluation().get("gate", {})
    if gate.get("passed") is False and not force:
        raise GateRefusedError(f"{version.bundle_id}: {gate['sentence']}. Use --force to promote it all the same.")
    _make_champion(model, version, target, reason)
    typer.echo(f"{version.bundle_id} is champion of {model}")


@app.command()
def rollback(model: Model = "recommender", reason: Reason = "rolled back by hand", target: Target = LOCAL) -> None:
    """Make the champion before this one the champion again; running servers go back to it, as with `promote`."""
    version = _registry().former_champion(model)
    _make_champion(model, version, target, reason)
    typer.echo(f"{version.bundle_id} is champion of {model} again")


@app.command()
def mirror(model: Model = "recommender") -> None:
    """Tell Kubeflow Model Registry of every bundle: where it lies, its figures, its aliases. Harmless to repeat.

    RECSYS_MODEL_REGISTRY_URL names the registry and RECSYS_MODEL_REGISTRY_BUNDLES where bundles lie; with both, trainings and
    moves of the champion tell it by themselves.
    """
    from components.artifacts.errors import ConfigError
    from components.artifacts.model_registry import URL, ModelRegistryConfig, mirror_to_model_registry

    config = ModelRegistryConfig.of_environment()
    if config is None:
        raise ConfigError(f"no Model Registry: set {URL}, for example to http://model-registry-service.kubeflow:8080.")
    changes = mirror_to_model_registry(_registry(), model, config)
    typer.echo(f"{config.url} was told of {model}: {changes} changes")


@app.command()
def history(model: Model = "recommender") -> None:
    """List every move of an alias, oldest first."""
    table = Table("when", "alias", "bundle", "why", box=None)
    for move in _registry().history(model):
        table.add_row(move.at[:19], move.alias, move.bundle_id or "-", move.reason)
    print_rows(screen(), table, f"no alias of {model} was moved yet: `recsys train run` makes the first champion")


def _make_champion(model: str, version: Any, target: str, reason: str) -> None:  # a Version
    from components.artifacts.home import recsys_home
    from pipelines.champion import make_champion

    make_champion(recsys_home(), model, version, target, reason=reason, now=datetime.now(UTC))


def _registry() -> Any:  # imported late: it pulls in XGBoost
    from components.artifacts.home import recsys_home
    from components.artifacts.registry import open_registry

    return open_registry(recsys_home())


def _estimates(judgement: Any) -> Table:  # a Judgement, whose module pulls in XGBoost
    """A row per estimator; the weights' facts stand below the candidate's and the logged bundle's values."""
    names = (f"{judgement.candidate} (candidate)", f"{judgement.logged} (logged)", "difference")
    title = f"{judgement.lists:,} lists of {judgement.users:,} users, {judgement.left_out:,} left out"
    table = Table("", *names, box=None, title=title, title_justify="left")
    columns = [*judgement.values.values(), judgement.differences]
    if judgement.mean:
        table.add_row("mean as shown, draws included", "", _span(judgement.mean), "")
    for name in judgement.values.get("candidate", {}):
        table.add_row(name, *(_span(column[name]) if name in column else "" for column in columns))
    facts = judgement.weights.values()
    table.add_row("effective lists", *(f"{one.effective_lists:,.0f}" for one in facts))
    table.add_row("largest weight's share", *(f"{one.largest_share:.1%}" for one in facts))
    if judgement.fidelity is not None:
        table.add_row("logged lists that come out again", "", f"{judgement.fidelity:.1%}", "")
    return table


def _span(interval: Any) -> str:  # an Interval, as above
    return "-" if interval.mean != interval.mean else f"{interval.mean:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def _figure(metrics: dict[str, Any], name: str, *, interval: bool = False) -> str:
    if name not in metrics or metrics[name]["mean"] is None:
        return "-"
    one = metrics[name]
    return f"{one['mean']:.4f}" + (f" ({one['low']:.4f} to {one['high']:.4f})" if interval else "")
