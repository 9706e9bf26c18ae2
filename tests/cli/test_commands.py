"""What commands print and how they end: stdout is data, stderr is talk, exit codes are those of `errors.ExitCode`."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.desk import until
from toolkit.cli import COMMANDS


def test_without_a_command_and_without_a_terminal_it_helps(desk):
    done = desk.edge()
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("arguments", [["runz"], ["run"], ["show", "1", "--jsn"], ["chat", "1", "--temperature", "9"]])
def test_a_wrong_command_line_ends_with_2_and_says_what_is_wrong(desk, arguments):
    done = desk.edge(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(desk, command):
    done = desk.edge(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: python -m toolkit {command}")


@pytest.fixture
def packaged(desk):
    """A desk with a finished build and its packaging, both of the local engine."""
    for command in (["run", desk.recipe], ["package", "last"]):
        done = desk.edge(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return desk


def test_everything_that_lists_or_shows_has_json(packaged):
    def answer(*command: str):
        done = packaged.edge(*command, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert [row["status"] for row in answer("runs")] == ["finished", "finished"]
    shown = answer("show", "1")
    assert shown["request"]["recipe"]["name"] == "small"
    assert shown["state"]["steps"]["evaluate-cpu-travel"]["metrics"]["base.perplexity"] == 3.5
    assert [image["adapters"] for image in answer("images")] == ["travel"]
    checked = answer("check", str(packaged.recipe))
    assert (checked["ok"], checked["data"]["travel"]["train"]["rows"]) == (True, 8)
    assert {litter["kind"] for litter in answer("clean")} >= {"runs", "cache"}
    assert {finding["level"] for finding in json.loads(packaged.edge("doctor", "--json").stdout)} <= {"ok", "warning", "problem"}
    turns = answer("chat", "2", "--adapter", "travel", "--prompt", "say: Good day")
    assert turns[0]["answer"].split() == ["travel", "Good", "day"]


@pytest.mark.parametrize("command", [["run", "RECIPE"], ["attach", "1"], ["package", "1"], ["attach", "2"]])
def test_what_is_followed_as_json_is_one_event_a_line(packaged, command):
    done = packaged.edge(*(str(packaged.recipe) if word == "RECIPE" else word for word in command), "--json")
    assert done.returncode == 0, done.stderr
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert (types[0], types[-1]) == ("RunRequested", "RunFinished")


@pytest.mark.parametrize("command", [["run", "RECIPE"], ["package", "1"]])
def test_what_is_detached_names_its_run(packaged, command):
    command = [str(packaged.recipe) if word == "RECIPE" else word for word in command]
    assert json.loads(packaged.edge(*command, "--detach", "--json").stdout)["run"] == packaged.run().id
    assert packaged.edge(*command, "--detach").stdout == packaged.run().id + "\n"


def test_a_chat_answers_on_stdout_and_tells_its_figures_on_stderr(packaged):
    done = packaged.edge("chat", "2", stdin="say: one\n/adapter travel\nsay: two\n/adapter nobody\n/quit\n")
    assert done.returncode == 0, done.stderr
    assert "one" in done.stdout and "travel two" in done.stdout
    assert "tokens/s" in done.stderr and "tokens/s" not in done.stdout
    assert "There is no adapter 'nobody'; there are: travel." in done.stderr


@pytest.mark.parametrize("ending", [signal.SIGHUP, signal.SIGTERM])
def test_a_chat_that_is_ended_takes_its_server_along(packaged, ending):
    """SIGHUP is what a lost SSH connection sends."""
    talking = packaged.start("chat", "2", "--prompt", "count for ever", "--max-tokens", "100000", STUB_DELAY="0.05")
    talking.stdout.read(1)
    servers = servers_of(packaged)
    assert servers
    talking.send_signal(ending)
    talking.wait(timeout=30)
    until(lambda: not servers_of(packaged), seconds=10)


def servers_of(desk) -> list[str]:
    """Pids of the model servers of this desk."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(desk.program / "runtime" / "serve.py").encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
    return found


def test_a_home_that_cannot_be_written_is_told_in_words(desk):
    (desk.folder / "file").write_text("")
    done = desk.edge("run", desk.recipe, EDGE_HOME=str(desk.folder / "file" / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Not a directory" in done.stderr and "EDGE_HOME" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "message", "hint"),
    [
        (["show", "7"], 5, "There is no run '7'.", "edge runs"),
        (["attach", "last"], 5, "There is no run 'last'.", "edge runs"),
        (["run", "no.toml"], 3, "There is no recipe at no.toml.", "data/recipes/travel.toml"),
        (["package", "1"], 5, "There is no run '1'.", "edge runs"),
        (["chat", "nothing"], 4, "No Docker engine answers here.", "systemctl start docker"),
        (["push", "x", "--registry", "127.0.0.1:5000/x"], 4, "No Docker engine answers here.", "systemctl start docker"),
        (["push", "x", "--registry", "https://host/x"], 8, "'https:' is no registry host.", "without https://"),
        (["push", "x", "--registry", "Travel"], 8, "'Travel' names no registry.", "HOST/REPOSITORY[:TAG]"),
        (["push", "x", "--registry", "host.io/Travel"], 8, "'Travel' is no repository name.", "Lower-case"),
        (["push", "x", "--registry", "host.io/x:a b"], 8, "'a b' is no tag.", "at most 128"),
        (["push", "x", "--registry", "host.io/x", "--username", "me"], 8, "There is no password for me.", "--password-stdin"),
    ],
)
def test_an_error_has_its_exit_code_its_remedy_and_an_empty_stdout(desk, command, code, message, hint):
    done = desk.edge(*command)
    assert (done.returncode, done.stdout) == (code, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("edge: ") and message in first
    assert second.startswith("      ") and hint in second
    assert not desk.runs()


def test_a_wrong_setting_is_told_wherever_it_stands(desk):
    done = desk.edge("runs", EDGE_ENGINE="podman")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "edge: Unknown engine 'podman'.")
    (desk.folder / "config" / "edge-toolkit").mkdir(parents=True)
    (desk.folder / "config" / "edge-toolkit" / "settings.toml").write_text('hoem = "/x"\n')
    assert "settings.toml: unknown setting 'hoem'." in desk.edge("runs").stderr


def test_a_reader_that_goes_away_is_no_trouble(desk):
    """As under `edge runs | head -1`."""
    for number in range(1, 400):
        folder = desk.home / "runs" / f"{number:04d}-build-x"
        folder.mkdir(parents=True)
        (folder / "request.json").write_text("{" + "x" * 400)
    listing = desk.start("runs")
    listing.stdout.readline()
    listing.stdout.close()
    listing.wait(timeout=60)
    assert listing.stderr.read() == ""
