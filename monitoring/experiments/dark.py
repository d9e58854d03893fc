"""What a candidate in the dark is judged by: the requests that the door copied to it, beside the champion's own answers."""

import pandas as pd

from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.guardrails import Guardrail, Share, slow_answers
from monitoring.experiments.metrics import Logs, Span, of_step
from monitoring.experiments.verdict import Reading

FIRST_FAULT = 500
UNLIKE = "lists unlike the champion's"


def dark_guardrails(logs: Logs, span: Span, config: ExperimentConfig) -> list[Guardrail]:
    """Errors, slow answers and lists of one score of the copied requests.

    The champion is held to the same requests: it had answered all of them, and its time is theirs.
    """
    rows = of_step(logs.shadows, span)
    answered = rows[rows["is_flat"].notna()]
    failed, flat = _share(rows["status"] >= FIRST_FAULT), _share(answered["is_flat"].astype(bool))
    return [
        Guardrail("errors", Share(0, failed.requests), failed, config.error_tolerance, config.guardrail_alpha),
        slow_answers(rows["stable_seconds"], rows["seconds"], config),
        Guardrail("lists of one score", Share(0, flat.requests), flat, config.flat_tolerance, config.guardrail_alpha),
    ]


def dark_readings(logs: Logs, span: Span, config: ExperimentConfig) -> list[Reading]:
    """How much of the champion's lists the candidate's lack, in the mean; nothing until there are enough of them."""
    overlaps = of_step(logs.shadows, span)["overlap"].dropna()
    if len(overlaps) < config.guardrail_requests:
        return []
    return [Reading(UNLIKE, 1 - float(overlaps.mean()), 1 - config.least_overlap)]


def _share(is_bad: "pd.Series[bool]") -> Share:
    return Share(int(is_bad.sum()), len(is_bad))
