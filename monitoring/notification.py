"""Telling a person of a verdict that is not well: one POST to a webhook, tried a few times, never a reason to fail."""

import json
import logging
import os
import time
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from monitoring.retraining_policy import Action, DecisionRecord, read_decisions
from monitoring.unread import Unread
from monitoring.verdict import State, Verdict, days, moment

log = logging.getLogger(__name__)

WEBHOOK_URL = "RECSYS_WEBHOOK_URL"
"""Variable. Never logged: whoever knows the address of a webhook may write to it."""
TIMEOUT_SECONDS = 5.0
PAUSES_SECONDS = (1.0, 4.0)
"""Before the second attempt and the third, which is the last."""
QUIET = (State.OK, State.LEARNING)
"""Nothing is wrong: a new bundle is LEARNING for weeks, and a message of every night is read by nobody."""
LOUD = (Action.ESCALATE, Action.FAILED)
"""A person is needed, whatever the verdict."""
TOO_MANY_REQUESTS, SERVER_ERRORS = 429, 500


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, and lead where nobody has said."""

    def redirect_request(self, *_: Any) -> None:
        return None


def notify(home: Path, verdict: Verdict, report: Path, *, pauses: Sequence[float] = PAUSES_SECONDS) -> bool:
    """Tell the webhook in `RECSYS_WEBHOOK_URL` of a verdict and what was decided; whether it took the message.

    Nothing is sent without the variable, and where nothing is wrong. An address that does not answer, refuses or makes no
    sense is logged and no error.

    Args:
        home: State folder; holds the decision.
        verdict: Of the window that was judged.
        report: Its page.
        pauses: Seconds before each further attempt.
    """
    url = os.environ.get(WEBHOOK_URL)
    decision = _decided(home, verdict)
    if not url or (verdict.state in QUIET and (decision is None or decision.action not in LOUD)):
        return False
    body = json.dumps(message(verdict, report, decision)).encode()
    for attempt, pause in enumerate((0.0, *pauses), start=1):
        time.sleep(pause)
        failure, is_final = _post(url, body)
        if failure is None:
            return True
        log.warning(
            "%s did not take the message of verdict %s, attempt %d: %s", WEBHOOK_URL, verdict.id, attempt, failure
        )
        if is_final:
            break
    return False


def message(verdict: Verdict, report: Path, decision: DecisionRecord | None) -> dict[str, Any]:
    """What is posted: `text` for a chat (Slack's and Mattermost's field), the parts for a program."""
    sentences = [f"{verdict.state}: {verdict.model}, {days(verdict.start, verdict.end)}. {verdict.sentence}"]
    if decision is not None:
        sentences.append(f"Retraining: {decision.action}, {decision.reason}")
    sentences.append(f"Report: {report}")
    return {
        "text": "\n".join(sentences),
        "model": verdict.model,
        "bundle_id": verdict.bundle_id,
        "verdict_id": verdict.id,
        "state": str(verdict.state),
        "sentence": verdict.sentence,
        "start": moment(verdict.start),
        "end": moment(verdict.end),
        "report": str(report),
        "decision": None if decision is None else {"action": str(decision.action), "reason": decision.reason},
    }


def _decided(home: Path, verdict: Verdict) -> DecisionRecord | None:
    """The last thing that was decided of this verdict; None where nothing is known of it."""
    known: tuple[DecisionRecord, ...] = Unread().read("decisions", lambda: read_decisions(home, verdict.model), ())
    of_verdict = [one for one in known if one.verdict_id == verdict.id]
    return of_verdict[-1] if of_verdict else None


def _post(url: str, body: bytes) -> tuple[str | None, bool]:
    """What went wrong, without the address, and whether another attempt would end the same."""
    try:
        if not url.startswith(("http://", "https://")):
            return "its scheme is neither http nor https", True
        headers = {"Content-Type": "application/json", "User-Agent": "recsys"}
        request = Request(url, body, headers, method="POST")  # noqa: S310 - the scheme was looked at
        with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_SECONDS):
            return None, True
    except HTTPError as error:
        error.close()
        return f"status {error.code}", error.code < SERVER_ERRORS and error.code != TOO_MANY_REQUESTS
    except (OSError, HTTPException) as error:
        return type(error).__name__, False
    except ValueError:
        return "it is no address", True
