"""What the ablations found, as data, as Markdown and on a terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.quality.feature_groups import GROUPS, TOGETHER
from benchmarks.quality.objectives import BINS, PRODUCT, Honesty, Judgement
from components.ranking.bootstrap import Interval
from components.ranking.stages import Stage


@dataclass(frozen=True, slots=True)
class Cell:
    """NDCG@10 and the recall of the pool, of all items and of new ones, and their differences to the full model."""

    ndcg: Interval
    ndcg_new: Interval
    recall: Interval
    recall_new: Interval
    ndcg_gap: Interval
    ndcg_new_gap: Interval
    recall_gap: Interval
    recall_new_gap: Interval


@dataclass(frozen=True, slots=True)
class ObjectiveRow:
    """One objective: figures, the rounds that early stopping kept, and its probabilities by map."""

    cell: Cell
    stages: Sequence[Stage]
    probabilities: Mapping[str, Judgement]


@dataclass(frozen=True, slots=True)
class Chance:
    """NDCG@10 among the candidates of the validation queries.

    Attributes:
        shuffled: Trained and judged on labels that were drawn again within each query.
        random: Mean over random orders of the same lists.
        low: Of the interval of a random order.
        high: Of the interval of a random order.
        real: With the real labels.
    """

    shuffled: float
    random: float
    low: float
    high: float
    real: float


@dataclass(frozen=True)
class Ablations:
    """All figures.

    Attributes:
        dataset: Name of the data set.
        cuts: Dates of the test cuts.
        horizon_days: Length of the answers' window.
        queries: Number of queries.
        users: Number of distinct users.
        confidence: Of the intervals.
        full: The model with everything.
        groups: Without each group of features.
        sources: Without each source.
        objectives: By name.
        calibrators: Maps from the full model's margin to a probability.
        chance: With shuffled labels.
    """

    dataset: str
    cuts: tuple[str, ...]
    horizon_days: int
    queries: int
    users: int
    confidence: float
    full: Cell
    groups: Mapping[str, Cell]
    sources: Mapping[str, Cell]
    objectives: Mapping[str, ObjectiveRow]
    calibrators: Mapping[str, Judgement]
    chance: Chance


HEAD = """# What each part is worth

Written by `python -m benchmarks.quality.ablations`. {dataset}, asked on {cuts} about the {horizon_days} days after:
{queries:,} queries of {users:,} users. Every line is a ranker of its own, trained by the product's code with the default
parameters; without a part it has the rounds that the full model stopped at. Differences are to the full model over the
same queries; brackets hold {confidence:.0%} intervals over users. Lists are ordered by the score alone, without the blend
for users of whom little is known. *New* figures take the items of the user's history out
of every list and every answer.
"""
GROUPS_HEAD = """## Without a group of features

The features are missing in training and when the ranker is asked. A difference near 0 says that the others tell the same,
not that it tells nothing: groups that overlap are left out together below.
"""
SOURCES_HEAD = """## Without a source

Quota 0: its candidates and its columns are gone. Training rows that only it named are gone too, so a query has a few
irrelevant candidates less to learn from.
"""
OBJECTIVES_HEAD = """## Objectives

The same most rounds in all, stopped on the validation cut. Brier score, log loss and expected calibration error (ECE) are
over all candidates of the test cuts; the probabilities are the margin through the product's map, which is fitted on the
validation cut, and for `binary:logistic` alone also the score as it is, which knows the base rate of thinned rows.
"""
CALIBRATORS_HEAD = """## The margin as a probability

Maps of the full model, fitted on all candidates of the judged users of the validation cut with the scores of the booster
before the refit, which has not learnt from them; judged on the scores that are served, one and two weeks later. The ECE is
the mean over rows of |predicted - observed| in {bins} bins of about equal size by probability, equal probabilities in one
bin. The first 10 are the rows that people see.
"""
CURVE_HEAD = """Reliability of the product's map on the test cuts, bin by bin:
"""
CHANCE_HEAD = """## Shuffled labels

Labels drawn again within each query, in the training rows and in the lists that are judged: NDCG@10 {chance.shuffled:.4f}.
Random orders of these lists have {chance.random:.4f}, {confidence:.0%} of them between {chance.low:.4f} and
{chance.high:.4f}. The real labels give {chance.real:.4f}.
"""


def write(found: Ablations, out: Path) -> None:
    """ABLATIONS.md and ablations.json in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    content = {**asdict(found), "feature_groups": {name: list(features) for name, features in GROUPS.items()}}
    (out / "ablations.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "ABLATIONS.md").write_text(markdown(found), encoding="utf-8")


def markdown(found: Ablations) -> str:
    """ABLATIONS.md: the same for the same figures."""
    head = HEAD.format(**vars(found) | {"cuts": " and ".join(found.cuts)})
    parts = [
        head,
        GROUPS_HEAD,
        _lines(_group_rows(found)),
        SOURCES_HEAD,
        _lines(_source_rows(found)),
        OBJECTIVES_HEAD,
        _lines(_objective_rows(found)),
        CALIBRATORS_HEAD.format(bins=BINS),
        _lines(_calibrator_rows(found)),
        CURVE_HEAD,
        _lines(_curve_rows(found.calibrators[PRODUCT])),
        CHANCE_HEAD.format(chance=found.chance, confidence=found.confidence),
    ]
    return "\n".join(parts)


def tables(found: Ablations) -> list[Table]:
    """The same on a terminal."""
    contents = {
        "Without a group of features": _group_rows(found),
        "Without a source": _source_rows(found),
        "Objectives": _objective_rows(found),
        "The margin as a probability": _calibrator_rows(found),
    }
    return [_table(title, rows) for title, rows in contents.items()]


def _group_rows(found: Ablations) -> list[list[str]]:
    """The most valuable first; unions of groups at the end."""
    headings = ["Without", "features", "NDCG@10", "minus full", "NDCG@10 new", "minus full, new"]
    order = sorted(found.groups, key=lambda name: (name in TOGETHER, found.groups[name].ndcg_gap.mean))
    rows = [[name, _features(name), *_ndcg(found.groups[name])] for name in order]
    return [headings, ["nothing", "0", *_ndcg(found.full, is_full=True)], *rows]


def _features(name: str) -> str:
    return str(sum(len(GROUPS[part]) for part in TOGETHER.get(name, (name,))))


def _source_rows(found: Ablations) -> list[list[str]]:
    headings = [
        "Without", "NDCG@10", "minus full", "NDCG@10 new", "minus full, new", "Pool recall", "minus full", "Pool recall new",
        "minus full, new",
    ]  # fmt: skip
    order = sorted(found.sources, key=lambda name: found.sources[name].ndcg_gap.mean)
    rows = [[name, *_ndcg(found.sources[name]), *_recall(found.sources[name])] for name in order]
    return [headings, ["nothing", *_ndcg(found.full, is_full=True), *_recall(found.full, is_full=True)], *rows]


def _objective_rows(found: Ablations) -> list[list[str]]:
    headings = ["Objective", "rounds", "NDCG@10", "minus full", "NDCG@10 new", "minus full, new", *HONESTY_HEADINGS]
    rows = []
    for name, row in found.objectives.items():
        rounds = " + ".join(str(stage.rounds) for stage in row.stages)
        for place, (map_name, judged) in enumerate(row.probabilities.items()):
            label = name if map_name == PRODUCT else f"{name}, as it is"
            figures = _ndcg(row.cell) if place == 0 else [""] * 4
            rows.append([label, rounds, *figures, *_honesty(judged.everything)])
    return [headings, *rows]


def _calibrator_rows(found: Ablations) -> list[list[str]]:
    headings = ["Map", *HONESTY_HEADINGS, *(f"{name}, first 10" for name in HONESTY_HEADINGS)]
    rows = [[name, *_honesty(one.everything), *_honesty(one.first)] for name, one in found.calibrators.items()]
    return [headings, *rows]


def _curve_rows(judged: Judgement) -> list[list[str]]:
    headings = ["predicted", "observed", "rows", "predicted, first 10", "observed, first 10", "rows, first 10"]
    everything, first = (
        list(zip(one.predicted, one.observed, one.counts, strict=True))
        for one in (judged.everything.calibration, judged.first.calibration)
    )
    size = max(len(everything), len(first))
    padded = [[_bin(*one) for one in part] + [["", "", ""]] * (size - len(part)) for part in (everything, first)]
    return [headings, *([*left, *right] for left, right in zip(*padded, strict=True))]


def _bin(predicted: float, observed: float, count: int) -> list[str]:
    return [f"{predicted:.4f}", f"{observed:.4f}", f"{count:,}"]


HONESTY_HEADINGS = ("Brier", "log loss", "ECE")


def _honesty(one: Honesty) -> list[str]:
    return [f"{one.brier:.5f}", f"{one.log_loss:.5f}", f"{one.calibration.error:.5f}"]


def _ndcg(cell: Cell, *, is_full: bool = False) -> list[str]:
    gaps = ["", ""] if is_full else [_span(cell.ndcg_gap, "+.4f"), _span(cell.ndcg_new_gap, "+.4f")]
    return [_span(cell.ndcg), gaps[0], _span(cell.ndcg_new), gaps[1]]


def _recall(cell: Cell, *, is_full: bool = False) -> list[str]:
    gaps = ["", ""] if is_full else [_span(cell.recall_gap, "+.4f"), _span(cell.recall_new_gap, "+.4f")]
    return [_span(cell.recall), gaps[0], _span(cell.recall_new), gaps[1]]


def _span(one: Interval, form: str = ".4f") -> str:
    return f"{one.mean:{form}} [{one.low:{form}}, {one.high:{form}}]"


def _lines(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, box=None)
    for heading in rows[0]:
        table.add_column(heading)
    for row in rows[1:]:
        table.add_row(*row)
    return table
