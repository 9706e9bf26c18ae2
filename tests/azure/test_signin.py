"""Signing in over SSH: every source is tried, whatever the one before it did; a code at the end; and nothing secret is said or kept by us."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import device_code, signin
from tests.azure.entra import TENANT
from tests.azure.faults import Fault
from tests.terminal import Terminal
from toolkit import settings
from toolkit.core.cloud import Account, SignInStep
from toolkit.errors import SignInError
from toolkit.settings import Settings
from toolkit.wiring import make_workbench

ADA = "ada@lab.example"


@pytest.fixture
def chosen(lab, tmp_path) -> Settings:
    return replace(settings.load({}), home=tmp_path / "home")


class Steps(list[SignInStep]):
    """What a sign-in says, and the way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Condition()

    def __call__(self, step: SignInStep) -> None:
        with self.came:
            self.append(step)
            self.came.notify_all()

    def wait_for(self, state: str) -> SignInStep:
        with self.came:
            assert self.came.wait_for(lambda: any(step.state == state for step in self), 30), list(self)
        return next(step for step in self if step.state == state)

    @property
    def words(self) -> list[tuple[str, str]]:
        return [(step.state, step.source) for step in self]


def sign_in(chosen: Settings, tell, **more) -> Account:
    return make_workbench(chosen).cloud().sign_in(tell, **more)


def begin_by_code(lab, chosen: Settings, steps: Steps, **more) -> tuple[threading.Thread, list, str]:
    """A sign-in that waits for its person: its thread, what comes of it, and the code."""
    came: list = []

    def go() -> None:
        try:
            came.append(sign_in(chosen, steps, **more))
        except SignInError as exc:
            came.append(exc)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread, came, steps.wait_for("code").code


def by_code(lab, chosen: Settings, steps: Steps) -> Account:
    thread, came, code = begin_by_code(lab, chosen, steps)
    lab.cloud.approve(code)
    thread.join(30)
    assert isinstance(came[0], Account), came
    return came[0]


def test_a_service_principal_of_the_environment_comes_first(signed_in, chosen, tmp_path):
    signed_in.az(tmp_path)
    steps = Steps()
    account = sign_in(chosen, steps)
    assert (account.kind, account.source) == ("service principal", signin.BY_PRINCIPAL)
    assert account.tenant == "11111111-1111-1111-1111-111111111111" and account.expires > time.time()
    assert [state for state, _ in steps.words] == ["trying", "signed_in"]


def test_az_serves_where_the_service_principal_is_wrong(signed_in, chosen, tmp_path, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another")
    signed_in.az(tmp_path)
    steps = Steps()
    account = sign_in(chosen, steps)
    assert (account.who, account.kind, account.source) == (ADA, "person", signin.BY_AZ)
    refused = next(step for step in steps if step.state == "failed")
    assert "AADSTS7000215: Invalid client secret provided" in refused.why and "\n" not in refused.why


@pytest.mark.parametrize("answer", [400, 404, 500])
def test_a_broken_identity_of_the_machine_hides_no_other_way(lab, chosen, answer, monkeypatch):
    for name, value in lab.msi_environ.items():
        monkeypatch.setenv(name, value)
    lab.machine_identity(answer)
    steps = Steps()
    began = time.monotonic()
    account = by_code(lab, chosen, steps)
    assert time.monotonic() - began < 20 and account.source == signin.BY_CODE
    assert [source for state, source in steps.words if state == "failed"] == [signin.BY_AZ, signin.BY_MACHINE]
    assert len(lab.machine.calls) == 1


def test_garbage_from_the_machines_identity_is_one_line(lab, chosen, monkeypatch):
    for name, value in lab.msi_environ.items():
        monkeypatch.setenv(name, value)
    lab.machine.fault(Fault("GET", status=200, body=b"<html>\nno token here", times=9))
    with pytest.raises(SignInError) as raised:
        sign_in(chosen, Steps(), with_code=False)
    assert "\n" not in raised.value.message and signin.BY_MACHINE in raised.value.message


def test_on_a_compute_instance_the_one_who_signed_in_to_it_is_taken(lab, chosen, monkeypatch):
    for name, value in lab.msi_environ.items():
        monkeypatch.setenv(name, value)
    lab.machine_identity("token", ADA)
    account = sign_in(chosen, Steps(), with_code=False)
    assert (account.who, account.kind, account.source) == (ADA, "person", signin.BY_MACHINE)


def test_the_reason_of_az_is_its_own_words(lab, chosen, tmp_path):
    lab.az(tmp_path, "ERROR: Please run 'az login' to setup account.")
    with pytest.raises(SignInError) as raised:
        sign_in(chosen, Steps(), with_code=False)
    assert "az login: Please run 'az login' to set up an account" in raised.value.message
    assert "edge login" in raised.value.hint


def test_a_code_signs_a_person_in_and_another_process_goes_on_with_it(lab, chosen):
    steps = Steps()
    account = by_code(lab, chosen, steps)
    assert (account.who, account.kind) == (ADA, "person")
    shown = next(step for step in steps if step.state == "code")
    assert shown.url == "https://microsoft.com/devicelogin" and 0 < shown.expires - time.time() <= 901
    script = (
        "from deploy.signin import account; from toolkit import settings; a = account(settings.load()); print(a.who, a.source, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f"{ADA}|{signin.BY_EARLIER}", done.stderr


def test_what_is_kept_of_a_code_is_the_owners_alone_and_logout_removes_it(lab, chosen, tmp_path):
    by_code(lab, chosen, Steps())
    record = signin.record_file()
    assert ADA in record.read_text() and not lab.leaks(record.parent)
    caches = [path for path in (tmp_path / ".IdentityService").iterdir() if path.is_file()]
    assert caches and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in caches if path.stat().st_size)
    assert make_workbench(chosen).cloud().sign_out()
    assert not record.exists() and not list((tmp_path / ".IdentityService").glob(f"{device_code.CACHE}*"))
    assert not make_workbench(chosen).cloud().sign_out()
    with pytest.raises(SignInError):
        make_workbench(chosen).cloud().account()


def test_a_sign_in_that_is_over_is_told_and_the_next_way_tried(lab, chosen, tmp_path):
    lab.cloud.token_seconds = 1
    by_code(lab, chosen, Steps())
    lab.cloud.people.revoke()
    lab.cloud.token_seconds = 3600
    lab.az(tmp_path)
    steps = Steps()
    account = sign_in(replace(chosen, home=tmp_path / "another"), steps)
    assert account.source == signin.BY_AZ
    assert ("failed", signin.BY_EARLIER) in steps.words


def test_who_declines_is_told(lab, chosen):
    thread, came, code = begin_by_code(lab, chosen, Steps())
    lab.cloud.deny(code)
    thread.join(30)
    assert isinstance(came[0], SignInError) and "declined" in came[0].message
    assert not signin.record_file().exists()


def test_a_code_that_nobody_types_runs_out(lab, chosen):
    lab.cloud.people.code_seconds = 2
    thread, came, _ = begin_by_code(lab, chosen, Steps())
    thread.join(30)
    assert isinstance(came[0], SignInError) and came[0].exit_code == 9


def test_a_tenant_that_forbids_codes_says_so(lab, chosen):
    lab.cloud.people.blocks_device_codes = True
    steps = Steps()
    with pytest.raises(SignInError, match="blocked by Conditional Access"):
        sign_in(chosen, steps)


def test_a_person_may_leave_while_the_code_waits(lab, chosen):
    steps, left = Steps(), threading.Event()
    thread, came, _ = begin_by_code(lab, chosen, steps, leave=left.is_set)
    left.set()
    thread.join(10)
    assert isinstance(came[0], SignInError) and "left" in came[0].message
    assert not signin.record_file().exists()


def test_a_token_of_another_tenant_is_not_taken(signed_in, chosen, tmp_path):
    signed_in.az(tmp_path)  # Ada's, of the lab's tenant
    steps = Steps()
    with pytest.raises(SignInError):
        sign_in(chosen, steps, tenant="99999999-9999-9999-9999-999999999999", with_code=False)
    assert {step.source for step in steps if step.state == "failed"} == {signin.BY_PRINCIPAL, signin.BY_AZ}


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_a_clock_that_is_hours_off_keeps_nobody_out(signed_in, chosen, ahead):
    signed_in.cloud.clock_skew = ahead
    account = sign_in(chosen, Steps(), with_code=False)
    assert account.source == signin.BY_PRINCIPAL
    assert make_workbench(chosen).cloud().targets().workspaces


def test_an_az_that_does_not_answer_is_left_behind(lab, chosen, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "bin" / "az").write_text("#!/bin/sh\nsleep 300\n")
    (tmp_path / "bin" / "az").chmod(0o755)
    from azure.identity import AzureCliCredential

    steps = Steps()
    hasty = signin.Source(signin.BY_AZ, lambda: AzureCliCredential(process_timeout=1))
    with pytest.raises(SignInError, match="az login: Failed to invoke the Azure CLI"):
        signin.first_that_works(iter([hasty]), "", steps)
    assert steps.words == [("trying", signin.BY_AZ), ("failed", signin.BY_AZ)]


def test_an_identity_of_the_machine_that_does_not_answer_is_left_behind(lab, chosen, tmp_path, monkeypatch):
    for name, value in lab.msi_environ.items():
        monkeypatch.setenv(name, value)
    stuck = lab.machine.fault(Fault("GET", pause_after=0))
    began = time.monotonic()
    with pytest.raises(SignInError, match=signin.BY_MACHINE):
        sign_in(chosen, Steps(), with_code=False)
    stuck.go.set()
    assert stuck.reached.is_set() and time.monotonic() - began < 2 * signin.ONCE["read_timeout"]


def test_a_machine_that_gives_no_token_but_says_so_kindly_is_left_behind(lab, chosen, monkeypatch):
    for name, value in lab.msi_environ.items():
        monkeypatch.setenv(name, value)
    lab.machine.fault(Fault("GET", status=200, headers={"Content-Type": "application/json"},
                            body=b'{"access_token": "none", "expires_on": "1900000000"}', times=9))  # fmt: skip
    with pytest.raises(SignInError, match="what it gave is no token"):
        sign_in(chosen, Steps(), with_code=False)


def test_az_is_asked_once_for_all_of_a_listing(lab, chosen, tmp_path):
    az = lab.az(tmp_path)
    counted = tmp_path / "asked"
    az.write_text(az.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\necho asked >> {counted}\n"))
    cloud = make_workbench(chosen).cloud()
    assert len(cloud.targets().workspaces) == 3 and cloud.account().who == ADA
    assert counted.read_text().splitlines() == ["asked"]


def test_who_signed_in_by_a_code_is_let_in_everywhere_and_asked_no_second_time(lab, chosen):
    steps = Steps()
    by_code(lab, chosen, steps)
    cloud = make_workbench(chosen).cloud()
    assert len(cloud.targets().workspaces) == 3
    assert cloud.registry_sign_in("labacr.azurecr.io")() is not None
    lab.cloud.people.revoke()
    credential = signin.credential(chosen)
    with pytest.raises(Exception, match="Interactive authentication is required|expired|AADSTS"):
        credential.get_token("https://storage.azure.com/.default")
    assert [step.state for step in steps].count("code") == 1 and len(lab.cloud.devices) == 1


def test_who_leaves_and_says_yes_later_is_not_signed_in(lab, chosen):
    left = threading.Event()
    thread, came, code = begin_by_code(lab, chosen, Steps(), leave=left.is_set)
    left.set()
    thread.join(10)
    lab.cloud.approve(code)
    with pytest.raises(SignInError):
        make_workbench(chosen).cloud().account()


@pytest.mark.parametrize("damaged", ["record", "cache"])
def test_a_damaged_sign_in_of_before_is_one_reason_among_others(lab, chosen, tmp_path, damaged):
    by_code(lab, chosen, Steps())
    file = signin.record_file() if damaged == "record" else tmp_path / ".IdentityService" / f"{device_code.CACHE}.nocae"
    file.write_text("{not json")
    lab.az(tmp_path)
    steps = Steps()
    assert sign_in(chosen, steps).source == signin.BY_AZ
    assert ("failed", signin.BY_EARLIER) in steps.words
    assert make_workbench(chosen).cloud().sign_out() and not file.exists()


def test_no_reason_has_a_token_in_it(signed_in):
    token = signed_in.cloud.token("https://management.azure.com")
    assert signin.reason(ValueError(f"ERROR: {{'accessToken': '{token}'}} is odd")) == "{'accessToken': '…'} is odd"


def test_without_a_network_the_reason_is_said_in_time(signed_in, chosen, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(SignInError, match="AZURE_CLIENT_ID"):
        sign_in(chosen, Steps(), with_code=False)
    assert time.monotonic() - began < 60


def edge(*arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "toolkit", *arguments], capture_output=True, text=True, timeout=120, **more)


def test_login_says_who_on_stdout_and_the_way_there_on_stderr(lab, tmp_path):
    lab.az(tmp_path)
    done = edge("login", "--json")
    account = json.loads(done.stdout)
    assert (done.returncode, account["who"], account["source"]) == (0, ADA, signin.BY_AZ)
    assert done.stderr.splitlines() == [f"Trying {signin.BY_AZ}"]
    assert not lab.leaks(tmp_path / "nowhere", done.stdout, done.stderr)


def test_login_shows_the_code_and_waits(lab, tmp_path):
    program = subprocess.Popen([sys.executable, "-m", "toolkit", "login"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = next(line for line in program.stderr if "type the code" in line)
    lab.cloud.approve(line.split()[-1])
    out, _ = program.communicate(timeout=60)
    assert program.returncode == 0 and out.startswith(f"{ADA} (person), tenant ")
    done = edge("logout")
    assert (done.returncode, done.stderr) == (0, "Signed out.\n")


def test_a_tenant_that_was_asked_for_is_remembered_until_logout(lab, tmp_path):
    lab.az(tmp_path)
    file = tmp_path / ".config" / "edge-toolkit" / "settings.toml"
    assert edge("login", "--tenant", TENANT).returncode == 0
    assert file.read_text() == f'tenant = "{TENANT}"\n'
    assert edge("logout").returncode == 0 and file.read_text() == ""


def test_ctrl_c_leaves_a_code_that_waits(lab):
    program = subprocess.Popen([sys.executable, "-m", "toolkit", "login"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    next(line for line in program.stderr if "type the code" in line)
    program.send_signal(signal.SIGINT)
    out, _ = program.communicate(timeout=20)
    assert (program.returncode, out) == (130, "") and not signin.record_file().exists()


def test_on_a_terminal_the_code_stands_in_a_box_above_a_countdown(lab):
    with Terminal([sys.executable, "-m", "toolkit", "login"], os.environ) as terminal:
        terminal.wait_for("Ctrl-C leaves")
        [code] = lab.cloud.devices
        assert "https://microsoft.com/devicelogin" in terminal.text and code in terminal.text and "  ".join(code) in terminal.text
        assert re.search(r"good for 1[45]:\d\d", terminal.text)
        lab.cloud.approve(code)
        terminal.wait_for("the token is good until")
        assert ADA in terminal.text and terminal.wait_for_end() == 0


def test_login_that_asks_nobody_fails_with_every_reason(lab):
    done = edge("login", "--no-code")
    assert done.returncode == 9 and f"{signin.BY_AZ}: " in done.stderr and done.stdout == ""


def test_login_without_the_extra_names_the_way(tmp_path):
    """An interpreter that cannot see Azure's packages, as on a machine without the extra."""
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n.startswith('azure') else f(n, *a)"
    done = subprocess.run(
        [sys.executable, "-c", f"{hide}; import sys; sys.argv = ['edge', 'login']; from toolkit.cli import main; main()"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 9 and "-m pip install " in done.stderr
