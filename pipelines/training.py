"""The training pipeline: events in, a registered bundle out. The same package runs here and on a cluster."""

from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.artifacts.cuts import Cuts, parse_moment
from components.assemble_bundle.component import assemble_bundle
from components.build_training_set.component import build_training_set
from components.choose_dates.component import choose_dates
from components.compute_features.component import compute_features
from components.evaluate_bundle.component import evaluate_bundle
from components.ingest_events.component import ingest_events
from components.register_bundle.component import register_bundle
from components.train_ranker.component import train_ranker
from components.train_retrievers.component import train_retrievers
from components.tune_ranker.component import search_ranker, tune_ranker
from components.tune_retrievers.component import tune_retrievers
from pipelines.config import PipelineConfig
from pipelines.package import STEP_PACKAGES, source_hash


class Trained(NamedTuple):
    """Outputs of the pipeline."""

    bundle: dsl.Model
    evaluation: dsl.Artifact
    bundle_id: str
    passed: bool


def training_pipeline(trial_pods: int = 1, *, scheduled: bool = False) -> BaseComponent:
    """The pipeline.

    Args:
        trial_pods: Tasks that share the ranker's search before the step that confirms what it found. With one, that step
            searches itself.
        scheduled: A first step chooses the dates, and those that the run is given do not count: a clock starts it again and
            again with the same ones.
    """
    searching = _searching(trial_pods) if trial_pods > 1 else None

    @dsl.pipeline(
        name="train-recommender", description="Events -> features -> candidates -> ranker -> bundle -> registry"
    )
    def train_recommender(
        dataset: str,
        ingest: str,
        split: str,
        features: str,
        retrievers: str,
        retriever_tuning: str,
        training_set: str,
        tuning: str,
        ranker: str,
        bundle: str,
        policy: str,
        evaluation: str,
        gate: str,
        registry: str,
        model_name: str,
        resolved: str,
        code: str,
        as_of: str,
        end: str,
        seed: int,
    ) -> Trained:
        """Train, evaluate and register a recommender as of a date."""
        if scheduled:
            dates = choose_dates(split=split, resolved=resolved).set_caching_options(False)  # a clock is no input
            as_of, end, resolved = (dates.outputs[name] for name in ("as_of", "end", "resolved"))
        events = ingest_events(dataset=dataset, config=ingest, end=end).outputs["events"]
        snapshots = compute_features(events=events, config=features, split=split, as_of=as_of).outputs["features"]
        sources = tune_retrievers(
            events=events,
            features=snapshots,
            config=retriever_tuning,
            retrievers=retrievers,
            split=split,
            as_of=as_of,
            seed=seed,
        ).outputs["Output"]
        models = train_retrievers(events=events, features=snapshots, config=sources, split=split, as_of=as_of).outputs[
            "models"
        ]
        rows = build_training_set(
            events=events,
            models=models,
            config=training_set,
            split=split,
            retrievers=sources,
            as_of=as_of,
            seed=seed,
        ).outputs["training_set"]
        tuning_step = tune_ranker(training_set=rows, config=tuning, ranker=ranker, seed=seed)
        if searching is not None:
            tuning_step.after(searching(training_set=rows, config=tuning, ranker=ranker, seed=seed))
        tuned = tuning_step.outputs["tuning"]
        trained = train_ranker(training_set=rows, tuning=tuned, config=ranker, seed=seed).outputs["ranker"]
        assembled = assemble_bundle(
            events=events,
            models=models,
            ranker=trained,
            config=bundle,
            retrievers=sources,
            policy=policy,
            split=split,
            as_of=as_of,
            resolved=resolved,
            code=code,
            seed=seed,
        )
        judged = evaluate_bundle(
            events=events,
            bundle=assembled.outputs["bundle"],
            config=evaluation,
            gate=gate,
            split=split,
            as_of=as_of,
            model_name=model_name,
        )
        # The champion it is compared with changes while the inputs do not, and registering is a side effect.
        judged.set_caching_options(False)
        with dsl.If(judged.outputs["Output"] == True, name="gate-passed"):  # noqa: E712 - kfp compiles this comparison
            registered = register_bundle(
                bundle=assembled.outputs["bundle"], evaluation=judged.outputs["evaluation"], config=registry
            )
            registered.set_caching_options(False)
        return Trained(
            bundle=assembled.outputs["bundle"],
            evaluation=judged.outputs["evaluation"],
            bundle_id=assembled.outputs["Output"],
            passed=judged.outputs["Output"],
        )

    return train_recommender


def _searching(pods: int) -> BaseComponent:
    """The workers of one search: a pipeline of its own, for kfp.local gives a loop wrong data of tasks beside it."""

    @dsl.pipeline(name="search-together", description="Workers that share the ranker's search")
    def search_together(training_set: dsl.Input[dsl.Dataset], config: str, ranker: str, seed: int) -> None:
        with dsl.ParallelFor(list(range(pods)), parallelism=pods) as worker:
            search_ranker(training_set=training_set, config=config, ranker=ranker, seed=seed, worker=worker)

    return search_together


train_recommender = training_pipeline()


def arguments(config: PipelineConfig) -> dict[str, Any]:
    """The pipeline's parameters from a configuration.

    Each step is told its own section only, so a change of one section reruns no step before it.
    """
    split = config.resolved_split()
    as_of = parse_moment(config.as_of)
    sections = (
        "ingest",
        "features",
        "retriever_tuning",
        "retrievers",
        "training_set",
        "tuning",
        "ranker",
        "bundle",
        "evaluation",
        "gate",
    )
    return {
        **{name: getattr(config, name).model_dump_json() for name in (*sections, "registry")},
        "dataset": config.dataset.model_dump_json(),
        "split": split.model_dump_json(),
        "policy": config.policy().model_dump_json(),
        "model_name": config.registry.model_name,
        "resolved": config.resolved_json(),
        "code": source_hash(STEP_PACKAGES),
        "as_of": as_of.isoformat(),
        "end": Cuts(as_of, split).end.isoformat(),
        "seed": config.seed,
    }
