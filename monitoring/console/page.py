"""The operator's page: a sentence per model, then its cards. One file without a script or an address elsewhere."""

import os
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from components.artifacts.whole_file import write_whole
from monitoring.console.cards import badge, cards
from monitoring.console.state import ModelState, read_states
from serving.console_style import document, prose

LOOK = (
    '<p class="sub" style="margin-top:16px">What is behind a check, a feature or a segment: '
    "<code>recsys monitor explain NAME</code>; of each retraining: <code>recsys monitor outcomes</code></p>"
)


def console_page(home: Path, *, now: datetime, files: str, people: str | None = None, acts: str | None = None) -> str:
    """The page as HTML.

    Args:
        home: State folder.
        now: The moment of the page: ages count until then.
        files: Begins the address of a file of the state folder.
        people: Where the form for one user leads; None leaves it out, as nobody answers a static file.
        acts: Where the forms of a rollout's acts lead; None for who may not act.
    """
    states = read_states(home, now=now)
    moment = f"{now:%Y-%m-%d %H:%M} UTC{'' if acts else ', read only'}"
    parts = [
        f'<header><h1>Recommender console</h1><p class="sub">{moment}</p></header>',
        _form(people) if people else "",
        *(_model(state, home, files, acts) for state in states),
        LOOK if states else "<p>No model is registered or was judged in this state folder.</p>",
    ]
    return document("Recommender console", "".join(parts))


def write_console(home: Path, path: Path, *, now: datetime) -> None:
    """The page as a file, with links to the reports as they lie from there."""
    files = os.path.relpath(home, path.absolute().parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, console_page(home, now=now, files=f"{files}/"))


def summary(states: Sequence[ModelState]) -> str:
    """One line per model, for a terminal."""
    told = "\n".join(f"{one.model}: {one.state} {one.sentence}" for one in states)
    return told or "no model has a bundle yet: `recsys train run` makes one"


def _model(state: ModelState, home: Path, files: str, acts: str | None) -> str:
    links = {name: files + quote(path.relative_to(home).as_posix()) for name, path in state.pages.items()}
    return (
        f'<article aria-labelledby="model-{escape(state.model)}"><h2 id="model-{escape(state.model)}">{escape(state.model)} '
        f'{badge(state.state)}</h2><p class="sentence">{prose(state.sentence)}</p>'
        f'<div class="cards">{cards(state, links, acts)}</div></article>'
    )


def _form(people: str) -> str:
    return (
        f'<form action="{escape(people)}" method="get" role="search"><label for="user_id">One user</label>'
        '<input id="user_id" name="user_id" required autocomplete="off" placeholder="user_id">'
        "<button>Show</button></form>"
    )
