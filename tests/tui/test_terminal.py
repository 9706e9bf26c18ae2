"""`edge` in real terminals: every place, every size, and the terminal given back as it was, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import desk  # noqa: F401  fixture
from tests.cli.desk import Desk, until
from tests.services.fixtures import missing
from tests.terminal import Terminal
from tests.tmux import Tmux
from toolkit.tui.places import PLACES

UNTOUCHED = {"cursor_flag": "1", "alternate_on": "0", "mouse_any_flag": "0", "mouse_sgr_flag": "0"}


@pytest.fixture
def tmux(desk: Desk) -> Iterator[Tmux]:  # noqa: F811
    """A shell in tmux that knows `edge` by that name."""
    if not shutil.which("tmux"):
        missing("tmux", "run tests/services/up.sh as root")
    with Tmux(desk.folder, desk.environ(EDGE_THEME="dark")) as session:
        session.type(f'edge() {{ {" ".join(desk.argv())} "$@"; }}\n')
        yield session


@pytest.fixture
def edge(desk: Desk) -> Iterator[Terminal]:  # noqa: F811
    """`edge`, open."""
    with Terminal(desk.argv(), desk.environ(EDGE_THEME="dark")) as opened:
        opened.wait_for("6 Doctor")
        yield opened


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_the_whole_of_edge_in_tmux_and_the_terminal_as_it_was_afterwards(tmux: Tmux) -> None:
    assert tmux.state() == UNTOUCHED
    tmux.type('was=$(stty -g); edge; echo code=$?; [ "$was" = "$(stty -g)" ] && echo sa\'\'me\n')
    for place in PLACES:
        tmux.press(place.key)
        tmux.wait_for(f"{place.key}[{place.title}]")
    assert tmux.state()["alternate_on"] == "1"
    tmux.resize(120, 40)
    tmux.wait_for(lambda text: len(text.rstrip("\n").splitlines()) == 40 and "[Doctor]" in text)
    tmux.resize(40, 10)
    tmux.wait_for("This window is 40x10.")
    tmux.resize(80, 24)
    tmux.wait_for("6[Doctor]")
    tmux.press("C-q")
    tmux.wait_for("same")
    assert "code=0" in tmux.text
    assert tmux.state() == UNTOUCHED


def test_being_ended_by_a_signal_gives_the_terminal_back(tmux: Tmux) -> None:
    tmux.type('was=$(stty -g); edge & fg; [ "$was" = "$(stty -g)" ] && echo sa\'\'me\n')
    tmux.wait_for("6 Doctor")
    pane = int(tmux.ask("display-message", "-p", "#{pane_pid}"))
    os.kill(child_of(pane), signal.SIGTERM)
    tmux.wait_for("same")
    assert tmux.state() == UNTOUCHED


def child_of(pid: int) -> int:
    """The newest child's newest child, and so on: who has the terminal."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return child_of(int(children[-1])) if children else pid


def test_a_window_too_small_is_told_until_it_is_large_enough(edge: Terminal) -> None:
    edge.resize(40, 10)
    edge.wait_for("This window is 40x10.")
    edge.press("3")
    edge.resize(50, 12)
    edge.wait_for("This window is 50x12.")
    edge.resize(80, 24)
    edge.wait_for("1[Runs]")


def test_a_window_too_small_from_the_start_is_told_too_and_can_be_left(desk: Desk) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(NO_COLOR="1"), size=(30, 8)) as terminal:
        terminal.wait_for("This window is 30x8.")
        assert "Runs" not in terminal.text
        terminal.press("ctrl+q")
        assert terminal.wait_for_end() == 0


def test_quitting_works_over_a_dialog_too(edge: Terminal) -> None:
    edge.press("?")
    edge.wait_for("Keys here")
    edge.press("ctrl+q")
    assert edge.wait_for_end() == 0


def test_a_terminal_that_hangs_up_leaves_no_process(edge: Terminal) -> None:
    edge.hang_up()
    assert edge.wait_for_end() == 128 + signal.SIGHUP


def test_a_terminal_that_hangs_up_on_nohup_leaves_no_process_either(desk: Desk) -> None:  # noqa: F811
    deaf = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *desk.argv()]
    with Terminal(deaf, desk.environ()) as terminal:
        terminal.wait_for("6 Doctor")
        terminal.hang_up()
        assert terminal.wait_for_end() == 128 + signal.SIGHUP


def test_quitting_waits_for_no_engine_and_leaves_the_run_alone(desk: Desk) -> None:  # noqa: F811
    run = desk.run_until_it_waits()
    with socket.socket(socket.AF_UNIX) as deaf_engine:
        deaf_engine.bind(str(desk.folder / "engine.sock"))
        deaf_engine.listen()
        with Terminal(desk.argv(), desk.environ(DOCKER_HOST=f"unix://{desk.folder / 'engine.sock'}")) as terminal:
            terminal.wait_for("6 Doctor")
            terminal.press("3", "6")  # places that ask the engine
            terminal.wait_for("6[Doctor]")
            terminal.press("ctrl+q")
            assert terminal.wait_for_end(5) == 0
    assert run.is_locked()
    desk.gate.touch()
    until(lambda: run.state().status == "finished")


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_is_refused_with_the_way_out(desk: Desk, term: str) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(TERM=term)) as terminal:
        terminal.wait_for("cannot show the terminal UI")
        terminal.wait_for("TERM=xterm-256color edge")
        assert terminal.wait_for_end() == 1
    assert "Traceback" not in terminal.text


def test_in_a_locale_of_ascii_lines_become_dashes_and_nothing_crashes(desk: Desk) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(PYTHONIOENCODING="ascii")) as terminal:
        terminal.wait_for("6 Doctor")
        terminal.press("ctrl+p")
        terminal.wait_for("+----")
        assert terminal.text.isascii()
        assert "\\u" not in terminal.text


def test_the_locale_c_is_no_reason_to_fail(desk: Desk) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(LANG="C", LC_ALL="C")) as terminal:
        terminal.wait_for("6 Doctor")
        terminal.press("ctrl+p")
        terminal.wait_for("┌")


def test_without_colours_no_colour_is_sent_and_the_chosen_line_still_shows(desk: Desk) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(NO_COLOR="1")) as terminal:
        terminal.wait_for("6 Doctor")
        terminal.press("ctrl+p")
        terminal.wait_for("Go to Chat")
        terminal.press("down", "down")
        terminal.wait_for(lambda _: terminal.cells("reverse"))
        assert terminal.colours() == {"default"}


def is_mixed(colour: str) -> bool:
    """True for a colour of one's own, such as 0f141a; False for `red`, `brightblack`, `default`."""
    return len(colour) == 6 and all(char in "0123456789abcdef" for char in colour)


def test_sixteen_colours_where_the_terminal_has_no_more(desk: Desk) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(TERM="linux", COLORTERM="")) as terminal:
        terminal.wait_for("6 Doctor")
        assert len(terminal.colours()) > 1
        assert not any(is_mixed(colour) for colour in terminal.colours())


def test_true_colour_where_the_terminal_says_so(desk: Desk) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(TERM="xterm-256color", COLORTERM="truecolor", EDGE_THEME="dark")) as terminal:
        terminal.wait_for("6 Doctor")
        terminal.wait_for(lambda _: "0f141a" in terminal.colours())


def test_a_light_background_brings_the_light_theme(desk: Desk) -> None:  # noqa: F811
    with Terminal(desk.argv(), desk.environ(COLORFGBG="0;15")) as terminal:
        terminal.wait_for("6 Doctor")
        terminal.wait_for(lambda _: "ffffff" in terminal.colours())
        terminal.press("ctrl+t")
        terminal.wait_for(lambda _: "0f141a" in terminal.colours())
