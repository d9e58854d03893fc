"""Searches as tables, curves and plain words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.quality.output import versions
from components.tuning.search_space import Params

Sampler = Literal["tpe", "random"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "random")
CONFIDENCE = 0.95
HEAD = """# What tuning buys

Written by `python -m benchmarks.quality.tuning`. {dataset}: searched on the cut of {validation}, judged once more on that
of {test}. Each search has {trials} trials, of which the first are the default parameters; {seeds} seeds per sampler.
Brackets hold {confidence:.0%} intervals of the mean over the seeds (paired, Student's t): they say how far the search is luck,
not how far the users are. To be affordable everything is fitted on a share of the data ({learnt:.0%} of the training
queries, {log:.0%} of the users' interactions), so the figures compare ways of searching and are no figures of the product.

NDCG@10 is the ranker's, recall that of a generator's own list as long as its quota: of all relevant items where it names
known ones too, else of those new to the user.
"""


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        sampler: How parameters were drawn.
        seed: Of the draws.
        best_so_far: Best validation score after each trial; a pruned trial adds nothing.
        params: The best.
        test: Their score on the test cut.
        pruned: Trials that were stopped early.
        seconds: Of the search.
    """

    sampler: Sampler
    seed: int
    best_so_far: tuple[float, ...]
    params: Params
    test: float
    pruned: int
    seconds: float


@dataclass(frozen=True)
class Result:
    """All searches of one model, and its default parameters."""

    name: str
    measure: str
    default_validation: float
    default_test: float
    runs: tuple[Run, ...]

    def column(self, sampler: Sampler, value: Callable[[Run], float]) -> NDArray[np.float64]:
        """One value per seed."""
        return np.array([value(run) for run in self.runs if run.sampler == sampler])


@dataclass(frozen=True)
class Gap:
    """Mean of paired differences over the seeds, with its interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Gap":
        """Student's t; one value has no interval."""
        mean = float(values.mean())
        if len(values) < 2:
            return cls(mean, float("nan"), float("nan"))
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        return cls(mean, mean - half, mean + half)

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def markdown(results: Sequence[Result], facts: Mapping[str, object]) -> str:
    """TUNING.md: the same for the same figures."""
    sections = [
        HEAD.format(**facts, confidence=CONFIDENCE),
        "## After the search, on the validation cut\n",
        _table(
            ("Model", "Default", "TPE", "Random", "TPE minus default", "TPE minus random"), map(_on_validation, results)
        ),
        "## The same parameters, on the later test cut\n",
        _table(("Model", "Default", "TPE", "Random", "TPE minus default", "TPE minus random"), map(_on_test, results)),
        *(f"- {verdict(result)}" for result in results),
        "\n## Best so far, mean over the seeds, validation cut\n",
        "![Best so far, by trial](tuning.svg)\n",
        _curves(results),
        "Versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()) + ".\n",
    ]
    return "\n".join(sections)


def _on_validation(result: Result) -> list[str]:
    return _compared(result, result.default_validation, lambda run: run.best_so_far[-1])


def _on_test(result: Result) -> list[str]:
    return _compared(result, result.default_test, lambda run: run.test)


def _compared(result: Result, default: float, value: Callable[[Run], float]) -> list[str]:
    tpe, random = result.column("tpe", value), result.column("random", value)
    means = [f"{figure:.4f}" for figure in (default, tpe.mean(), random.mean())]
    return [f"{result.name} ({result.measure})", *means, str(Gap.of(tpe - default)), str(Gap.of(tpe - random))]


def verdict(result: Result) -> str:
    """Whether TPE was worth it, in words, at both cuts."""
    sentences = []
    for where, default, value in (
        ("validation", result.default_validation, lambda run: run.best_so_far[-1]),
        ("test", result.default_test, lambda run: run.test),
    ):
        tpe, random = result.column("tpe", value), result.column("random", value)
        over_default, over_random = _word(Gap.of(tpe - default)), _word(Gap.of(tpe - random))
        sentences.append(f"{where}: TPE is {over_default} the defaults, {over_random} random search")
    return f"{result.name}: {'; '.join(sentences)}."


def _word(gap: Gap) -> str:
    if gap.low > 0:
        return "better than"
    return "worse than" if gap.high < 0 else "not surely different from"


def _curves(results: Sequence[Result]) -> str:
    trials = len(results[0].runs[0].best_so_far)
    places = sorted({1, *(place for place in (2, 4, 6, 8, 12, 16, 24, 32) if place < trials), trials})
    rows = []
    for result in results:
        for sampler in SAMPLERS:
            means = [result.column(sampler, lambda run, at=place: run.best_so_far[at - 1]).mean() for place in places]
            rows.append([result.name, sampler, *(f"{one:.4f}" for one in means)])
    return _table(("Model", "Sampler", *(f"{place}" for place in places)), rows)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


WIDTH, HEIGHT, MARGIN, LABEL = 220, 150, 34, 16
COLOURS = {"tpe": "#2563eb", "random": "#d97706"}


def curves_svg(results: Sequence[Result]) -> str:
    """Mean best validation score after each trial, one panel per model; each panel has its own scale."""
    panels = "".join(_panel(result, place * (WIDTH + MARGIN)) for place, result in enumerate(results))
    width, height = len(results) * (WIDTH + MARGIN), HEIGHT + 3 * LABEL
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="white"/>{panels}</svg>\n'
    )


def _panel(result: Result, left: float) -> str:
    curves = {
        name: np.mean([run.best_so_far for run in result.runs if run.sampler == name], axis=0) for name in SAMPLERS
    }
    low, high = result.default_validation, max(curve.max() for curve in curves.values())
    lines = "".join(_line(curve, low, high, left, COLOURS[name]) for name, curve in curves.items())
    legend = " ".join(f'<tspan fill="{colour}">{name}</tspan>' for name, colour in COLOURS.items())
    return (
        f'<text x="{left + MARGIN}" y="{LABEL}">{result.name}, {result.measure} {legend}</text>{lines}'
        f'<text x="{left + 2}" y="{2 * LABEL}" font-size="8">{high:.4f}</text>'
        f'<text x="{left + 2}" y="{LABEL + HEIGHT}" font-size="8">{low:.4f}</text>'
    )


def _line(curve: NDArray[np.float64], low: float, high: float, left: float, colour: str) -> str:
    x = left + MARGIN + np.linspace(0, WIDTH - MARGIN, len(curve))
    y = LABEL + HEIGHT - (HEIGHT - LABEL) * (curve - low) / max(high - low, 1e-12)
    points = " ".join(f"{one:.1f},{other:.1f}" for one, other in zip(x, y, strict=True))
    return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'
