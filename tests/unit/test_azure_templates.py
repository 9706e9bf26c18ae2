"""deploy/azure as far as it can be held to without a subscription: read, resolved, linted. No compiler of Bicep's is to be had from the
package registries, so what only a compiler sees (the types of properties) is not seen here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lark import Token, Tree
from pycep import BicepParser

from tests.services.fixtures import missing

ROOT = Path(__file__).parents[2]
AZURE = ROOT / "deploy" / "azure"
TEMPLATES = sorted(AZURE.rglob("*.bicep"))
CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"
WORD = re.compile(r"[A-Za-z_]\w*")

BUILT_IN_ROLES = {
    "AzureML Data Scientist": "f6c7c914-8db3-469d-8ca1-694a8f32e121",
    "AcrPush": "8311e382-0749-4cb8-b61a-304f252e45ec",
    "AcrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "Storage Blob Data Contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "Storage File Data Privileged Contributor": "69566ab7-960f-475b-8e7c-b3118f30c6bd",
    "Contributor": "b24988ac-6180-42a0-ab88-20f7382dd24c",
}
"""As Azure's documentation of built-in roles has them."""
GIVEN = {
    "mayRegister": ("AzureML Data Scientist", "workspace"),
    "mayPush": ("AcrPush", "registry"),
    "mayPull": ("AcrPull", "registry"),
    "mayStore": ("Storage Blob Data Contributor", "storage"),
    "mayMount": ("Storage File Data Privileged Contributor", "storage"),
    "mayStop": ("Contributor", "workspace"),
}

every_template = pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)


@cache
def read(path: Path) -> dict[str, Any]:
    return BicepParser().parse(text=path.read_text())


def tree(text: str) -> Tree:
    return BicepParser().lark_parser.parse(text)


def declared(path: Path) -> set[str]:
    return {name for kind in ("parameters", "variables", "resources", "modules") for name in read(path).get(kind, {})}


def used(node: Tree) -> Iterator[str]:
    """Names that stand for a value, within interpolated text too; not what comes after a dot."""
    for child in node.children:
        if isinstance(child, Token) and node.data in ("string", "key") and child.startswith("'"):
            for expression in re.findall(r"\$\{([^}]*)\}", child):
                yield from used(tree(f"var inside = {expression}\n"))
        elif isinstance(child, Token) and node.data == "string" and WORD.fullmatch(child):
            yield str(child)
        elif isinstance(child, Tree):
            yield from used(child)
        if node.data == "property_accessor":
            return


def loop_names(node: Tree) -> set[str]:
    return {str(loop.children[0]) for loop in node.find_data("loop_array")}


def configuration(declaration: dict[str, Any]) -> dict[str, Any]:
    """What a resource or module is given, without its loop or condition."""
    config = declaration["config"]
    while "name" not in config:
        config = config["config"]
    return config


def resource(file: str, name: str) -> dict[str, Any]:
    return configuration(read(AZURE / "modules" / f"{file}.bicep")["resources"][name])["properties"]


def parameters_file() -> tuple[str, dict[str, Any]]:
    """What `main.bicepparam` is for, and what it sets; its assignments are read as variables, which look the same."""
    text = (AZURE / "main.bicepparam").read_text()
    using = re.search(r"^using '(.*)'$", text, re.M)
    assert using
    body = re.sub(r"^using .*\n", "", text, flags=re.M)
    chosen = BicepParser().parse(text=re.sub(r"^param ", "var ", body, flags=re.M))["variables"]
    return using[1], {name: value["value"] for name, value in chosen.items()}


@every_template
def test_every_name_in_a_template_is_declared_there(path: Path) -> None:
    whole = tree(path.read_text())

    assert set(used(whole)) <= declared(path) | loop_names(whole)


@every_template
def test_nothing_is_asked_for_or_worked_out_in_vain(path: Path) -> None:
    template = read(path)

    assert {*template.get("parameters", {}), *template.get("variables", {})} <= set(used(tree(path.read_text())))


def test_a_name_that_nobody_declared_is_found() -> None:
    assert set(used(tree("var a = '${b.c}-${take(d, 2)}'\nvar e = f.g\nvar h = 'i'\n"))) == {"b", "d", "f"}


@every_template
def test_modules_get_what_they_ask_for_and_give_what_is_taken(path: Path) -> None:
    outputs = {}
    for name, call in read(path).get("modules", {}).items():
        module = read(path.parent / call["detail"]["path"])
        asked = module["parameters"]
        given = set(configuration(call)["params"])
        assert given <= set(asked), f"{name} is given what it does not know"
        assert {key for key, value in asked.items() if value["default"] is None} <= given, f"{name} lacks something"
        outputs[name] = set(module.get("outputs", {}))
    for module, output in re.findall(r"\b(\w+)\.outputs\.(\w+)", path.read_text()):
        assert output in outputs[module], f"{module} has no output {output}"


def test_one_resource_has_one_api_version_everywhere_and_none_is_a_preview() -> None:
    versions: dict[str, set[str]] = {}
    for path in TEMPLATES:
        for each in read(path).get("resources", {}).values():
            versions.setdefault(each["type"], set()).add(each["api_version"])

    assert all(len(found) == 1 and re.fullmatch(r"\d{4}-\d\d-\d\d", *found) for found in versions.values()), versions


def test_the_parameter_file_sets_what_the_template_asks_for() -> None:
    using, chosen = parameters_file()
    asked = read(AZURE / using)["parameters"]

    assert set(chosen) <= set(asked)
    assert {name for name, parameter in asked.items() if parameter["default"] is None} <= set(chosen)
    for name, value in chosen.items():
        allowed = [each["argument"] for each in asked[name]["decorators"] if each["type"] == "allowed"]
        assert not allowed or value in allowed[0]


def test_each_role_is_the_documented_one_on_the_one_resource_that_it_is_for() -> None:
    found = {}
    for path in (AZURE / "modules" / "roles.bicep", AZURE / "modules" / "identity.bicep"):
        template = read(path)
        ids = {name: value["value"]["function"]["parameters"]["resource_name_1"] for name, value in template["variables"].items()}
        names = {identifier: name for name, identifier in BUILT_IN_ROLES.items()}
        for name, each in template["resources"].items():
            if each["type"] == "Microsoft.Authorization/roleAssignments":
                config = configuration(each)
                found[name] = (names[ids[config["properties"]["roleDefinitionId"]]], config["scope"])
                assert template["resources"][config["scope"]]["existing"]

    assert found == GIVEN


def test_roles_for_storage_are_given_only_where_it_knows_people_instead_of_keys() -> None:
    roles = read(AZURE / "modules" / "roles.bicep")["resources"]

    for name in ("mayStore", "mayMount"):
        condition = roles[name]["config"]["loop_type"]["detail"]["array_name"]["operator"]
        assert condition["operands"]["condition"] == "identityBased"
        assert condition["operands"]["false_value"] == []


def test_nobody_comes_in_by_a_password_a_key_or_without_signing_in() -> None:
    storage, registry, vault = resource("storage", "storage"), resource("registry", "registry"), resource("vault", "vault")
    main = read(AZURE / "main.bicep")

    assert (registry["adminUserEnabled"], registry["anonymousPullEnabled"]) == (False, False)
    assert (storage["allowBlobPublicAccess"], storage["allowCrossTenantReplication"]) == (False, False)
    assert (storage["minimumTlsVersion"], storage["supportsHttpsTrafficOnly"]) == ("TLS1_2", True)
    assert (vault["enableRbacAuthorization"], vault["enablePurgeProtection"]) == (True, True)
    assert storage["allowSharedKeyAccess"] == "sharedKeys"
    keys = main["modules"]["storage"]["config"]["params"]["sharedKeys"]["operator"]
    assert (keys["type"], keys["operands"]) == ("equals", {"operand_1": "datastoreAccess", "operand_2": "AccessKey"})
    assert main["parameters"]["datastoreAccess"]["default"] == "Identity"
    assert main["parameters"]["sshPublicKey"]["default"] == ""
    ssh = resource("instance", "instance")["properties"]["sshSettings"]["sshPublicAccess"]["operator"]["operands"]
    assert (ssh["true_value"], ssh["false_value"]) == ("Disabled", "Enabled")


def test_the_linter_has_nothing_to_say() -> None:
    if not CHECKOV.exists():
        missing("checkov", "make .venv-checkov/.made")
    environ = {**os.environ, "LOG_LEVEL": "ERROR"}
    command = [CHECKOV, "-d", AZURE, "--config-file", AZURE / ".checkov.yaml", "-o", "json"]

    done = subprocess.run(command, capture_output=True, text=True, env=environ)

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"parsing_errors": 0' in done.stdout, done.stdout


def test_shellcheck_has_nothing_to_say_about_the_setup_script() -> None:
    done = subprocess.run([Path(sys.executable).parent / "shellcheck", AZURE / "setup.sh"], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
