"""`edge clean` shows first, asks, and takes only what is ours and what nobody uses."""

from __future__ import annotations

import json
import subprocess

import pytest


def sizes(desk) -> dict[str, list[str]]:
    return {litter["kind"]: litter["items"] for litter in json.loads(desk.edge("clean", "--json").stdout)}


def test_without_a_kind_it_only_shows(desk):
    desk.edge("run", desk.recipe)
    done = desk.edge("clean")
    assert done.returncode == 0
    assert "--runs" in done.stdout and "--cache" in done.stdout and "0001-build-small" in done.stdout
    assert desk.runs() and list((desk.home / "cache").iterdir())


def test_without_a_terminal_nothing_goes_unless_one_says_yes(desk):
    desk.edge("run", desk.recipe)
    asked = desk.edge("clean", "--runs")
    assert "Nothing removed. Remove runs (1)? Then say --yes." in asked.stderr
    assert desk.runs()
    done = desk.edge("clean", "--runs", "--yes")
    assert done.returncode == 0 and "Removed runs (1)." in done.stderr
    assert not desk.runs()
    assert list((desk.home / "cache").iterdir()), "the cache was not named"


def test_a_driven_run_and_the_cache_it_uses_stay(desk):
    driven = desk.run_until_it_waits()
    assert sizes(desk)["runs"] == []
    done = desk.edge("clean", "--runs", "--cache", "--yes")
    assert done.returncode == 5
    assert f"The cache stays: run {driven.id} is being driven" in done.stderr and "edge stop" in done.stderr
    assert driven.is_locked() and list((desk.home / "cache").iterdir())
    desk.gate.touch()
    assert desk.edge("attach", driven.id).returncode == 0
    assert desk.edge("clean", "--runs", "--cache", "--yes").returncode == 0
    assert not desk.runs() and not (desk.home / "cache").exists()


def test_what_is_not_ours_in_the_home_stays(desk):
    for name in ("runs/notes", "runs/.number.lock", "models/mine"):
        (desk.home / name).parent.mkdir(parents=True, exist_ok=True)
        (desk.home / name).write_text("mine")
    desk.edge("run", desk.recipe)
    assert desk.edge("clean", "--runs", "--cache", "--yes").returncode == 0
    assert (desk.home / "runs" / "notes").exists() and (desk.home / "models" / "mine").exists()


@pytest.fixture
def ended_container(base_image):
    """Makes containers that never ran, with labels; returns their names."""
    made: list[str] = []

    def make(*labels: str) -> str:
        options = [option for label in labels for option in ("--label", label)]
        asked = ["docker", "create", "--name", f"edge-test-{len(made)}-{id(made):x}", *options, base_image, "true"]
        subprocess.run(asked, check=True, capture_output=True)
        made.append(asked[3])
        return made[-1]

    yield make
    subprocess.run(["docker", "rm", "-f", *made], check=True, capture_output=True)


@pytest.mark.engine
def test_only_ended_containers_of_this_home_are_named(desk, ended_container):
    """Shown only: the engine of whoever runs the tests may hold containers that they want to keep."""
    theirs = ended_container(), ended_container("edge-toolkit.kind=build", "edge-toolkit.home=someone")
    ours = ended_container("edge-toolkit.kind=server")
    named = next(
        litter["items"] for litter in json.loads(desk.edge("clean", "--json", DOCKER_HOST="").stdout) if litter["kind"] == "containers"
    )
    assert ours in named and not set(theirs) & set(named)
