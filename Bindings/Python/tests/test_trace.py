# SPDX-License-Identifier: Apache-2.0
"""The steps of rekeying that a store tells, and the pictures of them."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Tuple
from xml.etree import ElementTree

import pytest

from doubles import SECOND, Time, refused
from pairs import Pair
from pawl import Constructor, RawKey, Status, Step, StepEvent, Store, trace

SVG = "{http://www.w3.org/2000/svg}"
ROOT = Path(__file__).parents[3]
ARTICLES = ROOT / "Sources/Pawl/Pawl.docc"


@pytest.fixture
def pair(store: Store, clock: Time) -> Iterator[Pair]:
    with Store.memory(key=RawKey.generate(), clock=clock) as other:
        yield Pair(store, other)


def told(steps: List[Step]) -> List[Tuple[int, str]]:
    """Which side (0: the initiator), and what."""
    return [(step.session[-1] & 1, step.event.name) for step in steps]


# ---------------------------------------------------------------- steps


def test_steps(pair: Pair) -> None:
    ours, theirs = pair.connect()
    steps = trace.collect(pair.store, pair.other)
    pair.store.rekey(ours)
    pair.pump()
    assert told(steps) == [(0, "OFFERED"), (1, "ANSWERED"), (0, "COMMITTED"), (1, "COMMITTED")]
    assert [step.session for step in steps] == [ours, theirs, ours, theirs]
    assert [(step.before, step.after) for step in steps] == [(0, 0), (0, 0), (0, 1), (0, 1)]
    assert {step.target for step in steps} == {1}
    (offer,) = {step.offer for step in steps}
    assert len(offer) == 16 and any(offer)
    made = [step.constructor for step in steps]
    none = Constructor.NONE
    assert made == [Constructor.CREATED, none, Constructor.USED, none]
    assert pickle.loads(pickle.dumps(steps)) == steps and hash(steps[0]) != hash(steps[1])


def test_what_is_rolled_back_is_not_told(pair: Pair) -> None:
    ours, _ = pair.connect()
    steps = trace.collect(pair.store)
    with pytest.raises(ZeroDivisionError), pair.store.batch() as batch:
        batch.rekey(ours)
        raise ZeroDivisionError
    assert steps == []
    with pair.store.batch() as batch:
        batch.rekey(ours)
        assert steps == []
    assert told(steps) == [(0, "OFFERED")]


def test_a_trace_ends(pair: Pair) -> None:
    ours, _ = pair.connect()
    first, second = trace.collect(pair.store), trace.collect(pair.store)
    pair.store.rekey(ours)
    pair.pump()
    assert first == [] and told(second) == [(0, "OFFERED"), (0, "COMMITTED")]
    pair.store.trace(None)
    pair.store.rekey(ours)
    pair.pump()
    assert len(second) == 2


@pytest.mark.parametrize("with_clock", [True, False])
def test_a_tracer_raises(clock: Time, with_clock: bool) -> None:
    """The call raises it, and did its work; calls that take no step raise nothing."""
    with Store.memory(key=RawKey.generate(), clock=clock if with_clock else None) as store:
        raises(Pair(store))


def raises(pair: Pair) -> None:
    ours, _ = pair.connect()

    def tracer(step: Step) -> None:
        raise ZeroDivisionError

    pair.store.trace(tracer)
    with pytest.raises(ZeroDivisionError):
        pair.store.rekey(ours)
    assert pair.store.session(ours).target == 1
    pair.store.trace(None)
    pair.pump()
    assert pair.store.session(ours).epoch == 1


def test_a_tracer_may_not_call_the_store(pair: Pair) -> None:
    ours, _ = pair.connect()
    asked: List[Step] = []

    def tracer(step: Step) -> None:
        with refused(Status.BUSY_REENTERED):
            pair.store.session(ours)
        with refused(Status.BUSY_REENTERED):
            pair.store.trace(lambda step: None)
        gc.collect()
        asked.append(step)

    pair.store.trace(tracer)
    pair.store.rekey(ours)
    pair.pump()
    assert told(asked) == [(0, "OFFERED"), (0, "COMMITTED")]


# ---------------------------------------------------------------- pictures


def crossed(pair: Pair) -> Tuple[bytes, List[Step]]:
    ours, theirs = pair.connect()
    steps = trace.collect(pair.store, pair.other)
    pair.store.rekey(ours)
    pair.other.rekey(theirs)
    pair.pump()
    assert pair.store.session(ours).epoch == pair.other.session(theirs).epoch == 1
    return ours, steps


def step(side: int, event: StepEvent, offer: bytes = b"\xab" * 16, after: int = 0) -> Step:
    used = event is StepEvent.COMMITTED and side == 0
    made = Constructor.USED if used else Constructor.NONE
    return Step(event, bytes(15) + bytes([side]), offer, 0, after, 1, made)


ROUND = [
    step(0, StepEvent.OFFERED),
    step(1, StepEvent.ANSWERED),
    step(0, StepEvent.COMMITTED, after=1),
    step(1, StepEvent.COMMITTED, after=1),
]


def test_mermaid_of_a_round() -> None:
    assert trace.mermaid(ROUND, ("Ada", "B;ob\n#")) == (
        "sequenceDiagram\n"
        "    participant A as Ada\n"
        "    participant B as B#59;ob#10;#35;\n"
        "    Note over A: asks for epoch 1\n"
        "    A->>B: offer abab\n"
        "    Note over B: answers\n"
        "    B->>A: answer abab\n"
        "    Note over A: epoch 1\n"
        "    A->>B: finish abab\n"
        "    Note over B: epoch 1\n"
    )


def arrows(steps: List[Step]) -> List[Tuple[str, int, object]]:
    return [(arrow.what, arrow.sent, arrow.heard) for arrow in trace._Sequence(steps).arrows]


def test_arrows() -> None:
    """What was said again before it was heard was lost the first time."""
    offered, answered, _, committed = ROUND
    again, repeated = step(0, StepEvent.RETRIED), step(1, StepEvent.REPEATED)
    ours, theirs = (step(side, StepEvent.OFFERED, bytes([side]) * 16) for side in (0, 1))
    leads = step(0, StepEvent.LEADS, theirs.offer)
    yields = step(1, StepEvent.YIELDS, ours.offer)
    busy, later = step(1, StepEvent.REFUSED), step(0, StepEvent.POSTPONED)
    late = step(1, StepEvent.RETRIED)
    assert arrows(ROUND) == [("offer", 0, 1), ("answer", 1, 2), ("finish", 2, 3)]
    assert arrows(ROUND[:2]) == [("offer", 0, 1), ("answer", 1, None)]
    assert arrows([offered, again, answered]) == [
        ("offer", 0, None),
        ("offer", 1, 2),
        ("answer", 2, None),
    ]
    assert arrows([offered, answered, again])[::2] == [("offer", 0, 1), ("offer", 2, None)]
    both = [offered, again, answered, repeated]
    assert arrows(both)[:2] == [("offer", 0, 2), ("offer", 1, 3)]
    assert arrows([offered, answered, repeated])[:2] == [("offer", 0, 1), ("offer", 0, 2)]
    assert arrows([ours, theirs, leads, yields]) == [
        ("offer", 0, 3),
        ("offer", 1, 2),
        ("answer", 3, None),
    ]
    assert arrows([offered, busy, later]) == [("offer", 0, 1), ("busy", 1, 2)]
    assert arrows([*ROUND[:3], late, step(0, StepEvent.REPEATED), committed])[2:] == [
        ("finish", 2, None),
        ("answer", 3, 4),
        ("finish", 4, 5),
    ]
    stale = [*ROUND, late, step(0, StepEvent.STALE)]
    assert arrows(stale)[3:] == [("answer", 4, 5)]
    assert arrows([step(0, StepEvent.CLOSED)]) == [] == arrows([])
    assert "closed by the peer" in trace.svg([step(0, StepEvent.CLOSED)])


def test_pictures_of_a_crossed_round(pair: Pair) -> None:
    ours, steps = crossed(pair)
    names = {step.event.name for step in steps}
    assert {"LEADS", "YIELDS", "COMMITTED"} <= names
    found = arrows(trace.of(ours, steps))
    assert sorted(what for what, _, _ in found) == ["answer", "finish", "offer", "offer"]
    assert all(heard is not None for _, _, heard in found)
    drawn = trace.svg(steps, ("a<da", "b&b"))
    assert drawn == trace.svg(list(steps), ("a<da", "b&b"))
    root = ElementTree.fromstring(drawn)
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts[:2] == ["a<da", "b&b"] and texts.count("epoch 1") == 2
    assert sum(path.get("class") == "arrow" for path in root.iter(f"{SVG}path")) == 4
    assert len(list(root.iter(f"{SVG}circle"))) == len(steps)
    height = float(root.get("height", ""))
    assert all(float(text.get("y", "")) < height for text in root.iter(f"{SVG}text"))
    assert "http" not in drawn.replace(SVG[1:-1], "")  # of its own
    assert trace.mermaid(steps).count("->>") == 4


def test_lost_frames_are_open_arrows(pair: Pair, clock: Time) -> None:
    ours, _ = pair.connect()
    steps = trace.collect(pair.store, pair.other)
    pair.store.rekey(ours)
    pair.pump(lambda item: True)
    clock.now += SECOND
    pair.pump()
    assert told(steps)[:3] == [(0, "OFFERED"), (0, "RETRIED"), (1, "ANSWERED")]
    root = ElementTree.fromstring(trace.svg(steps))
    kinds = [path.get("class") for path in root.iter(f"{SVG}path")]
    assert (kinds.count("open"), kinds.count("arrow")) == (1, 3)
    assert trace.mermaid(steps).count("--x") == 1


def test_one_session_at_a_time(pair: Pair) -> None:
    steps = trace.collect(pair.store, pair.other)
    sessions = [pair.connect()[0] for _ in range(2)]
    for session in sessions:
        pair.store.rekey(session)
        pair.pump()
    apart = [trace.of(session, steps) for session in sessions]
    assert apart[0] + apart[1] == steps and [len(part) for part in apart] == [4, 4]
    for render in (trace.mermaid, trace.svg):
        with pytest.raises(ValueError):
            render(steps)
        assert render(apart[1]) != render([])

# ---------------------------------------------------------------- the documentation


def test_the_picture_in_the_documentation(tmp_path: Path) -> None:
    """It is what the example draws today, and shows what the text says."""
    drawn = tmp_path / "rekey.svg"
    command = [sys.executable, str(ROOT / "Bindings/Python/examples/draw_rekey.py"), str(drawn)]
    mermaid = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert drawn.read_text() == (ARTICLES / "Resources/rekey.svg").read_text()
    assert f"```mermaid\n{mermaid}```" in (ARTICLES / "Rekeying.md").read_text()
    texts = [text.text or "" for text in ElementTree.parse(drawn).iter(f"{SVG}text")]
    assert texts[:2] == ["Ada", "Bob"] and texts.count("epoch 1") == 2
    assert {"crossed: leads", "crossed: yields, answers", "nothing came: again"} <= set(texts)
    lost = [line.split(": ")[1].split()[0] for line in mermaid.splitlines() if "--x" in line]
    assert sorted(lost) == ["answer", "finish", "offer"]
