"""deploy/azure/setup.sh as root in a container: what it makes, that it can be run again, and how it ends where it cannot go on."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pycep import BicepParser

AZURE = Path(__file__).parents[2] / "deploy" / "azure"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MACHINE = "useradd --create-home azureuser && "
SETTINGS = "/home/azureuser/.config/edge-toolkit/settings.toml"

pytestmark = pytest.mark.engine
Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def shell(base_image: str) -> Shell:
    """A machine of its own for a line of shell, without network."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "run", "--rm", "--network=none", "--label=edge-toolkit.test=setup", "--tmpfs=/mnt", "-v", f"{AZURE}:/azure:ro"]
        return subprocess.run([*command, base_image, "sh", "-c", line], capture_output=True, text=True, timeout=120)

    return run


def template_arguments() -> list[str]:
    """What the template calls the script with, its own values filled in."""
    instance = BicepParser().parse(text=(AZURE / "modules" / "instance.bicep").read_text())
    scripts = instance["resources"]["instance"]["config"]["properties"]["properties"]["setupScripts"]["scripts"]
    values = {"workspacePath": "1111/travel/ml", "registryHost": "my.azurecr.io", "toolkit": ""}
    return [re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], each["scriptArguments"]) for each in scripts.values()]


def test_a_machine_is_prepared_and_preparing_it_again_changes_nothing(shell: Shell) -> None:
    install, start = template_arguments()
    look = f"stat -c '%U %a' /mnt/edge; stat -c '%U' {SETTINGS} /home/azureuser/.config; cat {SETTINGS}"

    done = shell(
        f"{MACHINE} /azure/setup.sh {install} && {look} && echo AGAIN && /azure/setup.sh {install} && /azure/setup.sh {start} && {look}"
    )

    assert done.returncode == 0, done.stderr
    first, again = done.stdout.split("AGAIN\n")
    assert first == again
    assert first.splitlines() == [
        "azureuser 750", "azureuser", "azureuser", 'home = "/mnt/edge"', 'workspace = "1111/travel/ml"', 'registry = "my.azurecr.io"',
    ]  # fmt: skip
    assert "no container engine: images cannot be made here" in done.stderr
    assert "is there already and stays as it is" in done.stderr


def test_settings_that_a_person_wrote_are_left_alone(shell: Shell) -> None:
    written = f"mkdir -p $(dirname {SETTINGS}) && echo 'theme = \"dark\"' > {SETTINGS} && "

    done = shell(f"{MACHINE} {written} /azure/setup.sh install --registry my.azurecr.io && cat {SETTINGS}")

    assert (done.returncode, done.stdout) == (0, 'theme = "dark"\n')


def test_each_start_makes_the_home_anew_on_the_emptied_disk(shell: Shell) -> None:
    done = shell(f"{MACHINE} /azure/setup.sh install && rm -r /mnt/edge && /azure/setup.sh start && stat -c %U /mnt/edge")

    assert (done.returncode, done.stdout) == (0, "azureuser\n")


def test_a_disk_that_is_none_is_told(shell: Shell) -> None:
    done = shell(f"{MACHINE} mkdir /disk && /azure/setup.sh start --disk /disk")

    assert done.returncode == 0
    assert "/disk is no disk of its own" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/azure/setup.sh install", "there is no user 'azureuser' here"),
        (f"{MACHINE} runuser -u azureuser -- /azure/setup.sh install", "only root can prepare the machine"),
        (f"{MACHINE} /azure/setup.sh install --disk /nowhere", "/nowhere is no folder"),
        (f"{MACHINE} /azure/setup.sh install --repository https://host/r --revision main", "is no full commit"),
        (f"{MACHINE} /azure/setup.sh install --repository https://me:word@host/r --revision {COMMIT}", "has a user or password in it"),
        ("/azure/setup.sh", "usage: setup.sh install"),
        ("/azure/setup.sh install --colour red", "usage: setup.sh install"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_changed(shell: Shell, line: str, said: str) -> None:
    done = shell(f"{line}; code=$?; ls -A /mnt; exit $code")

    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stdout == ""


def test_without_what_it_needs_and_without_network_it_says_what_is_missing(shell: Shell) -> None:
    done = shell(f"{MACHINE} /azure/setup.sh install --repository https://host.invalid/r --revision {COMMIT}")

    assert done.returncode == 1
    assert re.search(r"error: (git is not here and could not be installed|.* cannot be fetched)", done.stderr), done.stderr
