"""What the ranker is trained without, one variant at a time: groups of features as data, and whole sources."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.artifacts.errors import ContractError
from components.ranking.training import RankingRows
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS

RANKS = tuple(f"{name}_rank" for name in RETRIEVERS)
SCORES = {f"score of {name}": (f"{name}_score",) for name in RETRIEVERS}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "own rhythm": (
        "user_item_recency_days",
        "user_item_interval_days",
        "user_item_overdue_rate",
        "item_repurchase_interval_days",
    ),
    "own counts": ("user_item_count", "user_item_decayed_count", "user_item_share"),
    "category affinity": ("user_item_category_share_90d",),
    "subcategory": (
        "user_subcategory_count",
        "user_subcategory_items",
        "user_subcategory_decayed_count",
        "user_subcategory_recency_days",
        "user_subcategory_overdue_rate",
        "user_item_subcategory_share",
    ),
    "price": ("item_price_usd_90d", "item_price_to_user_price_rate", "user_price_usd_90d"),
    "promotion": (
        "item_display_rate",
        "item_mailer_rate",
        "item_display_rate_next_7d",
        "item_mailer_rate_next_7d",
        "context_is_promoted",
        "item_discount_rate_30d",
        "user_discount_rate_90d",
    ),
    "context": ("context_hour", "context_weekday", "context_is_home_store"),
    "user profile": ("user_age_years", "user_income_usd", "user_household_size"),
    "user statistics": (
        *(f"user_{measure}_{days}d" for days in (7, 30, 90) for measure in ("interactions", "sessions")),
        "user_distinct_items_90d",
        "user_spend_usd_30d",
        "user_session_items_90d",
        "user_repeat_rate_90d",
        "user_recency_days",
        "user_tenure_days",
        "user_session_interval_days",
    ),
    "item popularity": (
        *(f"item_{measure}_{days}d" for days in (7, 30, 90) for measure in ("interactions", "users")),
        "item_trend_rate",
    ),
    "item statistics": ("item_repeat_rate_90d", "item_age_days", "item_recency_days"),
    "source ranks": RANKS,
    **SCORES,
}
"""Name to features. Every feature of the ranker is in exactly one of them."""
TOGETHER: Mapping[str, tuple[str, ...]] = {
    "own rhythm and counts": ("own rhythm", "own counts"),
    "source scores": tuple(SCORES),
    "source ranks and scores": ("source ranks", *SCORES),
}
"""Groups that say nearly the same: without one of them the others fill in, so they are left out together too."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The ranker without something.

    Attributes:
        name: Of what is left out; `full` where nothing is.
        missing: Features that are NaN in training and when it is asked.
        source: Retriever whose candidates are left out too, as with quota 0.
    """

    name: str
    missing: tuple[str, ...] = ()
    source: str = ""

    def keeps(self, matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which rows stay, shape (n_rows,): those that another source names too."""
        if not self.source:
            return np.ones(len(matrix), bool)
        others = [name for name in RANKS if name != f"{self.source}_rank"]
        return np.asarray(~np.isnan(matrix[:, _places(others)]).all(axis=1), bool)

    def blanked(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy in which the features that are left out are missing."""
        copy = matrix.copy()
        copy[:, _places(self.missing)] = np.nan
        return copy

    def rows(self, full: RankingRows) -> RankingRows:
        """Training rows as this variant has them: a query without a relevant candidate teaches nothing and goes."""
        kept = self.keeps(full.matrix)
        kept &= np.bincount(full.groups, full.labels * kept, minlength=full.queries)[full.groups] > 0
        _, groups = np.unique(full.groups[kept], return_inverse=True)
        return RankingRows(self.blanked(full.matrix[kept]), full.labels[kept], groups)


FULL = Variant("full")


def without_groups() -> list[Variant]:
    """One variant per group, then one per union of groups."""
    unions = {name: [one for group in parts for one in GROUPS[group]] for name, parts in TOGETHER.items()}
    return [Variant(name, tuple(features)) for name, features in {**GROUPS, **unions}.items()]


def without_sources(quotas: Mapping[str, int]) -> list[Variant]:
    """One variant per source that gives candidates: its rows and its columns go."""
    named = [name for name in RETRIEVERS if quotas.get(name, 0) > 0]
    columns = {
        one: tuple(feature for feature in RANKER_FEATURE_NAMES if feature.startswith(f"{one}_")) for one in named
    }
    return [Variant(name, columns[name], source=name) for name in named]


def check_groups(groups: Mapping[str, Sequence[str]] = GROUPS) -> None:
    """Hold the groups against the ranker's features.

    Raises:
        ContractError: A feature is in no group or in several, or a group names one that there is not.
    """
    named = [feature for features in groups.values() for feature in features]
    wrong = sorted(
        {*(set(RANKER_FEATURE_NAMES) ^ set(named)), *(feature for feature in named if named.count(feature) > 1)}
    )
    if wrong:
        raise ContractError(
            f"feature groups: {', '.join(wrong)}; expected every feature of the ranker in exactly one group. "
            "Put it into one in benchmarks/quality/feature_groups.py."
        )


def _places(features: Iterable[str]) -> list[int]:
    return [RANKER_FEATURE_NAMES.index(name) for name in features]
