"""Run by the build environment's Python: ONNX Runtime GenAI by itself, as its own examples use it.

`bare_decode.py MODEL THREADS TOKENS`: reads messages as JSON from standard input; writes tokens a second after the first, and milliseconds to it.
"""

import json
import os
import sys
import time

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime_genai as og


def main(folder: str, threads: int, tokens: int) -> None:
    config = og.Config(folder)
    config.clear_providers()
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = og.Model(config)
    tokenizer, params = og.Tokenizer(model), og.GeneratorParams(model)
    prompt = tokenizer.encode(tokenizer.apply_chat_template(sys.stdin.read(), add_generation_prompt=True))
    params.set_search_options(max_length=len(prompt) + tokens, do_sample=False)
    _decode(model, params, prompt[:8], 2)  # the first use is slow
    count, first_ms, seconds = _decode(model, params, prompt, tokens)
    print(json.dumps({"rate": count / seconds, "first_ms": first_ms}))


def _decode(model: og.Model, params: og.GeneratorParams, prompt, tokens: int) -> tuple[int, float, float]:
    generator = og.Generator(model, params)
    began = time.perf_counter()
    generator.append_tokens(prompt)
    generator.generate_next_token()
    first, count = time.perf_counter(), 0
    while not generator.is_done() and count < tokens - 1:
        generator.generate_next_token()
        count += 1
    return count, 1000 * (first - began), time.perf_counter() - first


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
