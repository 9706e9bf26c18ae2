"""login, logout."""

from __future__ import annotations

import sys
import time

import click

from toolkit.cli.output import emit_json, json_option, say

TICK_SECONDS = 0.5


@click.command("login", help="Sign in to Azure by the first way that works: service principal, az, this machine's identity, a device code.")
@click.option("--tenant", default="", help="Tenant to sign in to, its id or domain; remembered. Default: the account's own.")
@click.option("--no-code", is_flag=True, help="Ask nobody: fail where no quiet way works.")
@json_option
def login_command(tenant: str, no_code: bool, as_json: bool) -> None:
    from toolkit.core.choices import remember
    from toolkit.wiring import make_workbench

    cloud = make_workbench().cloud()
    tell, be_quiet = _teller()
    try:
        account = cloud.sign_in(tell, tenant, not no_code)
    finally:
        be_quiet()
    if tenant:  # so that what comes after, runs among it, asks there too
        say(f"tenant: {tenant} ({remember('tenant', tenant)})")
    if as_json:
        emit_json(account)
        return
    click.echo(_in_words(account))


@click.command("logout", help="Forget the sign-in by device code, and the tenant. What `az` and this machine keep is theirs.")
def logout_command() -> None:
    from toolkit.core.choices import remember
    from toolkit.errors import CloudMissing
    from toolkit.wiring import make_workbench

    bench = make_workbench()
    try:
        was_there = bench.cloud().sign_out()
    except CloudMissing:  # and so no sign-in either
        was_there = False
    if bench.settings.tenant:
        remember("tenant", "")
    say("Signed out." if was_there else "There was no sign-in of ours. `az logout` ends that of az.")


def _teller():
    """Says each step; on a terminal the code stands in a box of its own, with the time that is left."""
    on_terminal = sys.stderr.isatty()
    clock = _Countdown() if on_terminal else None

    def tell(step) -> None:
        if clock:
            clock.stop()
        if step.state == "trying" and not on_terminal:
            say(f"Trying {step.source}")
        elif step.state == "failed":
            say(f"{step.source}: {step.why}")
        elif step.state == "code":
            _show_code(step, on_terminal)
            if clock:
                clock.start(step.expires)

    return tell, clock.stop if clock else lambda: None


def _show_code(step, on_terminal: bool) -> None:
    if not on_terminal:
        say(f"Open {step.url} on any device and type the code {step.code}")
        return
    from rich.align import Align
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    spaced = "  ".join(step.code)
    text = Text.assemble(
        "Open on any device\n",
        (step.url, "bold underline"),
        "\n\nand type\n",
        (spaced, "bold reverse"),
        f"\n({step.code})",
        justify="center",
    )
    Console(stderr=True).print(Panel(Align.center(text), title="Sign in to Azure", expand=False, padding=(1, 4)))


class _Countdown:
    """One line at the bottom that says how long the code is good for; Ctrl-C leaves."""

    def __init__(self) -> None:
        self._status = None

    def start(self, until: float) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        class Left:
            def __rich__(self) -> Text:
                seconds = max(0, int(until - time.time()))
                return Text(f"Waiting for you; the code is good for {seconds // 60}:{seconds % 60:02}. Ctrl-C leaves.", "dim")

        self._status = Live(Left(), console=Console(stderr=True), refresh_per_second=1 / TICK_SECONDS, transient=True)
        self._status.start()

    def stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def _in_words(account) -> str:
    until = time.strftime("%H:%M", time.localtime(account.expires))
    return f"{account.who} ({account.kind}), tenant {account.tenant}, by {account.source}; the token is good until {until}, and renewed."
