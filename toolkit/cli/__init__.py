"""Headless commands and their exit codes. stdout is data, stderr is talk. Commands are imported only when they run."""

from __future__ import annotations

import importlib
import signal
import sys

import click

from toolkit.errors import ExitCode, ToolkitError

COMMANDS = {
    "check": ("check", "Look at a recipe, its data and its model before any long work."),
    "run": ("runs", "Build what a recipe says: quantize, fine-tune, export, evaluate."),
    "runs": ("runs", "List the runs."),
    "show": ("runs", "Show one run: steps, sizes, measurements, problems."),
    "attach": ("runs", "Follow a run from its first event, now or a week later."),
    "log": ("log", "Print the raw output of a run or a step, filtered, as it grows."),
    "stop": ("runs", "End a run that is under way."),
    "resume": ("runs", "Go on with a run that failed, was stopped or interrupted."),
    "delete": ("runs", "Delete a run that nobody drives, and its folder."),
    "package": ("images", "Make the image of a finished build for a device, and prove that it answers."),
    "images": ("images", "List the packaged images."),
    "layers": ("stock", "Show the layers of an image, what changed, and what a device would pull."),
    "export": ("stock", "Save an image as one file, for a device without network."),
    "sbom": ("sbom", "Print what an image is made of, for scanners."),
    "remove": ("stock", "Remove a packaged image."),
    "chat": ("chat", "Talk with a packaged image."),
    "serve": ("serve", "Serve a packaged image on a port of this machine, for other clients."),
    "manifest": ("manifest", "Print the file by which a device runs an image: compose, quadlet, k8s."),
    "push": ("publish", "Push an image to a registry and read its digest back."),
    "login": ("login", "Sign in to Azure, by the first way that works."),
    "logout": ("login", "Forget the sign-in by device code."),
    "targets": ("targets", "List where things can go in Azure, and choose."),
    "publish": ("publish", "Push an image, register its model, and link the two."),
    "models": ("models", "List registered models with what they came from; download, compare."),
    "demo": ("demo", "Do the main job on the built-in sample and show what came out."),
    "doctor": ("machine", "Say what this machine lacks, and the fix."),
    "clean": ("machine", "Show what takes room, and remove what you name."),
}
"""Name -> (module, one line for the help)."""


class LazyGroup(click.Group):
    """Knows its commands by name and help line; loads a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"toolkit.cli.{COMMANDS[name][0]}")
        return getattr(module, f"{name}_command")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="olive-edge-toolkit", prog_name="edge")
@click.option("--slow", is_flag=True, help="Terminal UI for slow connections; otherwise the terminal's round trip decides.")
@click.pass_context
def edge(ctx: click.Context, slow: bool) -> None:
    """From a recipe to a verified, pushed edge image. Without a command: the terminal UI.

    Everything long is a run: a folder under data/runs that survives your terminal. Where a command takes RUN, give its id, its
    number, or `last`.

    New here? `edge doctor`, then `edge demo`.
    """
    if ctx.invoked_subcommand is not None:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo(ctx.get_help())
        return
    from toolkit.tui.pace import SLOW
    from toolkit.tui.start import run_app
    from toolkit.wiring import make_workbench

    run_app(make_workbench(), SLOW if slow else None)


def main() -> None:
    """Run `edge`; every problem we can name ends in its message, the way out, and its exit code."""
    _leave_in_order()
    try:
        code = edge.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(ExitCode.DETACHED)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except ToolkitError as exc:
        click.echo(f"edge: {exc.message}", err=True)
        if exc.hint:
            click.echo(f"      {exc.hint}", err=True)
        sys.exit(exc.exit_code)
    except OSError as exc:  # a reader that went away is dealt with by click
        click.echo(f"edge: {exc.filename or 'The system'}: {exc.strerror or exc}", err=True)
        click.echo("      Check the path, its permissions and the free space; EDGE_HOME says where runs, models and cache lie.", err=True)
        sys.exit(ExitCode.FAILED)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _leave_in_order() -> None:
    """Being ended, or losing the terminal, unwinds as Ctrl-C does: a chat takes its server along. `nohup` stays in force."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
