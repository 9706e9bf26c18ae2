"""Everything the server asks of the library, asked of the module that is named: `speak.py MODULE MODEL_FOLDER`; prints what it said as JSON."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name three colours — größer, 漢字, 🙂."}]
TEXTS = ("", "The capital of France is", " größer  als\n\n漢字 🙂", "<|im_end|> is no end", "a" * 500)

og = importlib.import_module(sys.argv[1])
folder = Path(sys.argv[2])
config = og.Config(str(folder))
config.clear_providers()
config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}))
model = og.Model(config)
tokenizer = og.Tokenizer(model)
adapters = og.Adapters(model)
names = sorted(path.stem for path in (folder / "adapters").glob("*.onnx_adapter"))
for name in names:
    adapters.load(str(folder / f"adapters/{name}.onnx_adapter"), name)


def numbers(found: object) -> list:
    """A numpy array of any shape or a flat memoryview, as a flat list."""
    return (found.flatten() if hasattr(found, "flatten") else found).tolist()


def ints(found: object) -> list[int]:
    return [int(token) for token in found]


def generator(**options: object) -> object:
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=64, **options)
    return og.Generator(model, params)


def texts() -> object:
    encoded = [ints(tokenizer.encode(text)) for text in TEXTS]
    return encoded, [tokenizer.decode(tokens) for tokens in encoded if tokens], tokenizer.to_token_id(tokenizer.decode(encoded[1][:1]))


def template() -> object:
    messages = json.dumps(MESSAGES)
    return [tokenizer.apply_chat_template(messages), tokenizer.apply_chat_template(messages, add_generation_prompt=False)]


def other_template() -> object:
    return tokenizer.apply_chat_template(json.dumps(MESSAGES), template_str="{{ messages[1].content }}", tools="[]")


def answer(adapter: str, **options: object) -> object:
    generation, stream = generator(**options), tokenizer.create_stream()
    if adapter:
        generation.set_active_adapter(adapters, adapter)
    generation.append_tokens(ints(tokenizer.encode(TEXTS[1])))
    words, logits = [], []
    while not generation.is_done():
        logits.append(sum(numbers(generation.get_logits())))
        generation.generate_next_token()
        words.append(stream.decode(int(generation.get_next_tokens()[0])))
    return words, logits, ints(generation.get_sequence(0))


def rewound() -> object:
    generation, prompt = generator(do_sample=False), ints(tokenizer.encode(TEXTS[1]))
    generation.append_tokens(prompt)
    for _ in range(5):
        generation.generate_next_token()
    counts = [generation.token_count()]
    generation.rewind_to(len(prompt))
    counts.append(generation.token_count())
    generation.append_tokens(prompt)
    generation.generate_next_token()
    return counts, ints(generation.get_sequence(0)), numbers(generation.get_output("logits"))


def side_by_side() -> object:
    generation, prompt = generator(do_sample=False, batch_size=2), ints(tokenizer.encode(TEXTS[1]))
    generation.append_tokens([*prompt, *reversed(prompt)])
    generation.generate_next_token()
    return ints(generation.get_next_tokens()), [ints(generation.get_sequence(index)) for index in (0, 1)]


def error_of(act: Callable[[], object]) -> str:
    try:
        act()
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    return "no error"


def errors() -> object:
    ended = generator(do_sample=False)
    ended.set_runtime_option("terminate_session", "1")
    acts = {
        "config": lambda: og.Config("/nowhere"),
        "overlay": lambda: config.overlay("{"),
        "adapter": lambda: adapters.load("/nowhere.onnx_adapter", "none"),
        "unknown": lambda: generator(do_sample=False).set_active_adapter(adapters, "none"),
        "loaded twice": lambda: adapters.load(str(folder / f"adapters/{names[0]}.onnx_adapter"), names[0]),
        "option": lambda: generator(no_such_option=1),
        "too long": lambda: generator(do_sample=False).append_tokens([1] * 100),
        "template": lambda: tokenizer.apply_chat_template("no JSON"),
        "rewind": lambda: generator(do_sample=False).rewind_to(9),
        "terminated": lambda: ended.append_tokens([1]),
    }
    return {name: error_of(act) for name, act in acts.items()}


said = {
    "model": [model.type, model.device_type, og.is_cuda_available()],
    "texts": texts(),
    "template": template(),
    "other template": error_of(other_template),
    "greedy": {name: answer(name, do_sample=False) for name in ("", *names)},
    "sampled": [answer("", do_sample=True, temperature=1.2, top_k=20, top_p=0.9, random_seed=seed) for seed in (1, 2)],
    "rewound": rewound(),
    "side by side": side_by_side(),
    "errors": errors(),
}
print(json.dumps(said))
