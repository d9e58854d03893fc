"""The frame that the console's pages share: style and head. No script, no font, no address elsewhere."""

import re
from html import escape

COMMAND = re.compile(r"`([^`]+)`")
STYLE = """
:root{color-scheme:light dark;--bg:#f8fafc;--card:#fff;--ink:#0f172a;--soft:#475569;--line:#dbe3ec;--link:#1d4ed8;--bar:#dbeafe;
--ok:#15803d;--learning:#0369a1;--warn:#b45309;--insufficient:#57606f;--fail:#b91c1c;--stale:#7e22ce;--error:#7f1d1d}
@media(prefers-color-scheme:dark){:root{--bg:#0b1220;--card:#131c2e;--ink:#e2e8f0;--soft:#a3b1c6;--line:#2a3851;--link:#93c5fd;
--bar:#1e3a5f}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:0 auto;padding:16px 16px 48px}h1{font-size:21px;margin:0}h2{font-size:19px;margin:24px 0 4px}
h3{font-size:16px;margin:0 0 6px}a{color:var(--link)}.sub{color:var(--soft);margin:0}.sentence{font-size:17px;margin:0 0 14px}
header{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:baseline;justify-content:space-between}
.cards{columns:3 340px;column-gap:12px}.cards>*{break-inside:avoid;margin:0 0 12px}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;min-width:0;
overflow-wrap:anywhere}.card p{margin:4px 0}.card ul,.card ol{margin:6px 0;padding:0;list-style:none}.card li{margin:5px 0}
.state{display:inline-block;color:#fff;border-radius:99px;padding:0 9px;font-weight:600;font-size:12px;line-height:19px;
white-space:nowrap;background:var(--insufficient)}.OK{background:var(--ok)}.LEARNING{background:var(--learning)}
.WARN{background:var(--warn)}.FAIL{background:var(--fail)}.STALE{background:var(--stale)}.ERROR{background:var(--error)}
summary{cursor:pointer;padding:3px 0}.bars li{position:relative;padding:2px 6px;isolation:isolate}.bar{position:absolute;
z-index:-1;inset:0 auto 0 0;background:var(--bar);border-radius:4px;min-width:3px}.chart{background:#fff;border-radius:8px;
padding:4px;margin:8px 0}.chart svg{display:block;max-width:100%;height:auto}progress{width:100%;accent-color:var(--link)}
.timeline time{color:var(--soft);font-variant-numeric:tabular-nums}
.act::first-letter{text-transform:uppercase}.act{display:inline-block}.blocked,.failed,.escalate{color:var(--fail)}@media(prefers-color-scheme:dark){
.blocked,.failed,.escalate{color:#fca5a5}}form{display:flex;flex-wrap:wrap;gap:8px;align-items:center;margin:14px 0 0}
input,button{font:inherit;padding:7px 10px;border:1px solid var(--line);border-radius:8px;background:var(--card);color:inherit}
input{flex:1 1 160px;max-width:320px}button{cursor:pointer}:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:6px 10px 6px 0;
border-bottom:1px solid var(--line)}th,td.n{white-space:nowrap}td.n{font-variant-numeric:tabular-nums}
"""


def prose(text: str) -> str:
    """A sentence as HTML: commands in their own type, a number not parted from its per cent."""
    return COMMAND.sub(r"<code>\1</code>", escape(text)).replace(" %", "&nbsp;%")


def document(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: Of the tab.
        body: HTML of what is inside.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f'<style>{STYLE}</style></head><body><main id="main">{body}</main></body></html>\n'
    )
