"""The original model in PyTorch: the yardstick that exported graphs are held against."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from passes.lora_events import fastest_dtype
from rows import Tokens
from scoring import Likelihood, Speed
from transformers import AutoModelForCausalLM

_ROWS_AT_ONCE = 64


class TorchSpeaker:
    """Answers and likelihoods of a Hugging Face model."""

    def __init__(self, folder: Path, tokenizer, trust_remote_code: bool = False, is_exact: bool = False) -> None:
        """`is_exact`: in float32 on a CPU, where bfloat16 would be faster."""
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.float32 if is_exact and self.device == "cpu" else getattr(torch, fastest_dtype())
        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=trust_remote_code)
        self.model = loaded.eval().to(self.device)
        self.tokenizer = tokenizer
        self.speed = Speed()

    @torch.inference_mode()
    def perplexity(self, rows: list[Tokens]) -> float:
        likelihood = Likelihood()
        for row in rows:
            ids = torch.tensor([row.ids], device=self.device)
            logits = self.model(input_ids=ids, use_cache=False).logits[0, row.answer_from - 1 : -1]
            likelihood.add(logits.float().cpu().numpy(), row.ids[row.answer_from :])
        return likelihood.perplexity

    @torch.inference_mode()
    def answers(self, prompts: list[list[int]], max_new_tokens: int) -> list[str]:
        """Greedy answers to prompts given as token ids."""
        said = []
        for start in range(0, len(prompts), _ROWS_AT_ONCE):
            said += self._answer_some(prompts[start : start + _ROWS_AT_ONCE], max_new_tokens)
        return said

    def _answer_some(self, prompts: list[list[int]], max_new_tokens: int) -> list[str]:
        longest = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.tokenizer.eos_token_id
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        began = time.monotonic()
        made = self.model.generate(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device),
            max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=pad,
        )[:, longest:]  # fmt: skip
        self.speed.seconds += time.monotonic() - began
        self.speed.tokens += int((made != pad).sum())
        return self.tokenizer.batch_decode(made, skip_special_tokens=True)
