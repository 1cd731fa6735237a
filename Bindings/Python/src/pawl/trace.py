# SPDX-License-Identifier: Apache-2.0
"""Pictures of how a session was rekeyed, from the steps that its two sides told.

    steps = trace.collect(adas, bobs)
    ...  # rekey
    Path("rekey.svg").write_text(trace.svg(trace.of(session, steps), ("ada", "bob")))

A step says what one side did, not what the link did. What was said is an arrow to the step that it
made at the other side; if there is none it was lost, is late or made no difference, and the arrow
ends on the way.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from html import escape
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from .store import Store
from .values import Constructor, Step, StepEvent

Names = Tuple[str, str]
"""Of the initiator and the responder."""

NAMES: Names = ("initiator", "responder")


def collect(*stores: Store) -> List[Step]:
    """A list to which each step is added that these stores make from now on, in their order."""
    steps: List[Step] = []
    for store in stores:
        store.trace(steps.append)
    return steps


def of(session: bytes, steps: Iterable[Step]) -> List[Step]:
    """The steps of one session, of both of its sides."""
    return [step for step in steps if _common(step.session) == _common(session)]


# ---------------------------------------------------------------- what was said and heard


@dataclass(frozen=True)
class _Arrow:
    """What step `sent` said, and the step that heard it, if one did."""

    what: str
    sent: int
    heard: Optional[int]


class _Sequence:
    """Steps of one session in order, and the messages between them."""

    def __init__(self, steps: Sequence[Step]) -> None:
        if len({_common(step.session) for step in steps}) > 1:
            raise ValueError("steps of several sessions: choose one with `of`")
        self.steps = steps
        self._offerer: Dict[bytes, int] = {}
        for step in steps:
            if step.event in _AS_OFFERER or step.constructor is Constructor.USED:
                self._offerer[step.offer] = _side(step)
            elif step.event in _AS_ANSWERER:
                self._offerer[step.offer] = 1 - _side(step)
        self.arrows = sorted(self._matched(), key=lambda arrow: (arrow.sent, arrow.heard or 0))

    def _said(self, step: Step) -> Optional[str]:
        is_offerer = self._offerer.get(step.offer) == _side(step)
        if step.event is StepEvent.RETRIED:
            return "offer" if is_offerer else "answer"
        if step.event is StepEvent.REPEATED:
            return "finish" if is_offerer else "answer"
        if step.event is StepEvent.COMMITTED:
            return "finish" if is_offerer else None
        return _SAID.get(step.event)

    def _heard(self, step: Step) -> Optional[str]:
        is_offerer = self._offerer.get(step.offer) == _side(step)
        if step.event in (StepEvent.REPEATED, StepEvent.STALE):
            return "answer" if is_offerer else "offer"
        if step.event is StepEvent.COMMITTED:
            return "answer" if is_offerer else "finish"
        return _HEARD.get(step.event)

    def _matched(self) -> Iterable[_Arrow]:
        said: Dict[Tuple[str, bytes], List[int]] = {}  # by what, and in which exchange
        heard: Dict[Tuple[str, bytes], List[int]] = {}
        for index, step in enumerate(self.steps):
            for what, found in ((self._said(step), said), (self._heard(step), heard)):
                if what is not None:
                    found.setdefault((what, step.offer), []).append(index)
        for message, sent in said.items():
            unheard = set(sent)
            free = len(sent)
            # From the end: what was said again before it was heard was lost the first time.
            for index in reversed(heard.get(message, [])):
                before = bisect(sent, index)
                if before:
                    free = max(1, min(free, before)) - 1
                    unheard.discard(sent[free])
                    yield _Arrow(message[0], sent[free], index)
            yield from (_Arrow(message[0], index, None) for index in unheard)


_AS_OFFERER = (StepEvent.OFFERED, StepEvent.POSTPONED)
_AS_ANSWERER = (StepEvent.ANSWERED, StepEvent.YIELDS, StepEvent.LEADS, StepEvent.REFUSED)
_SAID = {
    StepEvent.OFFERED: "offer",
    StepEvent.ANSWERED: "answer",
    StepEvent.YIELDS: "answer",
    StepEvent.REFUSED: "busy",
}
_HEARD = {
    StepEvent.ANSWERED: "offer",
    StepEvent.YIELDS: "offer",
    StepEvent.LEADS: "offer",
    StepEvent.REFUSED: "offer",
    StepEvent.POSTPONED: "busy",
}
_TEXTS = {
    StepEvent.OFFERED: "asks for epoch {0.target}",
    StepEvent.ANSWERED: "answers",
    StepEvent.LEADS: "crossed: leads",
    StepEvent.YIELDS: "crossed: yields, answers",
    StepEvent.REPEATED: "says it again",
    StepEvent.COMMITTED: "epoch {0.after}",
    StepEvent.REFUSED: "too many offers",
    StepEvent.POSTPONED: "waits",
    StepEvent.STALE: "that is over",
    StepEvent.RETRIED: "nothing came: again",
    StepEvent.CLOSED: "closed by the peer",
}


def _common(session: bytes) -> bytes:
    return session[:-1] + bytes([session[-1] & 0xFE])


def _side(step: Step) -> int:
    return step.session[-1] & 1


def _text(step: Step) -> str:
    return _TEXTS.get(step.event, step.event.name).format(step)


def _label(arrow: _Arrow, step: Step) -> str:
    return f"{arrow.what} {step.offer.hex()[:4]}"


# ---------------------------------------------------------------- Mermaid


def mermaid(steps: Sequence[Step], names: Names = NAMES) -> str:
    """A sequence diagram in Mermaid's language. An arrow stands where it was heard."""
    sequence = _Sequence(steps)
    lines = ["sequenceDiagram"]
    lines += [f"    participant {'AB'[side]} as {_plain(names[side])}" for side in (0, 1)]
    for index, step in enumerate(steps):
        here, there = "AB"[_side(step)], "BA"[_side(step)]
        for arrow in sequence.arrows:
            if arrow.heard == index:
                lines.append(f"    {there}->>{here}: {_label(arrow, step)}")
        lines.append(f"    Note over {here}: {_text(step)}")
        for arrow in sequence.arrows:
            if arrow.sent == index and arrow.heard is None:
                lines.append(f"    {here}--x{there}: {_label(arrow, step)}")
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    """A name without what Mermaid reads as its own."""
    return "".join(c if c.isalnum() or c in " -_." else f"#{ord(c)};" for c in name)


# ---------------------------------------------------------------- SVG

_WIDTH = 720
_X = (220, 500)  # of the lifelines
_TOP = 64
_ROW = 34
_STYLE = (
    "text{font:13px sans-serif;fill:#222}"
    ".name{font-weight:bold;text-anchor:middle}.left{text-anchor:end}"
    ".what{font-size:11px;text-anchor:middle;fill:#1a4d8f;stroke:#fff;stroke-width:4px;"
    "paint-order:stroke}"
    ".life{stroke:#999;stroke-dasharray:3 4}.epoch{fill:#e3f1e3;stroke:#3a7d44}"
    ".arrow{stroke:#1a4d8f;fill:none;marker-end:url(#head)}"
    ".open{stroke:#b03a2e;fill:none;stroke-dasharray:5 4;marker-end:url(#lost)}"
)
_MARKERS = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0L8 4L0 8z" fill="#1a4d8f"/></marker>'
    '<marker id="lost" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="8" markerHeight="8">'
    '<path d="M1 1L7 7M7 1L1 7" stroke="#b03a2e"/></marker></defs>'
)


def svg(steps: Sequence[Step], names: Names = NAMES) -> str:
    """The same as a picture, in a file of its own: time runs down, one step in a row."""
    sequence = _Sequence(steps)
    height = _TOP + _ROW * len(steps) + 16
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
        f' height="{height}">',
        f"<title>Rekeying between {escape(names[0])} and {escape(names[1])}</title>",
        f"<style>{_STYLE}</style>",
        _MARKERS,
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for x, name in zip(_X, names):
        out.append(f'<text class="name" x="{x}" y="28">{escape(name)}</text>')
        out.append(f'<path class="life" d="M{x} 40V{height - 8}"/>')
    for arrow in sequence.arrows:
        out += _drawn(arrow, steps[arrow.sent])
    for index, step in enumerate(steps):
        out += _noted(step, _TOP + _ROW * index)
    return "\n".join([*out, "</svg>"]) + "\n"


def _drawn(arrow: _Arrow, step: Step) -> List[str]:
    start, end = _X[_side(step)], _X[1 - _side(step)]
    y = _TOP + _ROW * arrow.sent
    if arrow.heard is None:
        kind, end, below = "open", (start + end) // 2, y + _ROW // 2
    else:
        kind, below = "arrow", _TOP + _ROW * arrow.heard
    # A third of the way, so that the texts of crossing arrows lie apart.
    x, middle = start + (end - start) // 3, y + (below - y) // 3
    return [
        f'<path class="{kind}" d="M{start} {y}L{end} {below}"/>',
        f'<text class="what" x="{x}" y="{middle - 5}">{_label(arrow, step)}</text>',
    ]


def _noted(step: Step, y: int) -> List[str]:
    side = _side(step)
    x, anchor = (_X[0] - 14, "left") if side == 0 else (_X[1] + 14, "right")
    dot = f'<circle cx="{_X[side]}" cy="{y}" r="3" fill="#222"/>'
    text = f'<text class="{anchor}" x="{x}" y="{y + 4}">{escape(_text(step))}</text>'
    if step.event is not StepEvent.COMMITTED:
        return [dot, text]
    left = x - 86 if side == 0 else x - 6
    box = f'<rect class="epoch" x="{left}" y="{y - 11}" width="92" height="22" rx="4"/>'
    return [box, dot, text]
