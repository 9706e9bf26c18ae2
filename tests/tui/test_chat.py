"""The chat screen, with real servers behind it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import STUB
from tests.tui.chat_stage import ChatStage, ask, screen_of, seated
from tests.tui.stage import LARGE, SMALL, text_of, until
from toolkit.core.chatroom import Wanted
from toolkit.tui.pace import SLOW
from toolkit.tui.widgets.chat_side import ANSWERING, ENDED, READY


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatStage]:
    (tmp_path / "alive").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(STUB))
    monkeypatch.setenv("STUB_ALIVE", str(tmp_path / "alive"))
    yield ChatStage(tmp_path)


async def test_an_answer_streams_in_and_says_what_it_took(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await seated(pilot, stage.packaged())
        assert "on CPU" in text_of(pilot.app)
        await ask(pilot, "say: **hello** there")
        assert "hello there" in text_of(pilot.app)
        assert "tokens/s, 3 tokens" in text_of(pilot.app) and "MB, complete" in text_of(pilot.app)


async def test_the_first_words_show_while_the_rest_is_being_made(stage: ChatStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_DELAY", "0.02")
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        screen.input.give("count")
        await pilot.press("enter")
        await until(pilot, lambda: "1 2 3" in text_of(pilot.app))
        assert screen.left.state == ANSWERING


async def test_a_model_is_chosen_from_the_list_of_what_is_packaged(stage: ChatStage) -> None:
    run = stage.packaged()
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "+ travel" in text_of(pilot.app))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: screen_of(pilot).left.state == READY)
        assert screen_of(pilot).left.wanted == Wanted(run.id, "travel")
        await ask(pilot, "say: hi")
        assert screen_of(pilot).left.turns[0].answer == "travel hi "


async def test_an_answer_is_stopped_at_once_and_kept_as_far_as_it_came(stage: ChatStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_DELAY", "0.05")
    monkeypatch.setenv("EDGE_REUSE", "0")  # or the server keeps what it has for the next turn
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        screen.input.give("count")
        await pilot.press("enter")
        await until(pilot, lambda: "1 2" in text_of(pilot.app))
        await pilot.press("ctrl+g")
        await until(pilot, lambda: screen.left.state == READY)
        assert screen.left.turns[0].finished.reason == "stopped" and screen.left.turns[0].answer.startswith("1 2")
        await until(pilot, lambda: not list((stage.folder / "alive").iterdir()))  # the server has let go of it too


async def test_stopping_before_the_first_word_gives_the_question_back(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        screen.input.give("say: pause")
        await pilot.press("enter")
        await until(pilot, lambda: screen.left.state == ANSWERING)
        await pilot.press("escape")
        await until(pilot, lambda: screen.left.state == READY)
        assert screen.input.text == "say: pause" and screen.left.turns == []


async def test_an_answer_is_made_again(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: once")
        await pilot.press("ctrl+r")
        await until(pilot, lambda: screen.left.state == READY and len(screen.left.turns) == 1)
        assert text_of(pilot.app).count("> say: once") == 1


async def test_the_last_question_is_edited_and_sent_again(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: salt")
        await pilot.press("ctrl+l")
        assert screen.input.text == "say: salt" and len(screen.left.turns) == 1
        await pilot.press("x", "enter")
        await until(pilot, lambda: screen.left.state == READY and screen.left.turns[0].question == "say: saltx")
        assert len(screen.left.turns) == 1
        assert screen.left.turns[0].question == "say: saltx"
        assert "> say: salt\n" not in text_of(pilot.app)


async def test_base_and_adapter_answer_side_by_side_from_one_server(stage: ChatStage) -> None:
    run = stage.packaged()
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, run)
        await pilot.press("escape", "d")
        await until(pilot, lambda: "Talk with:" in text_of(pilot.app))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: screen.right.state == READY)
        assert screen.left.seat.serving is screen.right.seat.serving
        await ask(pilot, "say: hi")
        assert (screen.left.turns[0].answer, screen.right.turns[0].answer) == ("hi ", "travel hi ")
        await pilot.press("escape", "d")
        await until(pilot, lambda: "Close the right side?" in text_of(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: screen.sides == [screen.left])
        await pilot.press("t")
        await until(pilot, lambda: "Sampling, and limits" in text_of(pilot.app))  # the keys of the conversation still work
        assert screen.input.text == ""


async def test_an_adapter_that_is_not_there_is_told(stage: ChatStage) -> None:
    run = stage.packaged()
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, run)
        screen._start(screen.left, Wanted(run.id, "cooking"))
        await until(pilot, lambda: "There is no adapter 'cooking'" in text_of(pilot.app))
        assert "museum, travel" in text_of(pilot.app) and screen.left.state == ENDED


async def test_a_killed_server_gives_the_question_back_and_is_started_again(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: before")
        screen.input.give("say: half an answer pause")
        await pilot.press("enter")
        await until(pilot, lambda: "half an answer" in screen.left.chat_log.text.partition("pause")[2])
        os.kill(int(screen.left.seat.serving.server.handle), signal.SIGKILL)
        await until(pilot, lambda: screen.left.state == ENDED)
        assert "ended in the middle of the answer with exit code -9: it was killed" in " ".join(text_of(pilot.app).split())
        assert screen.input.text == "say: half an answer pause"
        screen.input.give("say: after")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: screen.left.state == READY)
        assert "Start again" not in text_of(pilot.app)
        await ask(pilot, "say: after")
        assert [turn.answer for turn in screen.left.turns] == ["before ", "after "]


async def test_a_prompt_longer_than_the_context_is_told_with_both_numbers_and_given_back(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        long = "word " * 250
        screen.input.give(long)
        await pilot.press("enter")
        await until(pilot, lambda: "251 tokens long" in text_of(pilot.app))
        assert "may be 200" in text_of(pilot.app)
        assert screen.left.state == READY and screen.input.written == long and screen.left.turns == []


async def test_a_paste_of_100_kb_goes_in_folded_and_is_told_to_be_too_long(stage: ChatStage) -> None:
    from textual import events

    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        pasted = "0123456789" * 10_240
        screen.input.post_message(events.Paste(pasted))
        await until(pilot, lambda: "102,400 characters" in text_of(pilot.app))
        assert screen.input.written == pasted
        assert "about 25,600 tokens" in text_of(pilot.app)


async def test_a_pasted_text_keeps_its_lines(stage: ChatStage) -> None:
    from textual import events

    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        screen.input.post_message(events.Paste("say: one\r\ntwo"))
        await until(pilot, lambda: screen.input.text == "say: one\ntwo")
        await pilot.press("ctrl+j", "x", "enter")
        await until(pilot, lambda: screen.left.turns)
        assert screen.left.turns[0].question == "say: one\ntwo\nx"


async def test_control_characters_of_a_model_are_drawn_harmlessly(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: \x1b[2J\x07red \u202elivet\u202c \u05e9\u05dc\u05d5\u05dd <b>bold</b> [x](http://y)")
        shown = text_of(pilot.app)
        assert "[2Jred <U+202E>livet<U+202C> \u05e9\u05dc\u05d5\u05dd <b>bold</b>" in shown
        strips = pilot.app.screen._compositor.render_strips()
        drawn = "".join(segment.text for strip in strips for segment in strip)
        assert not {"\x1b", "\x07", "\u202e", "\u202c"} & set(drawn)
        assert not [s for strip in strips for s in strip if s.style and s.style.link]
        assert screen.left.state == READY


async def test_leaving_the_screen_keeps_the_answer_coming(stage: ChatStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_DELAY", "0.02")
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        screen.input.give("count")
        await pilot.press("enter")
        await until(pilot, lambda: "1 2" in text_of(pilot.app))
        await pilot.press("escape")  # stops it; asked again below
        await until(pilot, lambda: screen.left.state == READY)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: screen.left.state == ANSWERING)
        pilot.app.action_go("home")
        await until(pilot, lambda: len(screen.left.turns) == 1 and screen.left.turns[0].finished.reason == "length")
        pilot.app.action_go("chat")
        await until(pilot, lambda: "cut at" in text_of(pilot.app))
        assert screen.left.state == READY


async def test_quitting_in_the_middle_of_an_answer_ends_the_server(stage: ChatStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_DELAY", "0.05")
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        serving = screen.left.seat.serving
        screen.input.give("count")
        await pilot.press("enter")
        await until(pilot, lambda: "1 2" in text_of(pilot.app))
    from tests.containers.runtime.conftest import until as so

    so(lambda: not serving.is_served)


async def test_settings_change_the_sampling_and_refuse_what_is_impossible(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await pilot.press("escape", "t")
        await until(pilot, lambda: "Sampling, and limits" in text_of(pilot.app))
        dialog = pilot.app.screen
        dialog.query_one("#temperature").value = "5"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "! Temperature: 0 to 2" in text_of(pilot.app))
        dialog.query_one("#temperature").value = "0.7"
        dialog.query_one("#max_tokens").value = "3"
        dialog.query_one("#seed").value = "7"
        dialog.query_one("#system").value = "Be brief."
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "temperature 0.7, top-p 1, at most 3 tokens, seed 7" in text_of(pilot.app))
        await ask(pilot, "count")
        assert screen.left.turns[0].answer == "1 2 3 " and screen.left.turns[0].finished.prompt_tokens == 5


async def test_other_limits_start_the_model_again_with_the_conversation_as_it_was(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: hi")
        first = screen.left.seat.serving
        await pilot.press("escape", "t")
        await until(pilot, lambda: "Sampling, and limits" in text_of(pilot.app))
        pilot.app.screen.query_one("#memory_mb").value = "512"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: screen.left.state == READY and screen.left.seat.serving is not first)
        assert "512 MB" in text_of(pilot.app) and len(screen.left.turns) == 1
        await until(pilot, lambda: not first.is_served)


async def test_the_chat_is_saved_as_markdown(stage: ChatStage) -> None:
    run = stage.packaged()
    async with stage.app().run_test(size=SMALL) as pilot:
        await seated(pilot, run)
        await ask(pilot, "say: hello there")
        await pilot.press("escape", "s")
        await until(pilot, lambda: "Save the conversation as:" in text_of(pilot.app))
        pilot.app.screen.query_one("Input").value = str(stage.folder / "kept" / "chat.md")
        await pilot.press("enter")
        await until(pilot, (stage.folder / "kept" / "chat.md").exists)
        page = (stage.folder / "kept" / "chat.md").read_text()
        assert f"## {run.id}, base" in page and "> say: hello there\n\nhello there" in page and "3 tokens" in page and "greedy" in page


async def test_an_answer_and_the_whole_chat_are_copied(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL, notifications=True) as pilot:
        await seated(pilot, stage.packaged())
        await ask(pilot, "say: hello")
        await pilot.press("escape", "y")
        assert pilot.app.clipboard == "hello "
        await until(pilot, lambda: "if this terminal lets programs copy" in " ".join(text_of(pilot.app).split()))
        await pilot.press("Y")
        assert "### To the base" in pilot.app.clipboard


async def test_a_prompt_file_is_asked_of_both_sides(stage: ChatStage) -> None:
    run = stage.packaged()
    (stage.folder / "p.jsonl").write_text('{"prompt": "say: one"}\n\n{"prompt": "say: two"}\n' + json.dumps({"prompt": "word " * 250}))
    async with stage.app().run_test(size=LARGE) as pilot:
        screen = await seated(pilot, run)
        screen.right.display = True
        screen._start(screen.right, Wanted(run.id, "travel"))
        await until(pilot, lambda: screen.right.state == READY)
        await pilot.press("escape", "b")
        await until(pilot, lambda: "Ask the prompts" in text_of(pilot.app))
        pilot.app.screen.query_one("Input").value = str(stage.folder / "p.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: "6 answers. Written to" in text_of(pilot.app))
        assert f"{run.id}@travel: 2 answers, 1 refused" in text_of(pilot.app)
        assert "Esc Back" in text_of(pilot.app) and "Stop and go back" not in text_of(pilot.app)
        await pilot.press("y")
        assert f"3\t{run.id}@travel\t" in pilot.app.clipboard and "say: two\ttravel two\n" in pilot.app.clipboard
        [kept] = (stage.settings.home / "chats").glob("*-p.jsonl")
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
        assert [row["answer"] for row in rows[:4]] == ["one ", "travel one ", "two ", "travel two "]
        assert "251 tokens" in rows[4]["problem"] and rows[0]["figures"]["tokens"] == 2 and rows[2]["line"] == 3
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)


async def test_a_new_conversation_begins_empty(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: hello")
        await pilot.press("ctrl+n")
        await until(pilot, lambda: "Begin a new conversation?" in text_of(pilot.app))
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert len(screen.left.turns) == 1
        await pilot.press("escape", "ctrl+n", "y")
        await until(pilot, lambda: not screen.left.turns and pilot.app.screen is screen)
        [kept] = (stage.settings.home / "chats").glob("*.md")
        assert "say: hello" in kept.read_text()
        await ask(pilot, "say: again")
        assert "hello" not in screen.left.chat_log.text and screen.left.turns[0].finished.prompt_tokens == 3


async def test_a_chat_survives_a_resize(stage: ChatStage) -> None:
    stage.max_length = 4000
    async with stage.app().run_test(size=LARGE) as pilot:
        screen = await seated(pilot, stage.packaged())
        for number in range(6):
            await ask(pilot, f"say: answer {number} " + "word " * 60)
        for size in ((100, 30), SMALL, LARGE):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda: "answer 5" in text_of(pilot.app) and screen.left.chat_log._first_kept == 0)
            widest = max(strip.cell_length for strip in screen.left.chat_log._shown)
            assert widest <= size[0] and screen.left.chat_log.text.count("answer 0") == 2


async def test_a_slow_connection_gets_the_same_answer(stage: ChatStage) -> None:
    async with stage.app(SLOW).run_test(size=SMALL) as pilot:
        await seated(pilot, stage.packaged())
        await ask(pilot, "say: hello there")
        assert "hello there" in text_of(pilot.app)


async def test_the_end_of_the_engine_is_told_and_the_question_given_back(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("4")
        screen = screen_of(pilot)
        stage.is_engine_down = True
        screen.choose("edge-toolkit/travel-cpu:0001")
        await until(pilot, lambda: screen.left.state == ENDED)
        assert "The Docker engine does not answer." in text_of(pilot.app)
        screen.input.give("say: hi")
        await pilot.press("enter")
        await until(pilot, lambda: screen.left.state == ENDED and screen.input.text == "say: hi")


async def test_an_image_that_is_gone_is_told_when_it_is_started_again(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("4")
        screen_of(pilot).choose("edge-toolkit/gone:1")
        await until(pilot, lambda: "There is no packaged image 'edge-toolkit/gone:1'" in text_of(pilot.app))


async def test_escape_leaves_the_question_that_was_edited_as_it_was(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: salt")
        screen.input.give("half a thought")
        await pilot.press("ctrl+l", "x")
        assert "Editing the last question" in text_of(pilot.app)
        await pilot.press("escape")
        assert screen.input.text == "half a thought" and screen.left.turns[0].answer == "salt "
        assert "> say: salt" in text_of(pilot.app) and "Editing" not in text_of(pilot.app)


async def test_an_answer_comes_back_where_the_edited_question_is_refused(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: salt")
        await pilot.press("ctrl+l")
        screen.input.give("word " * 250)
        await pilot.press("enter")
        await until(pilot, lambda: "251 tokens long" in text_of(pilot.app))
        assert [turn.answer for turn in screen.left.turns] == ["salt "] and "> say: salt" in screen.left.chat_log.text


async def test_side_by_side_begins_both_conversations_anew(stage: ChatStage) -> None:
    run = stage.packaged()
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, run)
        await ask(pilot, "say: before")
        await pilot.press("escape", "d")
        await until(pilot, lambda: "Talk with:" in text_of(pilot.app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Begin a new conversation on both sides?" in text_of(pilot.app))
        await pilot.press("y")
        await until(pilot, lambda: screen.right.state == READY)
        assert text_of(pilot.app).count("Both sides begin anew here.") == 2
        await ask(pilot, "say: hi")
        left, right = ([turn.question for turn in side.turns] for side in screen.sides)
        assert left == right == ["say: hi"]
        assert screen.left.turns[0].finished.prompt_tokens == screen.right.turns[0].finished.prompt_tokens
        [kept] = (stage.settings.home / "chats").glob("*.md")
        assert "say: before" in kept.read_text()


async def test_the_side_that_waits_for_its_first_word_says_so(stage: ChatStage) -> None:
    run = stage.packaged()
    async with stage.app().run_test(size=LARGE) as pilot:
        screen = await seated(pilot, run)
        screen.input.give("say: one")
        await pilot.press("enter")
        await until(pilot, lambda: screen.left.state == READY and screen.left.turns)
        screen.right.display = True
        screen._start(screen.right, Wanted(run.id, "travel"))
        await until(pilot, lambda: screen.right.state == READY)
        screen.input.give("say: pause")  # the base's first word comes in half a minute
        await pilot.press("enter")
        told = ("[waiting] base of", "Esc Stop")
        await until(pilot, lambda: all(words in text_of(pilot.app) for words in told))
        assert "Esc Keys" not in text_of(pilot.app)
        await pilot.press("escape")
        await until(pilot, lambda: {side.state for side in screen.sides} == {READY})
        await until(pilot, lambda: "have not answered the same questions" in text_of(pilot.app))


async def test_an_engine_that_does_not_answer_is_told_until_it_does(stage: ChatStage) -> None:
    from toolkit.core.engine import LABEL, Image

    name = "edge-toolkit/travel-cpu:0001"
    stage.images.known[name] = Image("sha256:1", (name,), 1000, "", {f"{LABEL}.kind": "image"})
    stage.is_engine_down = True
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "The Docker engine does not answer." in text_of(pilot.app))
        assert "systemctl start docker" in text_of(pilot.app) and "Nothing is packaged" not in text_of(pilot.app)
        stage.is_engine_down = False
        await until(pilot, lambda: name in text_of(pilot.app))
        assert "does not answer" not in text_of(pilot.app)


async def test_the_newest_model_of_this_home_is_offered_first(stage: ChatStage) -> None:
    older, newer = stage.packaged(), stage.packaged()
    async with stage.app().run_test(size=SMALL) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: older.id in text_of(pilot.app))
        assert text_of(pilot.app).index(newer.id) < text_of(pilot.app).index(older.id)


async def test_the_keys_of_the_field_work_in_the_conversation_too(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        screen = await seated(pilot, stage.packaged())
        await ask(pilot, "say: salt")
        await pilot.press("escape", "ctrl+l")
        assert screen.input.text == "say: salt"
        await pilot.press("escape", "escape", "ctrl+o")
        await until(pilot, lambda: "Talk with:" in text_of(pilot.app))


async def test_less_memory_than_the_model_needs_is_told_before_it_is_applied(stage: ChatStage) -> None:
    from toolkit.tui.screens.chat_settings import ChatSettings, ChatSettingsScreen

    async with stage.app().run_test(size=SMALL) as pilot:
        pilot.app.push_screen(ChatSettingsScreen(ChatSettings(), 421))
        await until(pilot, lambda: "Sampling, and limits" in text_of(pilot.app))
        field = pilot.app.screen.query_one("#memory_mb")
        field.value = "300"
        await until(pilot, lambda: "needs about 421 MB: with 300 MB it may be killed" in " ".join(text_of(pilot.app).split()))
        field.value = "512"
        await until(pilot, lambda: "may be killed" not in text_of(pilot.app))


async def test_a_wrong_prompt_file_keeps_the_dialog_with_what_was_typed(stage: ChatStage) -> None:
    async with stage.app().run_test(size=SMALL) as pilot:
        await seated(pilot, stage.packaged())
        await pilot.press("escape", "b")
        await until(pilot, lambda: "Ask the prompts" in text_of(pilot.app))
        pilot.app.screen.query_one("Input").value = "/nowhere/p.txt"
        await pilot.press("enter")
        await until(pilot, lambda: "! There is no file /nowhere/p.txt." in text_of(pilot.app))
        assert "Ask the prompts" in text_of(pilot.app) and pilot.app.screen.query_one("Input").value == "/nowhere/p.txt"
        assert "Errno" not in text_of(pilot.app)
