"""What an operator does on the console: pause a rollout, let it go on, take it back. `recsys rollout` does it."""

import logging
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from pydantic import ValidationError

from serving.api.contract import RolloutAct
from serving.api.errors import BadRequestError, ConsoleFailedError, ForbiddenError, UnsupportedError
from serving.api.requests import Head
from serving.api.run import run

log = logging.getLogger(__name__)

FORM = "application/x-www-form-urlencoded"
COMMAND = ("-c", "from pipelines.cli.main import main; main()", "rollout")
ARGUMENTS = {"pause": ("pause",), "resume": ("pause", "--resume"), "abort": ("abort",)}
WRONG_USAGE = 2
"""Exit code of a command that refuses: its words are for whoever asked."""


def check_origin(head: Head) -> None:
    """Refuse a form of another site's page, with which a browser would send the password that it remembers.

    Browsers say where a form comes from; programs that say nothing are no browsers, and bring a key of their own.

    Raises:
        ForbiddenError: It comes from elsewhere.
    """
    site, origin = head.get(b"sec-fetch-site"), head.get(b"origin")
    host = head.get(b"host", b"").decode("latin-1")
    is_ours = origin is None or urlsplit(origin.decode("latin-1")).netloc == host
    if not is_ours or site not in {None, b"same-origin"}:
        raise ForbiddenError("origin: this form is not the console's own. Open /console and act there.")


def parse_act(head: Head, body: bytes) -> RolloutAct:
    """The form's fields.

    Raises:
        UnsupportedError: It is no form.
        BadRequestError: A field is missing, unknown, given twice or not one of those that there are.
    """
    kind = head.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != FORM.encode():
        raise UnsupportedError(f"content-type: expected {FORM}.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=10)
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a field is given twice")
        return RolloutAct.model_validate(dict(pairs))
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise BadRequestError(f"form: {mistakes}.") from error
    except ValueError as error:
        raise BadRequestError(f"form: {error}.") from error


async def do_act(home: Path, act: RolloutAct, caller: str) -> None:
    """Run the command and wait for it; who acted is in the rollout's record.

    Raises:
        BadRequestError: The command refuses; its words say why.
        ConsoleFailedError: It failed.
    """
    reason = f"{act.reason} ({caller}, on the console)"
    done = await run((*COMMAND, *ARGUMENTS[act.act], f"--reason={reason}", "--", act.name), home)
    log.info("rollout act", extra={"fields": {"act": act.act, "rollout": act.name, "by": caller, "code": done.code}})
    if done.code == WRONG_USAGE:
        raise BadRequestError(done.said.removeprefix("error ") or "the command refused without a word.")
    if done.code != 0:
        log.error("rollout %s: %s", act.act, done.said[-2000:])
        raise ConsoleFailedError(
            "rollout: the act failed; the door's log says why, `recsys rollout status` where it stands."
        )
