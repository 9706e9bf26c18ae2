"""push, publish: an image to a registry, its model to a store of models, each read back."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from toolkit.cli.output import emit_json, json_option, say, table
from toolkit.cli.runs import _bench, _follow, _started

VIA_HELP = "direct: from the layout on the disk; engine: by Docker; auto: direct where the layout of the image that was tried is there."
via_option = click.option("--via", type=click.Choice(["auto", "direct", "engine"]), default="auto", show_default=True, help=VIA_HELP)
username_option = click.option("--username", default="", help="User of the registry; default: EDGE_REGISTRY_USERNAME. Azure's needs none.")
password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input; default: EDGE_REGISTRY_PASSWORD, or a prompt."
)
detach_option = click.option("--detach", "-d", is_flag=True, help="Start it and return.")
REGISTRY_HELP = "HOST/REPOSITORY[:TAG]; HOST alone takes the recipe's name as repository. Default: the settings."


@click.command(
    "push", help="Push IMAGE (an image, or a run that was packaged) to a registry; only missing layers move, and the digest is read back."
)
@click.argument("image")
@click.option("--registry", default="", help=REGISTRY_HELP)
@username_option
@password_option
@via_option
@click.option("--plan", "is_plan", is_flag=True, help="Only say what would move: layers present, missing, bytes.")
@detach_option
@json_option
def push_command(
    image: str, registry: str, username: str, password_stdin: bool, via: str, is_plan: bool, detach: bool, as_json: bool
) -> int:
    from toolkit.core.publish_start import PublishWish

    bench = _bench()
    wish = PublishWish(image, _target(bench, registry), username, via)
    return _done(bench, wish, password_stdin, is_plan, detach, as_json)


@click.command(
    "publish",
    help="Push IMAGE (an image, or a run that was packaged) to a registry and register its model, then link the two. "
    "Only what is missing moves. The image's digest and the model's id are printed.",
)
@click.argument("image")
@click.option("--registry", default="", help=REGISTRY_HELP)
@username_option
@password_option
@via_option
@click.option(
    "--workspace", default="", help="Azure ML workspace: SUBSCRIPTION/GROUP/NAME. Default: the settings; `edge targets` lists yours."
)
@click.option("--model-registry", default="", metavar="NAME", help="Register in this Azure ML registry instead of a workspace.")
@click.option("--name", "model", default="", help="Name of the model; default: the recipe's.")
@click.option("--version", default="", help="Version of the model; default: the next number, or the one that holds this very content.")
@click.option(
    "--type", "model_type", type=click.Choice(["custom_model", "mlflow_model", "triton_model"]), default="custom_model", show_default=True
)
@click.option("--description", default="", help="For people who look at the model.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="A tag of the model; may be given several times.")
@click.option("--no-push", is_flag=True, help="Register only.")
@click.option("--no-register", is_flag=True, help="Push only.")
@click.option("--plan", "is_plan", is_flag=True, help="Only say what would move, which version it would be, and which rights are missing.")
@detach_option
@json_option
def publish_command(
    image: str,
    registry: str,
    username: str,
    password_stdin: bool,
    via: str,
    workspace: str,
    model_registry: str,
    model: str,
    version: str,
    model_type: str,
    description: str,
    tags: tuple[str, ...],
    no_push: bool,
    no_register: bool,
    is_plan: bool,
    detach: bool,
    as_json: bool,
) -> int:
    from toolkit.core.publish_start import PublishWish

    _check_ends(registry, workspace, model_registry, no_push, no_register)
    bench = _bench()
    wish = PublishWish(
        image,
        "" if no_push else _target(bench, registry, is_needed=False),
        username,
        via,
        "" if no_register else _store(bench, workspace, model_registry),
        model,
        version,
        model_type,
        description,
        dict(_tag(tag) for tag in tags),
    )
    return _done(bench, wish, password_stdin, is_plan, detach, as_json)


def _check_ends(registry: str, workspace: str, model_registry: str, no_push: bool, no_register: bool) -> None:
    if workspace and model_registry:
        raise click.UsageError("--workspace and --model-registry are two places; name one.")
    if no_push and registry:
        raise click.UsageError("--no-push leaves nothing for --registry.")
    if no_register and (workspace or model_registry):
        raise click.UsageError("--no-register leaves nothing for --workspace and --model-registry.")


def _target(bench, registry: str, is_needed: bool = True) -> str:
    from toolkit.core.publish_start import in_registry

    target = registry or in_registry(bench.settings.registry)
    if is_needed and not target:
        raise click.UsageError("No registry is set: give --registry HOST/REPOSITORY, or set EDGE_REGISTRY.")
    return target


def _store(bench, workspace: str, model_registry: str) -> str:
    from toolkit.core.publish_start import MODEL_REGISTRY

    if model_registry:
        return MODEL_REGISTRY + model_registry.removeprefix(MODEL_REGISTRY)
    return workspace or bench.settings.workspace


def _tag(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise click.UsageError(f"--tag {text}: write KEY=VALUE.")
    return key, value


def _done(bench, wish, password_stdin: bool, is_plan: bool, detach: bool, as_json: bool) -> int:
    from toolkit.cli.secrets import target_credentials
    from toolkit.core.publish_start import start_publish
    from toolkit.core.registry_access import as_secrets

    credentials = target_credentials(wish.target, wish.username, password_stdin)
    wish = replace(wish, username=credentials.username if credentials else "")
    if is_plan:
        return _print_plan(bench, wish, credentials, as_json)
    started = start_publish(bench, wish, as_secrets(credentials))
    if detach:
        return _started(started, as_json)
    code = _follow(bench, started, as_json)
    if code == 0 and not as_json:
        for made in started.state().artifacts:
            if made.kind in ("release", "registered"):
                click.echo(made.path)
    sys.stdout.flush()
    return code


def _print_plan(bench, wish, credentials, as_json: bool) -> int:
    from toolkit.core.whole_plan import make_whole_plan
    from toolkit.errors import ExitCode

    plan = make_whole_plan(bench, wish, credentials)
    if as_json:
        emit_json(plan)
    else:
        _print_layers(plan.push)
        _print_rights(plan.rights)
        for sentence in plan.sentences:
            say(sentence)
    return ExitCode.OK if plan.is_possible else ExitCode.CLOUD


def _print_layers(push) -> None:
    from toolkit.core.files import as_size

    if push is None:
        return
    rows = [(p.layer.name, as_size(p.layer.bytes), as_size(p.packed) if p.packed is not None else "-", p.status) for p in push.layers]
    table(["layer", "unpacked", "packed", "in the registry"], rows, right=["unpacked", "packed"])


def _print_rights(rights) -> None:
    held = {True: "held", False: "missing", None: "unknown"}
    if rights:
        table(["right", "where", "role", "state"], [(r.name, r.scope, r.role, f"{held[r.is_held]} {r.why}".strip()) for r in rights])
