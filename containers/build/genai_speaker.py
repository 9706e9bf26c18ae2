"""The exported files through ONNX Runtime GenAI: exactly what a device will run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime_genai as genai
from accelerator import require_cuda
from rows import Tokens
from scoring import Likelihood, Speed

ADAPTER = "evaluated"


class GenaiSpeaker:
    """Answers and likelihoods of an exported graph, with an adapter or without."""

    def __init__(self, folder: Path, adapter: Path | None = None, provider: str = "cpu") -> None:
        require_cuda(provider)
        config = genai.Config(str(folder))
        config.clear_providers()
        if provider != "cpu":
            config.append_provider(provider)
        if provider == "cuda":
            config.set_provider_option("cuda", "enable_cuda_graph", "1")
        self.model = genai.Model(config)
        self.tokenizer = genai.Tokenizer(self.model)
        self.adapters = genai.Adapters(self.model)
        self.is_merged = adapter is None
        """With or without the adapter is the same here: it is in the graph, or there is none."""
        if adapter is not None:
            self.adapters.load(str(adapter), ADAPTER)
        self.speeds = {False: Speed(), True: Speed()}

    def prompt_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, by this runtime's own template and tokenizer."""
        text = self.tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
        return [int(token) for token in self.tokenizer.encode(text)]

    def _generator(self, length: int, with_adapter: bool) -> genai.Generator:
        params = genai.GeneratorParams(self.model)
        params.set_search_options(max_length=length, do_sample=False)
        generator = genai.Generator(self.model, params)
        if with_adapter and not self.is_merged:
            generator.set_active_adapter(self.adapters, ADAPTER)
        return generator

    def add_likelihood(self, likelihood: Likelihood, row: Tokens, with_adapter: bool) -> None:
        generator = self._generator(len(row.ids) + 1, with_adapter)
        generator.append_tokens(np.array(row.ids, dtype=np.int32))
        logits = np.asarray(generator.get_output("logits"))[0]
        likelihood.add(logits[row.answer_from - 1 : len(row.ids) - 1], row.ids[row.answer_from :])

    def answer(self, prompt: list[int], max_new_tokens: int, with_adapter: bool) -> str:
        """A greedy answer to a prompt given as token ids."""
        generator = self._generator(len(prompt) + max_new_tokens, with_adapter)
        generator.append_tokens(np.array(prompt, dtype=np.int32))
        tokens: list[int] = []
        began = None
        while not generator.is_done() and len(tokens) < max_new_tokens:
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
            began = began or time.monotonic()  # the first token pays for the prompt
        speed = self.speeds[with_adapter]
        speed.tokens += len(tokens) - 1
        speed.seconds += time.monotonic() - began if began else 0.0
        return self.tokenizer.decode(np.array(tokens, dtype=np.int32))

    def best_speed(self, prompt: list[int], tokens: int, tries: int = 3) -> float:
        """Tokens a second after the first one, the best of a few tries: what else the machine does only takes away."""
        return max(self._speed(prompt, tokens) for _ in range(tries))

    def _speed(self, prompt: list[int], tokens: int) -> float:
        params = genai.GeneratorParams(self.model)
        length = len(prompt) + tokens
        params.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = genai.Generator(self.model, params)
        generator.append_tokens(np.array(prompt, dtype=np.int32))
        generator.generate_next_token()
        began, speed = time.monotonic(), Speed()
        while not generator.is_done():
            generator.generate_next_token()
            speed.tokens += 1
        speed.seconds = time.monotonic() - began
        return speed.tokens_per_second
