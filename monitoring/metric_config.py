"""What the business counts: clicks, baskets, money, returns, defined once for experiments and for figures over time."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Measure = Literal[
    "clicks", "carts", "purchases", "orders", "converted", "revenue", "returned", "items_shown", "sessions",
    "session_seconds", "distinct_items", "users",
]  # fmt: skip
"""What is added up of a user within his window; `users` is 1 for each."""


IN_WORDS: dict[Measure, tuple[str, str]] = {
    "clicks": ("click", "clicks"),
    "carts": ("item put into the cart", "items put into the cart"),
    "purchases": ("item bought", "items bought"),
    "orders": ("order", "orders"),
    "converted": ("user who bought something", "users who bought something"),
    "revenue": ("US dollar of purchases", "US dollars of purchases"),
    "returned": ("user who came back", "users who came back"),
    "items_shown": ("item shown", "items shown"),
    "sessions": ("session", "sessions"),
    "session_seconds": ("second in sessions", "seconds in sessions"),
    "distinct_items": ("different item shown", "different items shown"),
    "users": ("user", "users"),
}
"""A measure as people say it, with its unit: one, and several."""


class MetricConfig(BaseModel):
    """A metric: numerator over denominator, summed over users, each of them within the window after his first exposure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numerator: Measure = Field(description="What is counted")
    denominator: Measure = Field("users", description="Over what; `users` makes it a mean per user")
    window_hours: float = Field(
        168, gt=0, description="A user counts for so long after his first exposure, and only when that is over"
    )

    @property
    def meaning(self) -> str:
        """What it is, with its unit: `US dollars of purchases per user, in the 7 days from a user's first list on`."""
        days, hours = divmod(self.window_hours, 24)
        window = f"{self.window_hours:g} hours" if hours or days < 2 else f"{days:g} days"
        counted, per = IN_WORDS[self.numerator][1], IN_WORDS[self.denominator][0]
        return f"{counted} per {per}, in the {window} from a user's first list on"

    @property
    def most(self) -> float:
        """The largest value that there can be."""
        return 1.0 if (self.numerator, self.denominator) in SHARES else math.inf


SHARES: frozenset[tuple[Measure, Measure]] = frozenset(
    {("clicks", "items_shown"), ("carts", "items_shown"), ("distinct_items", "items_shown"), ("converted", "users"),
     ("returned", "users")}
)  # fmt: skip
"""What can never be over 1."""
METRICS: dict[str, MetricConfig] = {
    "ctr": MetricConfig(numerator="clicks", denominator="items_shown", window_hours=24),
    "conversion": MetricConfig(numerator="converted"),
    "add_to_cart": MetricConfig(numerator="carts", denominator="items_shown"),
    "revenue_per_user": MetricConfig(numerator="revenue"),
    "average_order_value": MetricConfig(numerator="revenue", denominator="orders"),
    "retention": MetricConfig(numerator="returned"),
    "session_length": MetricConfig(numerator="session_seconds", denominator="sessions"),
    "diversity": MetricConfig(numerator="distinct_items", denominator="items_shown"),
}


class MetricsConfig(BaseModel):
    """Metrics, and what of the logs they are made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, MetricConfig] = Field(
        default=METRICS, description="Name to definition; one place for all readers"
    )
    attribution_hours: float = Field(
        24, gt=0, description="An interaction this long after an item was shown is its own"
    )
    late_minutes: float = Field(
        15, ge=0, description="An event may reach the log so late; a user counts only after that"
    )
    click_types: tuple[str, ...] = Field(("click",), min_length=1, description="Interaction types that are a click")
    cart_types: tuple[str, ...] = Field(("add_to_cart",), description="Those that put an item into the cart")
    purchase_types: tuple[str, ...] = Field(("purchase",), description="Those that bring revenue, by value_usd")
    session_gap_minutes: float = Field(30, gt=0, description="A pause that ends a session")

    @property
    def countable(self) -> dict[str, MetricConfig]:
        """Metrics whose interactions there are: a shop without a cart puts nothing into it, which is no figure of 0."""
        types = {
            "carts": self.cart_types,
            **dict.fromkeys(("purchases", "orders", "converted", "revenue"), self.purchase_types),
        }
        return {
            name: metric
            for name, metric in self.metrics.items()
            if all(types.get(measure, ("known",)) for measure in (metric.numerator, metric.denominator))
        }
