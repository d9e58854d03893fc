"""Why an item stands where it stands, in words: the ranker's own SHAP contributions, told topic by topic.

Single features share what they say (five of them count how often the user took the item), and a contribution is shared
among them as the trees happened to be drawn. So contributions are summed over topics, and each topic says one sentence
from the values it rests on. All contributions and the base sum to the score.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.artifacts.bundle import Bundle
from components.ranking.ranker import Ranker
from components.ranking.two_stage import Ranking
from feature_repo.schema import OWN_ITEM, OWN_USER, PROMOTION_DAYS, RANKER_FEATURE_NAMES
from serving.protocol import Contribution, Explanation
from serving.reasons import ONCE, sources_of, verb_of

OWN_NAMES = tuple(spec.name for spec in OWN_USER + OWN_ITEM)
Values = Mapping[str, float]
"""A feature's name to its value; NaN is missing."""
MOST_FEATURES = 8
"""Single features that are named, those that moved the score most."""
BLENDED = "few items known"
"""Topic of what the blend for new users moved: an item has the score of its place, not of its features."""
BLENDED_SENTENCE = "Little is known of the user yet, so the lists of its sources moved it beside its score"
ROUNDING = 1e-3
"""Sums of float32 contributions differ from the margin by less."""


@dataclass(frozen=True, slots=True)
class Topic:
    """Features that say one thing together.

    Attributes:
        name: As it stands in an answer.
        features: Names, or beginnings of names that end in `*`.
        sentence: From the values to words; it says what is so, not whether that speaks for the item.
    """

    name: str
    features: tuple[str, ...]
    sentence: Callable[[Values], str]


def explain(ranker: Ranker, top: Ranking, words: Sequence[Mapping[str, str]]) -> list[Explanation]:
    """One explanation per item.

    Args:
        ranker: Whose scores.
        top: The items, with the features that they were ranked by.
        words: Of each item, what `words_of` says.

    Source:
        Lundberg & Lee, A unified approach to interpreting model predictions, NeurIPS 2017; for trees as in Lundberg
        et al., Nature Machine Intelligence 2, 2020. Contributions are differences of the margin: of log-odds in the
        logistic rounds, to which refining rounds add theirs.
    """
    if len(top) == 0:
        return []
    contributions = ranker.contributions(top.matrix)
    moved = ranker.log_odds(top.scores) - contributions.sum(axis=1)
    return [_explanation(top, row, contributions[row], moved[row], words[row]) for row in range(len(top))]


def words_of(bundle: Bundle, item_nums: NDArray[np.int32]) -> list[dict[str, str]]:
    """What the sentences about some items are filled with: the item's category, and what users do with items."""
    verb = verb_of(bundle.manifest.facts.config.get("dataset", {}).get("label_types", ()))
    categories = [bundle.model.items.table["category"][num].as_py() for num in item_nums.tolist()]
    return [{"verb": verb, **({"category": one.title()} if one else {})} for one in categories]


def topic_of(feature: str) -> str:
    """The topic that a feature belongs to."""
    return next(topic.name for topic in TOPICS if any(_matches(feature, one) for one in topic.features))


def _matches(feature: str, pattern: str) -> bool:
    return feature.startswith(pattern[:-1]) if pattern.endswith("*") else feature == pattern


def _explanation(
    top: Ranking, row: int, contributions: NDArray[np.float32], moved: float, words: Mapping[str, str]
) -> Explanation:
    values = dict(zip(RANKER_FEATURE_NAMES, top.matrix[row].tolist(), strict=True))
    parts = contributions[:-1]
    summed = np.bincount(TOPIC_NUMS, parts, minlength=len(TOPICS))
    topics = [
        Contribution(name=one.name, contribution=float(part), sentence=_say(one, values, words))
        for one, part in zip(TOPICS, summed, strict=True)
        if part != 0
    ]
    if abs(moved) > ROUNDING:
        topics.append(Contribution(name=BLENDED, contribution=float(moved), sentence=BLENDED_SENTENCE))
    return Explanation(
        base=float(contributions[-1]),
        sources=sources_of(top.candidate_ranks[row]),
        topics=tuple(sorted(topics, key=lambda topic: -abs(topic.contribution))),
        features=tuple(
            Contribution(
                name=RANKER_FEATURE_NAMES[num],
                contribution=float(parts[num]),
                value=None if np.isnan(top.matrix[row, num]) else float(top.matrix[row, num]),
            )
            for num in np.argsort(-np.abs(parts), kind="stable")[:MOST_FEATURES].tolist()
        ),
    )


def _say(topic: Topic, values: Values, words: Mapping[str, str]) -> str:
    return topic.sentence(values).format_map({"category": "this category", "verb": "took", **words})


def _own(values: Values) -> str:
    count = values["user_item_count"]
    if not count >= ONCE:
        return "The user has not {verb} it before"
    last = values["user_item_recency_days"]
    return f"The user {{verb}} it {_times(count)}, last {_ago(last)}"


def _rhythm(values: Values) -> str:
    own, usual, last = (
        values[name] for name in ("user_item_interval_days", "item_repurchase_interval_days", "user_item_recency_days")
    )
    if not np.isnan(own) and not np.isnan(last):
        return f"The user takes it every {_days(own)}, and the last time was {_ago(last)}"
    if not np.isnan(last) and not np.isnan(usual):
        return f"Others take it again after {_days(usual)}, and the user's last time was {_ago(last)}"
    if np.isnan(usual):
        return "The user has no rhythm with it, and nobody else's is known"
    return f"The user has no rhythm with it; others take it again after {_days(usual)}"


def _popular(values: Values) -> str:
    users, rank = values["item_users_30d"], values["popular_in_context_rank"]
    sentence = f"{_people(users)} took it in the last 30 days"
    return sentence if np.isnan(rank) else f"{sentence}; it is number {rank:.0f} where the user is"


def _trend(values: Values) -> str:
    ratio = values["item_trend_rate"]
    if not ratio > 0:
        return "Nobody took it in the last week"
    if 0.8 <= ratio <= 1.25:
        return "It sells as it usually does"
    if ratio < 1:
        return f"It sold {1 - ratio:.0%} less last week than it usually does"
    return f"It sold {ratio:.1f} times as much last week as it usually does"


def _alike(values: Values) -> str:
    ranks = [values[name] for name in ("user_neighbours_rank", "pure_svd_rank") if not np.isnan(values[name])]
    if not ranks:
        return "It is not among what people with a taste like the user's take"
    return f"It is number {min(ranks):.0f} among what people with a taste like the user's take"


def _together(values: Values) -> str:
    ranks = [values[name] for name in ("covisitation_rank", "rp3beta_rank") if not np.isnan(values[name])]
    if not ranks:
        return "It does not go together with what the user {verb} lately"
    return f"It goes together with what the user {{verb}} lately (number {min(ranks):.0f})"


def _new(values: Values) -> str:
    age, rank = values["item_age_days"], values["content_rank"]
    if not np.isnan(rank):
        return f"It is new and like what the user {{verb}} (number {rank:.0f} of the new items)"
    return "Nobody has taken it yet" if np.isnan(age) else f"It was taken first {_ago(age)}"


def _price(values: Values) -> str:
    price, ratio = values["item_price_usd_90d"], values["item_price_to_user_price_rate"]
    if np.isnan(price):
        return "Its price is not known"
    if np.isnan(ratio):
        return f"It costs {price:.2f} USD"
    if 0.8 <= ratio <= 1.25:
        return f"It costs {price:.2f} USD, about what the user usually pays for an item"
    compared = f"{ratio:.1f} times" if ratio > 1 else f"{ratio:.0%} of"
    return f"It costs {price:.2f} USD, {compared} what the user usually pays for an item"


def _discount(values: Values) -> str:
    rate = values["item_discount_rate_30d"]
    return "It sold without a discount" if not rate > 0.005 else f"It sold at {rate:.0%} off in the last 30 days"


def _promotion(values: Values) -> str:
    now, ahead = _promoted(values, ""), _promoted(values, f"_next_{PROMOTION_DAYS}d")
    if not now and not ahead:
        return "It is in no promotion that is known of"
    if now == ahead:
        return f"It is {now}, now and in the next days"
    return "It is " + " and ".join(
        f"{places} {when}" for places, when in ((now, "now"), (ahead, "in the next days")) if places
    )


def _promoted(values: Values, when: str) -> str:
    """Where an item is promoted; empty where it is not."""
    places = (("in the mailer", "item_mailer_rate"), ("on displays", "item_display_rate"))
    return " and ".join(place for place, feature in places if values[f"{feature}{when}"] > 0)


def _loyal(values: Values) -> str:
    rate = values["item_repeat_rate_90d"]
    return "How many take it again is not known" if np.isnan(rate) else f"{rate:.0%} of those who take it had it before"


def _category(values: Values) -> str:
    share = values["user_item_category_share_90d"]
    if np.isnan(share):
        return "The user's categories are not known"
    return (
        f"{share:.1%} of what the user takes is {{category}}" if share > 0 else "The user takes nothing of {category}"
    )


def _subcategory(values: Values) -> str:
    count, last = values["user_subcategory_count"], values["user_subcategory_recency_days"]
    if np.isnan(last):
        return "The user {verb} nothing of its kind before"
    return f"The user {{verb}} something of its kind {_times(count)}, last {_ago(last)}"


def _moment(values: Values) -> str:
    if np.isnan(values["context_weekday"]):
        return "When it is asked is not known"
    weekday = WEEKDAYS[int(values["context_weekday"])]
    where = {1.0: ", in the usual store", 0.0: ", not in the usual store"}.get(values["context_is_home_store"], "")
    return f"It is {weekday} at {values['context_hour']:.0f} h UTC{where}"


def _shops_own(values: Values) -> str:
    said = [f"{name} {values[name]:.4g}" for name in OWN_NAMES if not np.isnan(values[name])]
    return f"The shop says {', '.join(said)}" if said else "The shop says nothing of its own about it"


def _habits(values: Values) -> str:
    sessions = values["user_sessions_30d"]
    return (
        f"The user came {_times(sessions)} in the last 30 days"
        if sessions > 0
        else "Little is known of the user lately"
    )


def _profile(values: Values) -> str:
    age, size = values["user_age_years"], values["user_household_size"]
    parts = [f"about {age:.0f} years old"] if not np.isnan(age) else []
    parts += [f"a household of {size:.0f}"] if size > 0 else []
    return f"The user's profile: {', '.join(parts)}" if parts else "The user has no profile"


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
TOPICS: tuple[Topic, ...] = (
    *((Topic("the shop's own", OWN_NAMES, _shops_own),) if OWN_NAMES else ()),
    Topic(
        "taken before",
        ("user_item_count", "user_item_decayed_count", "user_item_share", "repeat_purchase_*"),
        _own,
    ),
    Topic(
        "rhythm",
        (
            "user_item_recency_days",
            "user_item_interval_days",
            "user_item_overdue_rate",
            "item_repurchase_interval_days",
        ),
        _rhythm,
    ),
    Topic("trend", ("item_trend_rate", "item_interactions_7d", "item_users_7d", "item_recency_days"), _trend),
    Topic("popularity", ("item_interactions_*", "item_users_*", "popular_in_context_*"), _popular),
    Topic("people alike", ("user_neighbours_*", "pure_svd_*"), _alike),
    Topic("goes together", ("covisitation_*", "rp3beta_*"), _together),
    Topic("new item", ("content_*", "item_age_days"), _new),
    Topic("loyalty", ("item_repeat_rate_90d",), _loyal),
    Topic("price", ("item_price_usd_90d", "item_price_to_user_price_rate"), _price),
    Topic("discount", ("item_discount_rate_30d",), _discount),
    Topic("promotion", ("item_display_rate*", "item_mailer_rate*", "context_is_promoted"), _promotion),
    Topic("category", ("user_item_category_share_90d",), _category),
    Topic("kind", ("user_subcategory_*", "user_item_subcategory_share"), _subcategory),
    Topic("moment", ("context_*",), _moment),
    Topic("profile", ("user_age_years", "user_income_usd", "user_household_size"), _profile),
    Topic("habits", ("user_*",), _habits),
)
"""Every feature belongs to the first that names it."""
TOPIC_NUMS = np.array([[one.name for one in TOPICS].index(topic_of(name)) for name in RANKER_FEATURE_NAMES])


def _times(count: float) -> str:
    whole = round(count)
    return "once" if whole <= 1 else f"{whole} times"


def _ago(days: float) -> str:
    return "today" if days < 1 else f"{_days(days)} ago"


def _days(days: float) -> str:
    whole = max(1, round(days))
    return "1 day" if whole == 1 else f"{whole} days"


def _people(users: float) -> str:
    whole = 0 if np.isnan(users) else round(users)
    return "Nobody" if whole == 0 else "1 person" if whole == 1 else f"{whole:,} people"
