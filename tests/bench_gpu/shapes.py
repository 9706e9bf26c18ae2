"""Models of real size with random weights: times and sizes do not depend on the values, quality cannot be read from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

HIDDEN, MIDDLE, HEADS, VOCABULARY, POSITIONS = 3072, 8192, 32, 32064, 4096
"""Phi-3.5-mini's shape: 3.8 billion weights with 32 layers, 7.64 GB in 16 bit."""


def phi35(folder: Path, layers: int = 32, dtype: str = "bfloat16", tokenizer: Path | None = None) -> Path:
    """A Hugging Face folder of that shape; `tokenizer` is a folder whose tokenizer files are laid beside it."""
    from transformers import Phi3Config, Phi3ForCausalLM

    config = Phi3Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=MIDDLE, num_hidden_layers=layers, num_attention_heads=HEADS,
        num_key_value_heads=HEADS, max_position_embeddings=POSITIONS, original_max_position_embeddings=POSITIONS,
        sliding_window=None, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Phi3ForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    for file in tokenizer.glob("*token*.json") if tokenizer else ():
        shutil.copy(file, folder)
    return folder


def sequences(folder: Path, count: int, length: int) -> list[list[int]]:
    """Token ids that any model of the shape knows, each sequence another, the same each time."""
    limit = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    made = torch.randint(10, limit - 10, (count, length), generator=torch.Generator().manual_seed(1))
    return made.tolist()


def byte_tokenizer(folder: Path) -> Path:
    """Tokenizer files laid into `folder`: one token a byte, so that a row of 1,024 letters has 1,024 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{sign: number + 3 for number, sign in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    fast.save_pretrained(folder)
    return folder
