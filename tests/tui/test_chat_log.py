"""The log of a chat: what it follows, and what Markdown it draws."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from tests.tui.stage import until
from toolkit.tui.widgets.chat_log import ChatLog
from toolkit.tui.widgets.chat_markdown import AnswerText, Look


class LogApp(App[None]):
    def compose(self) -> ComposeResult:
        yield ChatLog()


def drawn(source: str, width: int = 60, step: int = 0) -> str:
    """What one reads of Markdown; with `step`, as if it had come in pieces of so many characters."""
    answer, look = AnswerText(), Look(width)
    for start in range(0, len(source), step or len(source)):
        answer.grow(source[start : start + (step or len(source))])
        lines = answer.lines(look)
    assert all(strip.cell_length <= width for strip in lines)
    return "\n".join(strip.text for strip in lines).strip()


PAGE = """\
# Title

A *paragraph* with `code` and **more**.

1. one
2. two
   - nested
3. three

> quoted

```python
x = 1
```

| a | b |
|---|---|
| 1 | 2 |

The end.
"""


@pytest.mark.parametrize("step", [1, 7, 50])
def test_an_answer_in_pieces_looks_as_if_it_had_come_whole(step: int) -> None:
    assert drawn(PAGE, step=step) == drawn(PAGE)
    assert "3 three" in drawn(PAGE) and "• nested" in drawn(PAGE)


def test_code_that_is_drawn_in_parts_loses_no_line() -> None:
    code = "".join(f"line_{number} = {number}\n" for number in range(200))
    shown = drawn(f"```python\n{code}```\n\nafter", step=100)
    assert [f"line_{number} = {number}" in shown for number in range(200)] == [True] * 200
    assert "```" not in shown and shown.endswith("after")


@pytest.mark.parametrize("source", [">" * 100 + " deep", "- " * 60 + "deep", "|deep" * 60 + "|\n" + "|-" * 60 + "|", "deep" * 2000])
@pytest.mark.parametrize("width", [10, 39, 78])
def test_what_does_not_fit_is_shown_as_it_was_written(source: str, width: int) -> None:
    assert "deep" in drawn(source, width).replace("\n", "")


def test_tags_links_and_images_are_only_text() -> None:
    shown = drawn("<b>bold</b> [link](http://a.test) ![picture](http://b.test)")
    assert "<b>bold</b>" in shown and "link (http://a.test)" in shown and "picture" in shown


async def test_the_log_follows_the_end_until_one_scrolls_away() -> None:
    async with LogApp().run_test(size=(40, 10)) as pilot:
        log = pilot.app.query_one(ChatLog)
        log.add_question("?")
        log.grow("".join(f"line {number}\n\n" for number in range(30)))
        await until(pilot, lambda: log.is_vertical_scroll_end and log.max_scroll_y > 10)
        log.scroll_home(animate=False)
        await until(pilot, lambda: log.scroll_y == 0)
        log.grow("more\n\n" * 10)
        await pilot.pause()
        assert log.scroll_y == 0
        log.scroll_end(animate=False)
        await until(pilot, lambda: log.is_vertical_scroll_end)
        log.grow("still more\n\n" * 10)
        await until(pilot, lambda: log.is_vertical_scroll_end)


async def test_a_long_chat_is_laid_out_anew_from_its_end() -> None:
    async with LogApp().run_test(size=(80, 24)) as pilot:
        log = pilot.app.query_one(ChatLog)
        for number in range(300):
            log.add_question(f"question {number}")
            log.grow(PAGE)
            log.add_figures("1 token")
        await pilot.resize_terminal(60, 24)
        await until(pilot, lambda: not log._first_kept)
        assert log.text.count("> question") == 300 and log.text.count("The end.") == 300
        assert log.is_vertical_scroll_end
        log.take_back()
        await until(pilot, lambda: not log._first_kept)
        assert "question 299" not in log.text and log.text.count("> question") == 299


async def test_a_question_is_cut_only_on_the_screen() -> None:
    async with LogApp().run_test(size=(80, 24)) as pilot:
        log = pilot.app.query_one(ChatLog)
        log.add_question("x" * 100_000)
        await pilot.pause()
        assert "100,000 characters in all" in log.text and len(log.text) < 6000
