"""Run by the build environment's Python: what the server and what Hugging Face's transformers make of conversations.

`encode_both.py RUNTIME MODEL CONVERSATIONS OUT`: writes a list of [the server's ids, Hugging Face's ids].
"""

import json
import sys
from pathlib import Path


def main(runtime: str, model: str, conversations: str, out: str) -> None:
    sys.path.insert(0, runtime)
    from generate import LocalModel
    from transformers import AutoTokenizer

    served, reference = LocalModel(Path(model), {}, max_length=0), AutoTokenizer.from_pretrained(model)
    asked = json.loads(Path(conversations).read_text("utf-8"))
    pairs = [(served.encode(messages), _reference_ids(reference, messages)) for messages in asked]
    Path(out).write_text(json.dumps(pairs))


def _reference_ids(tokenizer, messages: list[dict[str, str]]) -> list[int]:
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
