"""`edge log`: raw output, filtered, and followed to the end of the run."""

from __future__ import annotations


def add(run, text: str) -> None:
    with open(run.folder / "log.txt", "a") as log:
        log.write(text)


def test_the_raw_output_is_printed_whole_or_its_end_or_what_fits(desk):
    assert desk.edge("run", desk.recipe).returncode == 0
    run = desk.run()
    (run.folder / "log.txt").write_text("one\nan Error\ntwo\rthree\nan error\n")
    assert desk.edge("log", "last").stdout.splitlines() == ["one", "an Error", "three", "an error"]
    assert desk.edge("log", "last", "-n", "1").stdout.splitlines() == ["an error"]
    assert desk.edge("log", "last", "--grep", "error").stdout.splitlines() == ["an Error", "an error"]
    assert desk.edge("log", "last", "--grep", "!error").stdout.splitlines() == ["one", "three"]
    (run.folder / "steps" / "quantize" / "log.txt").write_text("of the step\n")
    assert desk.edge("log", "last", "--step", "quantize").stdout == "of the step\n"


def test_an_unknown_step_is_named_with_those_there_are(desk):
    assert desk.edge("run", desk.recipe).returncode == 0
    asked = desk.edge("log", "last", "--step", "qantize")
    assert (asked.returncode, asked.stdout) == (5, "")
    assert "no step 'qantize'" in asked.stderr and "quantize" in asked.stderr


def test_a_followed_log_goes_on_until_the_run_ends(desk):
    run = desk.run_until_it_waits()
    (run.folder / "log.txt").write_text("before\nhalf a ")
    reader = desk.start("log", "last", "-f", "--grep", "!secret")
    assert reader.stdout.readline() == "before\n"
    add(run, "line\nsecret\nlast words")
    assert reader.stdout.readline() == "half a line\n"
    desk.gate.touch()
    rest, said = reader.communicate(timeout=60)
    assert (reader.returncode, said) == (0, "")
    assert rest.startswith("last words") and "secret" not in rest
