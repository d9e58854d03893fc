"""The portrait of one user as a page of the console."""

from collections.abc import Sequence
from html import escape

from serving.console_style import document
from serving.portrait_protocol import KnownItem, LeftOutItem, PortraitResponse
from serving.protocol import RecommendedItem

MOST_TOPICS = 4
STATUSES = {
    "ok": "known to the feature store",
    "new": "new: only events since the last snapshot are known",
    "missing": "unknown: the list is what is popular",
    "expired": "what is known is too old to be used",
    "store_error": "the online store did not answer",
}


def portrait_page(portrait: PortraitResponse, *, back: str | None = None) -> str:
    """A whole page.

    Args:
        portrait: Of whom.
        back: Address of the console; None leaves the link out.
    """
    user = escape(portrait.user_id)
    heading = (
        f'<header><h1>User {user}</h1><p class="sub">{portrait.event_timestamp:%Y-%m-%d %H:%M} UTC, bundle '
        f"{escape(portrait.bundle_id)} ({escape(portrait.variant)})</p></header>"
        f'<p class="sentence">{escape(_sentence(portrait))}</p>'
    )
    link = f'<p><a href="{escape(back)}">Console</a></p>' if back else ""
    sections = (
        _section("What they did", _table(("item", "times", "last"), [_did(one) for one in portrait.known])),
        _section("What would be shown now, and why", _shown(portrait.recommended)),
        _section(
            "What was left out", _table(("rank", "item", "because"), [_left_out(one) for one in portrait.left_out])
        ),
    )
    return document(f"User {portrait.user_id}", link + heading + "".join(sections))


def _sentence(portrait: PortraitResponse) -> str:
    return (
        f"{STATUSES[portrait.user_status].capitalize()}; {portrait.known_items:,} different items in the history, "
        f"{portrait.candidates:,} candidates, {len(portrait.recommended)} shown, {len(portrait.left_out)} better ones left out."
    )


def _section(title: str, body: str) -> str:
    return f'<section class="card" style="margin-top:12px"><h3>{title}</h3>{body}</section>'


def _did(one: KnownItem) -> tuple[str, ...]:
    return _name(one.item_id, one.title, one.department), f"{one.count:g}", f"{one.last_timestamp:%Y-%m-%d %H:%M}"


def _left_out(one: LeftOutItem) -> tuple[str, ...]:
    return f"{one.rank}", _name(one.item_id, one.title, None), escape(one.reason)


def _shown(items: Sequence[RecommendedItem]) -> str:
    rows = [(f"{one.position}", _name(one.item_id, one.title, one.department), _why(one)) for one in items]
    return _table(("", "item", "why"), rows)


def _why(item: RecommendedItem) -> str:
    """The reason that the user reads; what moved the score opens below it."""
    chance = "" if item.probability is None else f", taken with a probability of {item.probability:.1%}"
    told = f"{escape(item.reason)}<br><small>score {item.score:.3f}{chance}</small>"
    if item.explanation is None:
        return told
    topics = sorted(item.explanation.topics, key=lambda one: -abs(one.contribution))[:MOST_TOPICS]
    sources = ", ".join(f"{one.retriever} {one.rank}" for one in item.explanation.sources) or "no source"
    moved = "".join(f"<li>{one.contribution:+.2f} {escape(one.sentence or one.name)}</li>" for one in topics)
    return f"{told}<details><summary>what moved it</summary><ul>{moved}</ul><p>named by {escape(sources)}</p></details>"


def _name(item_id: str, title: str | None, department: str | None) -> str:
    """The title with what else is known below it; the id where there is no title."""
    below = [text for text in (item_id if title else None, department) if text]
    return f"{escape(title or item_id)}<br><small>{escape(' · '.join(below))}</small>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML; numbers and moments, which have no letters, are not broken."""
    if not rows:
        return "<p>Nothing.</p>"
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _cell(content: str) -> str:
    is_short = not any(letter.isalpha() for letter in content)
    return f'<td class="n">{content}</td>' if is_short else f"<td>{content}</td>"
