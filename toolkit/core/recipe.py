"""The Recipe: base model, data, steps, adapters and devices, read from a TOML file and checked before anything starts."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from toolkit.core.toml_lines import key_lines, nearest_line
from toolkit.errors import RecipeError

NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")
SAMPLE_MODEL = "sample:smollm2-135m-instruct"
EXPORT_PARTS = (
    "q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj", "first_layer", "last_layer",
)  # fmt: skip
"""Parts of a decoder that an int4 export may keep in more bits."""
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj")


def _name(value: str) -> str:
    if not NAME.match(value):
        raise ValueError("a name has lower-case letters, digits and '-', at most 40, and starts with a letter or digit")
    return value


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Name = Annotated[str, Field(description="Lower-case letters, digits and '-'.")]
Paths = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class Part(BaseModel):
    """A table of a recipe: frozen, exact in its types, with no room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class BaseModelChoice(Part):
    source: str = Field(min_length=1, description="Folder, Hugging Face id, azureml:// asset, or sample:smollm2-135m-instruct.")
    revision: str = Field("", description="Hugging Face revision; empty: the newest.")
    trust_remote_code: bool = Field(False, description="Run Python code that the model's repository ships.")

    @property
    def kind(self) -> str:
        """sample, azureml, folder or hub."""
        if self.source.startswith("sample:"):
            return "sample"
        if self.source.startswith("azureml:"):
            return "azureml"
        return "folder" if self.source.startswith((".", "/", "~")) else "hub"

    @field_validator("source")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.startswith("sample:") and value != SAMPLE_MODEL:
            raise ValueError(f"there is no such sample; the built-in one is '{SAMPLE_MODEL}'")
        if value.startswith((".", "/", "~", "sample:", "azureml:")) or re.match(r"^[\w.-]+/[\w.-]+$", value):
            return value
        raise ValueError("neither a folder (start it with './', '/' or '~'), nor a Hugging Face id 'owner/name', nor 'azureml://...'")


class Data(Part):
    text_template: str = Field(
        description="Text of one training row; {prompt}, {response} and other fields of the row are filled in.",
        json_schema_extra={"is_long": True},
    )
    train_on: Literal["response", "text"] = Field("response", description="What the loss counts: the response only, or the whole text.")
    max_tokens: int = Field(256, ge=16, le=131072, description="Rows longer than this are refused.")

    @field_validator("text_template")
    @classmethod
    def _has_response(cls, value: str) -> str:
        if "{response}" not in value:
            raise ValueError("must contain {response}, the part of a row that is learnt")
        return value


class Quantize(Part):
    algorithm: Literal["awq", "gptq", "rtn", "none"] = Field(
        "awq",
        description="awq: scales chosen by what the model computes; gptq: each rounding is made good by the weights after it; "
        "rtn: plain rounding; none: weights stay as they are until the export.",
    )
    bits: Literal[4] = Field(4, description="Bits of a weight.")
    group_size: Literal[16, 32, 64, 128] = Field(32, description="Weights that share one scale; the exporter's block size.")
    symmetric: bool = Field(False, description="No zero points: a little smaller, a little less exact.")
    calibration: Paths = Field(
        (), description="Text (.txt) or rows (.jsonl) that awq and gptq measure activations on; empty: the first adapter's rows alone."
    )
    calibration_own: float = Field(
        0.0, ge=0, le=1, description="Share of the calibration text that is the first adapter's rows, the files being the rest."
    )
    calibration_samples: int = Field(24, ge=4, le=10_000, description="Sequences of that text which are looked at.")
    sequence_length: int = Field(128, ge=16, le=8192, description="Tokens of a sequence.")


class Finetune(Part):
    rank: int = Field(16, ge=1, le=512, description="Width of the adapter: higher learns more and weighs more.")
    alpha: float = Field(32.0, gt=0, description="Strength: what the adapter adds is multiplied by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapter's inputs left out at random in training.")
    targets: tuple[str, ...] = Field((), description="Projections that get an adapter; empty: all linear layers of the blocks.")
    learning_rate: float = Field(2e-4, gt=0, le=1, description="Size of a training step at its largest.")
    scheduler: Literal["constant", "linear", "cosine"] = Field("cosine", description="How the learning rate falls to the end.")
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which the learning rate rises to its largest.")
    epochs: float = Field(3.0, gt=0, le=1000, description="How often training goes through all rows.")
    max_steps: int = Field(0, ge=0, description="Stop after so many steps; 0: by epochs.")
    batch_size: int = Field(16, ge=1, le=4096, description="Rows of a batch.")
    gradient_accumulation: int = Field(1, ge=1, le=4096, description="Batches that make one training step.")
    micro_batch: int = Field(0, ge=0, le=4096, description="Rows in memory together; 0: as many as fit. What is learnt is the same.")
    rows: Literal["separate", "packed"] = Field(
        "separate",
        description="separate: padded beside each other; packed: end to end, each seeing itself alone. What is learnt is the same.",
    )
    patience: int = Field(0, ge=0, le=1000, description="Early stop: looks at held-out rows without a lower loss; 0: no early stop.")
    evaluate_every: int = Field(0, ge=0, description="Steps between looks at held-out rows; 0: four looks an epoch.")
    seed: int = Field(17, ge=0, le=2**31, description="The same seed, data and machine: the same adapter.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where the machine has it natively.")

    @field_validator("targets", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return _as_tuple(value)

    @field_validator("targets")
    @classmethod
    def _known_targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [target for target in value if target not in LORA_TARGETS]
        if unknown:
            raise ValueError(f"unknown projection '{unknown[0]}'; there are: {', '.join(LORA_TARGETS)}")
        return value


class Adapter(Part):
    name: Name
    train: Paths = Field(min_length=1, description="JSONL files of training rows.")
    held_out: Paths | float = Field(0.1, description="JSONL files of rows kept from training, or the share of `train` to keep.")
    finetune: dict[str, Any] = Field({}, description="What this adapter does otherwise than [finetune].")

    _check_name = field_validator("name")(_name)

    @field_validator("held_out", mode="before")
    @classmethod
    def _files_or_share(cls, value: Any) -> Any:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not 0 < value <= 0.5:
                raise ValueError("as a share must lie above 0 and not above 0.5")
            return float(value)
        return _as_tuple(value)


class Export(Part):
    precision: Literal["", "int4", "int8", "fp16", "fp32"] = Field("", description="Empty: the device's own choice.")
    lm_head: Literal["int8", "int4", "float"] = Field("int8", description="Precision of the output layer in an int4 export.")
    int8: tuple[str, ...] = Field(
        (), description="Parts that keep 8 bits in an int4 export, such as down_proj or last_layer; q, k and v lie together in the graph."
    )
    keep: tuple[str, ...] = Field((), description="Parts that stay in the activations' type: 16 bit on CUDA, 32 bit on a CPU.")
    context_length: int = Field(0, ge=0, le=1_000_000, description="Longest conversation in tokens; 0: the device's or the model's limit.")
    adapters: Literal["", "switchable", "merged"] = Field(
        "",
        description="switchable: one graph runs every adapter, each costs some speed; merged: a graph for each, full speed, each as large "
        "as the model. Empty: the device's own choice.",
    )
    keep_base: bool = Field(
        True, description="Merged: the image also holds the model without an adapter; it is as large as one more adapter."
    )

    @field_validator("int8", "keep", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return _as_tuple(value)

    @field_validator("int8", "keep")
    @classmethod
    def _known_parts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "lm_head" in value:
            raise ValueError("the output layer has an option of its own, lm_head")
        if unknown := [part for part in value if part not in EXPORT_PARTS]:
            raise ValueError(f"unknown part '{unknown[0]}'; there are: {', '.join(EXPORT_PARTS)}")
        return value

    @model_validator(mode="after")
    def _parts_make_a_difference(self) -> Export:
        if self.int8 and self.precision not in ("", "int4") or self.keep and self.precision not in ("", "int4", "int8"):
            raise ValueError(f"an export in {self.precision} has no parts with more bits; leave out int8 and keep, or export in int4")
        return self


class Evaluate(Part):
    perplexity_rows: int = Field(64, ge=1, le=100_000, description="Held-out rows whose responses are weighed.")
    fact_rows: int = Field(64, ge=0, le=100_000, description="Held-out rows whose answer must hold the row's `fact`.")
    max_new_tokens: int = Field(32, ge=1, le=4096, description="Longest answer that is waited for.")
    general: Paths = Field(
        (), description="Text (.txt) or rows (.jsonl) that comparisons are read on besides the held-out rows; empty: a speech of 1966."
    )
    general_tokens: int = Field(8192, ge=256, le=1_000_000, description="Tokens of that text which are looked at.")


class Recipe(Part):
    """What to make, for which devices. Its tables are its fields, its file is TOML."""

    name: Name
    model: BaseModelChoice
    data: Data
    quantize: Quantize = Quantize()
    finetune: Finetune = Finetune()
    adapters: tuple[Adapter, ...] = Field(min_length=1)
    export: Export = Export()
    evaluate: Evaluate = Evaluate()
    devices: tuple[str, ...] = Field(("cpu",), min_length=1, description="Files of data/devices/ to make images for.")

    _check_name = field_validator("name")(_name)

    @field_validator("adapters", "devices", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _adapters_differ(self) -> Recipe:
        names = [adapter.name for adapter in self.adapters]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two adapters are called '{twice}'")
        if "base" in names:
            raise ValueError("an adapter may not be called 'base': that is the model without an adapter")
        return self

    def finetune_of(self, adapter: Adapter) -> Finetune:
        """[finetune] with this adapter's own options over it."""
        return Finetune.model_validate({**self.finetune.model_dump(), **adapter.finetune})


def load(path: Path) -> Recipe:
    """The recipe in a file, its relative paths made absolute from the file's folder.

    Raises:
        RecipeError: no such file, not TOML, unknown keys, wrong types, impossible values; names file and line.
    """
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, IsADirectoryError) as exc:
        raise RecipeError(f"There is no recipe at {path}.", "The built-in one is data/recipes/travel.toml.") from exc
    except UnicodeDecodeError as exc:
        line = path.read_bytes()[: exc.start].count(b"\n") + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text.", "Save the recipe as UTF-8.") from exc
    return parse(text, path)


def parse(text: str, path: Path) -> Recipe:
    """The recipe in `text`, which stands at `path`.

    Raises:
        RecipeError: the first of its problems.
    """
    recipe, found = read(text, path)
    if recipe is not None:
        return recipe
    more = f" ({len(found) - 1} more after this.)" if len(found) > 1 else ""
    raise RecipeError(f"{path}:{found[0].line}: {found[0].message}", f"{found[0].hint}{more}")


@dataclass(frozen=True)
class RecipeProblem:
    """One thing wrong in a recipe, and where."""

    place: tuple[str | int, ...]
    """Path of the key; empty where the whole file is meant."""
    line: int
    message: str
    hint: str


def read(text: str, path: Path) -> tuple[Recipe | None, tuple[RecipeProblem, ...]]:
    """The recipe in `text`, or everything that is wrong with it, the most telling first."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        found = re.search(r"\(at line (\d+)", str(exc))
        line = int(found[1]) if found else max(text.count("\n"), 1)
        return None, (RecipeProblem((), line, f"not TOML: {str(exc).split(' (at')[0]}.", "Correct that line."),)
    except RecursionError:
        return None, (RecipeProblem((), 1, "not TOML: nested too deeply.", "Keep the recipe flat."),)
    recipe, problems = _validated(Recipe, raw, text, ())
    if recipe is None:
        return None, problems
    for number, adapter in enumerate(recipe.adapters):
        options = {**recipe.finetune.model_dump(), **adapter.finetune}
        problems += _validated(Finetune, options, text, ("adapters", number, "finetune"))[1]
    return (None, problems) if problems else (_absolute(recipe, path.absolute().parent), ())


def _validated(part: type[Part], raw: dict, text: str, prefix: tuple) -> tuple[Any, tuple[RecipeProblem, ...]]:
    try:
        return part.model_validate(raw), ()
    except ValidationError as exc:
        errors = sorted(exc.errors(), key=lambda error: error["type"] != "extra_forbidden")  # a misspelt table is also a missing one
        found = {_place(error, prefix): error for error in reversed(errors)}
        lines = key_lines(text)
        return None, tuple(_problem(found[place], place, part, nearest_line(lines, place), prefix) for place in reversed(found))


def _place(error: Any, prefix: tuple) -> tuple:
    return (*prefix, *(at for at in error["loc"] if not str(at).startswith(("tuple[", "function-", "constrained-", "float"))))


def _problem(error: Any, place: tuple, part: type[Part], line: int, prefix: tuple) -> RecipeProblem:
    dotted = ".".join(str(at) for at in place) or "recipe"
    match error["type"]:
        case "extra_forbidden":
            known = _fields_at(part, place[len(prefix) :][:-1])
            return RecipeProblem(place, line, f"unknown key '{dotted}'.", f"Known keys here: {', '.join(known)}.")
        case "missing":
            return RecipeProblem(place, line, f"'{dotted}' is missing.", "Add it; data/recipes/travel.toml shows every key.")
    own = error["type"] == "value_error"
    said = error["msg"].removeprefix("Value error, ") if own else _wanted(part, place[len(prefix) :], error["msg"])
    return RecipeProblem(place, line, f"'{dotted}': {said}; got {_short(error['input'])}.", "Correct that line.")


def _wanted(part: type[Part], place: tuple, said: str) -> str:
    """What the value may be, in the words of the form."""
    from toolkit.core.recipe_form import limits_at  # it is made from the types of this file

    return limits_at(part, place) or said.replace("Input should", "it must")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(part: type[BaseModel], place: tuple) -> list[str]:
    for at in place:
        field = part.model_fields.get(str(at)) if isinstance(at, str) else None
        if field is None:
            continue
        inner = next(
            (t for t in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(t, type) and issubclass(t, BaseModel)),
            None,
        )
        part = inner or part
    return sorted(part.model_fields)


def _absolute(recipe: Recipe, folder: Path) -> Recipe:
    def at(place: str) -> str:
        return str((folder / Path(place).expanduser()).resolve())

    adapters = tuple(
        adapter.model_copy(
            update={
                "train": tuple(map(at, adapter.train)),
                "held_out": adapter.held_out if isinstance(adapter.held_out, float) else tuple(map(at, adapter.held_out)),
            }
        )
        for adapter in recipe.adapters
    )
    model = recipe.model.model_copy(update={"source": at(recipe.model.source)}) if recipe.model.kind == "folder" else recipe.model
    quantize = recipe.quantize.model_copy(update={"calibration": tuple(map(at, recipe.quantize.calibration))})
    evaluate = recipe.evaluate.model_copy(update={"general": tuple(map(at, recipe.evaluate.general))})
    return recipe.model_copy(update={"adapters": adapters, "model": model, "quantize": quantize, "evaluate": evaluate})
