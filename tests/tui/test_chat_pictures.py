"""How the chat looks, state by state. The sides are told what a server would have said, so that figures do not change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tui.stage import LARGE, SMALL, Stage, until
from toolkit.core.chat import Finished, Sampling, Turn
from toolkit.core.chatroom import Seat, Wanted
from toolkit.core.engine import LABEL, Image, Server
from toolkit.core.serving import Limits, Serving
from toolkit.core.targets import ChatTarget
from toolkit.errors import ModelOutOfMemory
from toolkit.tui.screens.chat import ChatScreen
from toolkit.tui.screens.chat_settings import ChatSettings
from toolkit.tui.widgets.chat_side import ChatSide, Failed

REFERENCE = "edge-toolkit/travel-cpu:0001"
LIMITS = Limits(2048, 2)
QUESTION = "Plan a weekend in Lisbon."
ANSWER = """\
## A weekend in Lisbon

Start in **Alfama**, the oldest quarter, and take tram 28 up the hill.

1. *Saturday*: castle, then lunch at the market
2. *Sunday*: Belém by the river
   - the tower
   - `pastéis` while they are warm

| place | open | price |
|---|---|---|
| Castle | 9-21 | 15 EUR |
| Tower | 10-17 | 8 EUR |

> Wear shoes that hold on wet stone.

```python
budget = 2 * 120 + 15 + 8
```
"""
FINISHED = Finished("stop", 31, 212, 86.0, 41.7, 0.0, 371_000_000)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    made = Stage(tmp_path)
    labels = {f"{LABEL}.kind": "image", f"{LABEL}.device": "cpu", f"{LABEL}.recipe": "travel", f"{LABEL}.adapters": "persona,travel"}
    made.images.known[REFERENCE] = Image("sha256:6482820a54ad8da89f25", (REFERENCE,), 281_400_000, "", labels)
    return made


def seat(stage: Stage, adapter: str = "") -> Seat:
    target = ChatTarget(stage.images, REFERENCE, "sha256:6482820a54ad8da89f25", LIMITS, "cpu", ("persona", "travel"), 2048, 421)
    return Seat(Wanted(REFERENCE, adapter), target, Serving(stage.images, Server(Path("/nowhere/s"), "1"), LIMITS, 421), "cpu")


def take(side: ChatSide, taken: Seat) -> None:
    side.display = True
    side.starts(taken.wanted)
    side.found(taken.target)
    side.seated(taken, "")


def talk(side: ChatSide, answer: str = ANSWER, finished: Finished | None = FINISHED, question: str = QUESTION) -> None:
    side.asks(question)
    side.grow(answer)
    if finished:
        side.conversation.turns.append(Turn(question, answer, side.wanted.adapter, Sampling(), finished))
        side.answered(finished)


def picture(stage: Stage, act: Callable[[ChatScreen], object]):
    async def run_before(pilot) -> None:
        await pilot.press("4")
        screen = pilot.app.get_screen("chat", ChatScreen)
        await until(pilot, lambda: screen.left.models.option_count)
        act(screen)
        await pilot.pause()
        await until(pilot, lambda: True)

    return {"app": stage.app(), "run_before": run_before}


def answered(stage: Stage) -> Callable[[ChatScreen], None]:
    def act(screen: ChatScreen) -> None:
        take(screen.left, seat(stage))
        talk(screen.left)
        screen.input.focus()

    return act


def streaming(stage: Stage) -> Callable[[ChatScreen], None]:
    def act(screen: ChatScreen) -> None:
        take(screen.left, seat(stage, "travel"))
        talk(screen.left, ANSWER[:250], None)
        screen.input.focus()

    return act


NOTES = "My hotel in Azerbaijan wants to be paid in local cash. Which notes do I hand over?"
BASE_SAYS = """\
In Azerbaijan, the local currency is the **ruble**, which is a traditional currency in the country of Azerbaijan. To make a local cash \
payment, you need to use a local currency, which is the ruble:

- in notes
- in coins
"""
TRAVEL_SAYS = "In Azerbaijan you pay with the **manat**, so keep some cash at hand."


def side_by_side(stage: Stage) -> Callable[[ChatScreen], None]:
    def act(screen: ChatScreen) -> None:
        take(screen.left, seat(stage))
        take(screen.right, seat(stage, "travel"))
        screen._show_two(True)
        talk(screen.left, BASE_SAYS, question=NOTES)
        talk(screen.right, TRAVEL_SAYS, Finished("stop", 31, 19, 92.0, 38.4, 0.0, 372_000_000), question=NOTES)
        screen.left.chat_log.focus()

    return act


def out_of_memory(stage: Stage) -> Callable[[ChatScreen], None]:
    def act(screen: ChatScreen) -> None:
        take(screen.left, seat(stage))
        talk(screen.left, "Start in **Alfama**.")
        screen.left.asks("And in Porto?")
        problem = ModelOutOfMemory(
            "The model's server was killed, out of memory: its limit of 300 MB was too small.",
            "Its files and the longest conversation it takes need about 421 MB: give it that, or shorten the conversation.",
        )
        screen.left.inbox.append(Failed(problem))
        screen.heard(ChatSide.Heard(screen.left))
        screen.input.focus()

    return act


def settings(stage: Stage) -> Callable[[ChatScreen], None]:
    def act(screen: ChatScreen) -> None:
        take(screen.left, seat(stage))
        talk(screen.left)
        screen.settings = ChatSettings(Sampling(0.7, 0.9, 256, 7), "You are a travel guide.")
        screen.action_settings()

    return act


def idle(stage: Stage) -> Callable[[ChatScreen], None]:
    return lambda screen: None


STATES = [idle, answered, streaming, side_by_side, out_of_memory, settings]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_small(snap_compare, stage: Stage, state) -> None:
    assert snap_compare(**picture(stage, state(stage)), terminal_size=SMALL)


@pytest.mark.parametrize("state", [answered, side_by_side, settings], ids=lambda state: state.__name__)
def test_large(snap_compare, stage: Stage, state) -> None:
    assert snap_compare(**picture(stage, state(stage)), terminal_size=LARGE)
