"""What the engine of batches brings, beside GenAI's own generator: `batch_facts.py MODEL_FOLDER`; prints it as JSON."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path

import genai as og
from batch_engine import BatchEngine
from lanes import Lane
from limits import Limits
from memory import resident_bytes
from model import Sampling
from model_folder import find_adapters, read_config

folder = Path(sys.argv[1])
adapters = find_adapters(folder / "adapters")
vocabulary = read_config(folder)["model"]["vocab_size"]
engine = BatchEngine(folder, "", adapters, Limits(max_length=200, together=4, threads=2))
dice = random.Random(7)


def prompt(length: int) -> list[int]:
    return [dice.randrange(10, vocabulary) for _ in range(length)]


def begin(tokens: list[int], adapter: str, sampling: Sampling, *, reuse: bool) -> tuple[Lane, list[int]] | None:
    lane = engine.take(tokens, adapter, sampling, reuse=reuse)
    return lane and (lane, [engine.feed(lane, tokens[len(lane.held) :], is_last=True).token])


def alone(tokens: list[int], adapter: str, sampling: Sampling, *, reuse: bool = False) -> list[int]:
    lane, answer = begin(tokens, adapter, sampling, reuse=reuse)
    while len(answer) < sampling.max_tokens:
        answer.append(engine.advance([lane])[0].token)
    engine.leave(lane, keep=True)
    return answer


def together(jobs: list[tuple[list[int], str, Sampling]]) -> dict[int, list[int]]:
    """All of them, as they find room: they begin and end at different times, over what others left."""
    todo, running, done = list(range(len(jobs))), {}, {}
    while todo or running:
        while todo and (begun := begin(*jobs[todo[0]], reuse=True)):
            running[todo.pop(0)] = begun
        for (_, answer), choice in zip(running.values(), engine.advance([lane for lane, _ in running.values()]), strict=True):
            answer.append(choice.token)
        for number in [number for number, (_, answer) in running.items() if len(answer) >= jobs[number][2].max_tokens]:
            lane, done[number] = running.pop(number)
            engine.leave(lane, keep=dice.random() < 0.5)
    return done


def by_genai(tokens: list[int], adapter: str, count: int) -> list[int]:
    config = og.Config(str(folder))
    config.clear_providers()
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": 2}}}}))
    model = og.Model(config)
    loaded = og.Adapters(model)
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=200, do_sample=False)
    generator = og.Generator(model, params)
    if adapter:
        loaded.load(str(adapters[adapter]), adapter)
        generator.set_active_adapter(loaded, adapter)
    generator.append_tokens(tokens)
    answer = []
    while len(answer) < count and not generator.is_done():
        generator.generate_next_token()
        answer.append(generator.get_next_tokens()[0])
    return answer


def jobs(**sampling: float) -> list[tuple[list[int], str, Sampling]]:
    names = ["", *adapters]
    made = [
        (prompt(dice.randrange(2, 60)), names[n % len(names)], Sampling(max_tokens=dice.randrange(2, 30), seed=n, **sampling))
        for n in range(10)
    ]
    return [*made, *((tokens + prompt(5), adapter, how) for tokens, adapter, how in made[:4])]


def logprobs() -> dict[str, float]:
    lane = engine.take(tokens := prompt(12), "", Sampling(max_tokens=4, logprobs=vocabulary), reuse=False)
    choice = engine.feed(lane, tokens, is_last=True)
    engine.leave(lane, keep=False)
    return {
        "sum": sum(math.exp(logprob) for _, logprob in choice.top),
        "tokens": len({token for token, _ in choice.top}),
        "is_best_first": choice.top[0] == (choice.token, choice.logprob),
    }


def growth() -> float:
    """How much memory grows from a first hundred of answers that are broken off to a third."""

    def break_off(times: int) -> int:
        for number in range(times):
            lane, _ = begin(prompt(50), ["", *adapters][number % (len(adapters) + 1)], Sampling(max_tokens=100), reuse=True)
            engine.advance([lane])
            engine.leave(lane, keep=True)
        return resident_bytes()

    return (first := break_off(100)) and break_off(200) / first


facts: dict[str, object] = {}
for name, how in (("greedy", {}), ("sampled", {"temperature": 1.0}), ("nucleus", {"temperature": 1.3, "top_k": 0, "top_p": 0.8})):
    asked = jobs(**how)
    expected = [alone(*job) for job in asked]
    answers = together(asked)
    facts[name] = [answers[number] == expected[number] for number in range(len(asked))]
    facts[f"{name} differ"] = len({tuple(answer) for answer in expected})
librarys = [(tokens, adapter, by_genai(tokens, adapter, 20)) for tokens, adapter, _ in jobs()[:6]]
facts["genai"] = [alone(tokens, adapter, Sampling(max_tokens=20))[: len(answer)] == answer for tokens, adapter, answer in librarys]
kept = prompt(40)
alone(kept, "", Sampling(max_tokens=2))
lane = engine.take([*kept, 11, 12, 13], "", Sampling(max_tokens=2), reuse=True)
facts["kept"] = len(lane.held)
engine.leave(lane, keep=True)
facts["kept for another adapter"] = len(engine.take([*kept, 11, 12, 13], next(iter(adapters)), Sampling(max_tokens=2), reuse=True).held)
engine = BatchEngine(folder, "", adapters, Limits(max_length=200, together=2, threads=2))
crowd = [engine.take(prompt(5), "", Sampling(max_tokens=9), reuse=True) for _ in range(3)]
facts["room for"] = sum(lane is not None for lane in crowd)
for lane in crowd[:2]:
    engine.leave(lane, keep=False)
facts["logprobs"] = logprobs()
facts["growth"] = growth()
print(json.dumps(facts))
