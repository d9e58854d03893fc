"""What monitoring says of one window, as a value that goes to JSON and back."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from components.artifacts.errors import ContractError
from components.artifacts.whole_file import write_whole
from monitoring.findings import SegmentFinding, SkewFinding

FORMAT_VERSION = 1
MOST_NAMES = 3
"""Features that a sentence names, and checks beside the one whose reason it gives."""
DRIFT_CHECK = "drift:features"
VERDICT_VERSION = "2"
"""Changes when the checks change what they mean: a window judged by another version is another verdict."""


class State(StrEnum):
    """Result of a check. Only OK is green: no data is never OK."""

    OK = "OK"
    LEARNING = "LEARNING"  # cannot be judged yet: history or labels are still coming in
    WARN = "WARN"  # a person should look
    INSUFFICIENT = "INSUFFICIENT"  # too few users to say anything
    FAIL = "FAIL"
    STALE = "STALE"  # the data stopped coming
    ERROR = "ERROR"  # the check could not run
    NOT_APPLICABLE = "NOT_APPLICABLE"  # says nothing about this model


SEVERITY = (
    State.NOT_APPLICABLE,
    State.OK,
    State.LEARNING,
    State.WARN,
    State.INSUFFICIENT,
    State.FAIL,
    State.STALE,
    State.ERROR,
)
"""From harmless to worst. Stale data outranks a FAIL: what was judged is not what is being served."""

EXIT_CODES = {
    State.OK: 0,
    State.LEARNING: 0,
    State.WARN: 0,
    State.FAIL: 3,
    State.STALE: 4,
    State.ERROR: 4,
    State.INSUFFICIENT: 5,
}


class Group(StrEnum):
    """What a check is about. The retraining policy treats the groups differently."""

    WINDOW = "window"
    FRESHNESS = "freshness"
    NULLS = "nulls"
    RANGE = "range"
    SKEW = "skew"
    DRIFT = "drift"
    PREDICTION = "prediction"
    QUALITY = "quality"
    BUSINESS = "business"


BLOCKERS = (Group.FRESHNESS, Group.NULLS, Group.RANGE, Group.SKEW)
"""The data is broken: a training run would learn the fault."""
TRIGGERS = (Group.DRIFT, Group.QUALITY)
"""Reasons to train again."""
BROKEN = (State.FAIL, State.STALE, State.ERROR)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a window.

    Attributes:
        name: Unique in its verdict, e.g. `freshness:impressions`.
        group: What it is about.
        state: The result.
        reason: One sentence for people.
        observed: The measured value, None where nothing could be measured.
        threshold: What it was compared with, None where there is none.
        unit: Of both values.
    """

    name: str
    group: Group
    state: State
    reason: str
    observed: float | None = None
    threshold: float | None = None
    unit: str = "1"


@dataclass(frozen=True, slots=True)
class FeatureFinding:
    """One ranker feature in one window.

    Attributes:
        name: As in `RANKER_FEATURES`.
        state: OK, LEARNING or WARN (moved); INSUFFICIENT without enough users; NOT_APPLICABLE where not judged.
        importance: Share of the ranker's total gain, in [0, 1].
        score: PSI against the reference, nulls in a bin of their own; None where not measured.
        threshold: Above it the feature has moved.
        threshold_source: Where the threshold comes from, in words.
        direction: `up`, `down` or empty, by the median.
        reference_median: None where all values are missing.
        current_median: As above.
        reference_null_share: Share of users' values that are missing, each user with the same weight, in [0, 1].
        current_null_share: As above.
        null_threshold: Missing share above which it alarms; None where missing values carry meaning and few have any.
        out_of_range_share: Share of values outside [low, high] or infinite, in [0, 1].
        users: Distinct users behind the score: the effective sample size.
        windows: Earlier windows of the same kind that say what is usual of it.
        reason: One sentence for people.
        reference_shares: Share per bin, the last one holds the missing values.
        current_shares: As above.
        edges: Upper edges of all bins but the last two (the open one and the missing one).
        moved_bin: Place of the bin that is furthest from the feature's own past; None while that is not known.
        moved_bin_z: How far, in standard errors.
        moved_bin_usual: Its share in the past, in [0, 1].
    """

    name: str
    state: State
    importance: float
    score: float | None
    threshold: float | None
    threshold_source: str
    direction: str
    reference_median: float | None
    current_median: float | None
    reference_null_share: float
    current_null_share: float
    null_threshold: float | None
    out_of_range_share: float
    users: int
    reason: str
    reference_shares: tuple[float, ...] = ()
    current_shares: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    moved_bin: int | None = None
    moved_bin_z: float | None = None
    moved_bin_usual: float | None = None
    windows: int = 0

    @property
    def is_moved(self) -> bool:
        """Whether the distribution alarmed."""
        return self.state is State.WARN


@dataclass(frozen=True, slots=True)
class Verdict:
    """One model in one window.

    Attributes:
        model: Name of the model.
        bundle_id: The bundle whose impressions were judged; its top items are the reference.
        reference_id: Hash of the reference, first 16 hex digits of SHA-256.
        start: Start of the window, included.
        end: End of the window, not included.
        judged_at: The `now` that was passed.
        users: Distinct users of the window.
        rows: Impressions of the window.
        checks: One per named check, in order of presentation.
        features: One per ranker feature, most important first; empty where the window could not be read.
        skew: One per feature that was made again, the most skewed first; empty where nothing was.
        segments: How often items are taken against what the model says, the furthest off first; empty where not judged.
        notes: What a reader of the numbers must know: left-out rows, samples.
        version: Version of the checks.
    """

    model: str
    bundle_id: str
    reference_id: str
    start: datetime
    end: datetime
    judged_at: datetime
    users: int
    rows: int
    checks: tuple[Check, ...]
    features: tuple[FeatureFinding, ...] = ()
    skew: tuple[SkewFinding, ...] = ()
    segments: tuple[SegmentFinding, ...] = ()
    notes: tuple[str, ...] = ()
    version: str = VERDICT_VERSION

    @property
    def id(self) -> str:
        """Of model, bundle, window, reference and version: judging the same window again is the same verdict."""
        return digest(self.model, self.bundle_id, moment(self.start), moment(self.end), self.reference_id, self.version)

    @property
    def state(self) -> State:
        """The worst of the checks; ERROR without any that applies."""
        applicable = [check.state for check in self.checks if check.state is not State.NOT_APPLICABLE]
        return worst(applicable) if applicable else State.ERROR

    @property
    def exit_code(self) -> int:
        """0 for OK, LEARNING and WARN; 3 FAIL; 4 STALE and ERROR; 5 INSUFFICIENT."""
        return EXIT_CODES[self.state]

    @property
    def blockers(self) -> tuple[Check, ...]:
        """Checks that say the data is broken, so nothing may be trained on it."""
        return tuple(check for check in self.checks if check.group in BLOCKERS and check.state in BROKEN)

    @property
    def triggers(self) -> tuple[Check, ...]:
        """Checks that advise retraining."""
        return tuple(check for check in self.checks if check.group in TRIGGERS and check.state is State.FAIL)

    @property
    def moved(self) -> tuple[FeatureFinding, ...]:
        """Features whose distribution moved, most important first."""
        return tuple(finding for finding in self.features if finding.is_moved)

    @property
    def moved_importance(self) -> float:
        """Share of the ranker's gain in the features that moved, in [0, 1]."""
        return sum(finding.importance for finding in self.moved)

    @property
    def sentence(self) -> str:
        """What a person needs to know, in one sentence."""
        return f"{_what_moved(self)}; {_advice(self)}."

    def check(self, name: str) -> Check:
        """The check of that name.

        Raises:
            KeyError: There is none.
        """
        check = self.find(name)
        if check is None:
            raise KeyError(f"no check {name!r}; there are {', '.join(check.name for check in self.checks)}")
        return check

    def find(self, name: str) -> Check | None:
        """The check of that name; None where there is none."""
        return next((check for check in self.checks if check.name == name), None)

    def to_json(self) -> str:
        """Indented JSON with sorted keys; the derived values are in it for readers, `from_json` ignores them."""
        derived = {
            "format_version": FORMAT_VERSION,
            "id": self.id,
            "state": self.state,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            "moved_importance": self.moved_importance,
        }
        times = {name: moment(getattr(self, name)) for name in ("start", "end", "judged_at")}
        return json.dumps(asdict(self) | times | derived, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ContractError: It is not a verdict of this format.
        """
        try:
            return cls._from_mapping(json.loads(text))
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(
                f"verdict: not the format {FORMAT_VERSION} that `recsys monitor run` writes ({error!r}). Judge the window again."
            ) from error

    @classmethod
    def _from_mapping(cls, facts: Mapping[str, Any]) -> Self:
        if facts["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {facts['format_version']}, expected {FORMAT_VERSION}")
        plain = ("model", "bundle_id", "reference_id", "users", "rows", "version")
        start, end, judged_at = (datetime.fromisoformat(facts[name]) for name in ("start", "end", "judged_at"))
        return cls(
            **{name: facts[name] for name in plain},
            start=start,
            end=end,
            judged_at=judged_at,
            checks=tuple(_check(one) for one in facts["checks"]),
            features=tuple(_finding(one) for one in facts["features"]),
            skew=tuple(SkewFinding(**one) for one in facts.get("skew", ())),  # verdicts of version 1 have neither
            segments=tuple(SegmentFinding(**one) for one in facts.get("segments", ())),
            notes=tuple(facts["notes"]),
        )

    def write(self, path: Path) -> None:
        """As JSON; a reader sees the old file or the new one, never a part. Two writers of one file take turns by a lock."""
        write_whole(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote."""
        return cls.from_json(path.read_text(encoding="utf-8"))


def worst(states: Iterable[State]) -> State:
    """The most severe."""
    return max(states, key=SEVERITY.index)


def digest(*parts: object) -> str:
    """Sixteen hex digits of the parts' SHA-256."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def moment(when: datetime) -> str:
    """ISO 8601 in UTC, seconds."""
    return when.astimezone(UTC).isoformat(timespec="seconds")


def days(start: datetime, end: datetime) -> str:
    """A window of whole days, as people write it: both ends included."""
    last = datetime.fromtimestamp(end.timestamp() - 1, UTC).date()
    return f"{start.date()}" if last == start.date() else f"{start.date()} to {last}"


def percent(share: float) -> str:
    """`31 %`, with one digit below ten."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def _what_moved(verdict: Verdict) -> str:
    judged = [finding for finding in verdict.features if finding.state is not State.NOT_APPLICABLE]
    if not judged or all(finding.state is State.INSUFFICIENT for finding in judged):
        return "The features could not be compared"
    count, total = len(verdict.moved), len(verdict.features)
    if count == 0:
        return f"None of {total} features moved"
    names = ", ".join(
        [*(finding.name for finding in verdict.moved[:MOST_NAMES]), *(["..."] if count > MOST_NAMES else [])]
    )
    return (
        f"{count} of {total} features moved, {percent(verdict.moved_importance)} of the ranker's importance ({names})"
    )


def _advice(verdict: Verdict) -> str:
    for state, advice in (
        (State.ERROR, "monitoring could not judge all of the window"),
        (State.STALE, "the data is stale"),
    ):
        found = [check for check in verdict.checks if check.state is state]
        if found:
            return f"{advice}{_because(found)}"
    if verdict.blockers:
        return f"retraining is blocked until the data is repaired{_because(verdict.blockers)}"
    if verdict.triggers:
        return f"retraining is advised{_because(verdict.triggers, word=' because ')}"
    return _wait(verdict)


def _wait(verdict: Verdict) -> str:
    waits = {
        State.INSUFFICIENT: "too little data for a verdict",
        State.WARN: "worth a look",
        State.LEARNING: "nothing is wrong so far",
        State.OK: "all is well",
    }
    found = [check for check in verdict.checks if check.state is verdict.state]
    return waits[verdict.state] + ("" if verdict.state is State.OK else _because(found))


def _because(checks: Sequence[Check], *, word: str = ": ") -> str:
    """The first one's reason, and the names of others, which `recsys monitor explain` takes."""
    reason = checks[0].reason.rstrip(".")
    if checks[0].name == DRIFT_CHECK and checks[0].state in {State.WARN, State.FAIL}:
        wait = reason.partition("; ")[2]  # what moved stands at the sentence's beginning
        reason, word = f"; {wait}" if wait else "", " for that"
    others = ", ".join(check.name for check in checks[1 : 1 + MOST_NAMES])
    more = f" and {len(checks) - 1 - MOST_NAMES} more" if len(checks) > 1 + MOST_NAMES else ""
    return word + reason + (f" (and {others}{more})" if others else "")


def _check(facts: Mapping[str, Any]) -> Check:
    return Check(**{**facts, "group": Group(facts["group"]), "state": State(facts["state"])})


def _finding(facts: Mapping[str, Any]) -> FeatureFinding:
    lists = {name: tuple(facts[name]) for name in ("reference_shares", "current_shares", "edges")}
    return FeatureFinding(**{**facts, **lists, "state": State(facts["state"])})
