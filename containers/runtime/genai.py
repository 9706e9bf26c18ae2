"""ONNX Runtime GenAI through its C API, with the names and the meaning of its Python package `onnxruntime_genai`.

That package brings a module compiled for one Python and needs numpy: 45 MB of an image. ctypes needs neither, and lets go of the interpreter
lock in every call, so that the server answers while the model computes. Here is what the server uses; tokens are lists of int, tensors flat
memoryviews. Like the library itself, an object is for one thread at a time. Works with GenAI 0.14 to 0.18.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import POINTER, byref, c_bool, c_char_p, c_double, c_int32, c_size_t, c_void_p
from typing import Any

from genai_library import FOLDER, Handle, call, function, owned_string, text
from genai_tensor import Tensor

_OUT = POINTER(c_void_p)
_TOKENS = POINTER(c_int32)

_set_log_bool = call("OgaSetLogBool", c_char_p, c_bool)
_set_log_string = call("OgaSetLogString", c_char_p, c_char_p)


def set_log_options(**options: bool | str) -> None:
    """What the library logs: `enabled=True, warning=True, filename="…"`."""
    for name, value in options.items():
        if isinstance(value, bool):
            _set_log_bool(text(name), value)
        else:
            _set_log_string(text(name), text(value))


def is_cuda_available() -> bool:
    """Whether the library that is installed can compute on NVIDIA's GPUs; not whether there is one."""
    return (FOLDER / "libonnxruntime-genai-cuda.so").exists()


def _optional(value: str | None) -> bytes | None:
    return None if value is None else text(value)


def _tokens(values: Sequence[int]) -> ctypes.Array[c_int32]:
    return (c_int32 * len(values))(*values)


_create_config = call("OgaCreateConfig", c_char_p, _OUT)
_destroy_config = function("OgaDestroyConfig", None, c_void_p)
_clear_providers = call("OgaConfigClearProviders", c_void_p)
_append_provider = call("OgaConfigAppendProvider", c_void_p, c_char_p)
_set_provider_option = call("OgaConfigSetProviderOption", c_void_p, c_char_p, c_char_p, c_char_p)
_overlay = call("OgaConfigOverlay", c_void_p, c_char_p)
_add_model_data = call("OgaConfigAddModelData", c_void_p, c_char_p, c_char_p, c_size_t)


class Config(Handle):
    """`genai_config.json` of a model folder, to be changed before the model is loaded."""

    def __init__(self, folder: str) -> None:
        super().__init__(_create_config, _destroy_config, text(folder))

    def clear_providers(self) -> None:
        _clear_providers(self)

    def append_provider(self, provider: str) -> None:
        _append_provider(self, text(provider))

    def set_provider_option(self, provider: str, key: str, value: str) -> None:
        _set_provider_option(self, text(provider), text(key), text(value))

    def overlay(self, json: str) -> None:
        _overlay(self, text(json))

    def add_model_data(self, name: str, data: bytes) -> None:
        """A file of the model that is in memory; it must outlive the loading."""
        self._data = data
        _add_model_data(self, text(name), data, len(data))


_create_model = call("OgaCreateModelFromConfig", c_void_p, _OUT)
_destroy_model = function("OgaDestroyModel", None, c_void_p)
_model_type = call("OgaModelGetType", c_void_p, _OUT)
_model_device_type = call("OgaModelGetDeviceType", c_void_p, _OUT)


class Model(Handle):
    """A loaded model."""

    def __init__(self, config: Config) -> None:
        super().__init__(_create_model, _destroy_model, config)

    @property
    def type(self) -> str:
        return self._string(_model_type)

    @property
    def device_type(self) -> str:
        """Where it computes, such as `CPU` or `CUDA`."""
        return self._string(_model_device_type)

    def _string(self, ask: Callable[..., Any]) -> str:
        found = c_void_p()
        ask(self, byref(found))
        return owned_string(found)


_create_tokenizer = call("OgaCreateTokenizer", c_void_p, _OUT)
_destroy_tokenizer = function("OgaDestroyTokenizer", None, c_void_p)
_create_sequences = call("OgaCreateSequences", _OUT)
_destroy_sequences = function("OgaDestroySequences", None, c_void_p)
_sequence_length = function("OgaSequencesGetSequenceCount", c_size_t, c_void_p, c_size_t)
_sequence_tokens = function("OgaSequencesGetSequenceData", _TOKENS, c_void_p, c_size_t)
_encode = call("OgaTokenizerEncode", c_void_p, c_char_p, c_void_p)
_decode = call("OgaTokenizerDecode", c_void_p, _TOKENS, c_size_t, _OUT)
_to_token_id = call("OgaTokenizerToTokenId", c_void_p, c_char_p, _TOKENS)
_apply_chat_template = call("OgaTokenizerApplyChatTemplate", c_void_p, c_char_p, c_char_p, c_char_p, c_bool, _OUT)


class _Sequences(Handle):
    def __init__(self) -> None:
        super().__init__(_create_sequences, _destroy_sequences)


class Tokenizer(Handle):
    """The tokenizer and the chat template of a model."""

    def __init__(self, model: Model) -> None:
        super().__init__(_create_tokenizer, _destroy_tokenizer, model, needs=(model,))

    def encode(self, string: str) -> list[int]:
        sequences = _Sequences()
        _encode(self, text(string), sequences)
        return _sequence_tokens(sequences, 0)[: _sequence_length(sequences, 0)]

    def decode(self, tokens: Sequence[int]) -> str:
        if not tokens:
            return ""  # the library divides by their number and dies
        found = c_void_p()
        _decode(self, _tokens(tokens), len(tokens), byref(found))
        return owned_string(found)

    def to_token_id(self, string: str) -> int:
        """The id of what is one token."""
        token = c_int32()
        _to_token_id(self, text(string), byref(token))
        return token.value

    def apply_chat_template(
        self, messages: str, *, template_str: str | None = None, tools: str | None = None, add_generation_prompt: bool = True
    ) -> str:
        """The text of a conversation. `messages` and `tools` are JSON."""
        found = c_void_p()
        _apply_chat_template(self, _optional(template_str), text(messages), _optional(tools), add_generation_prompt, byref(found))
        return owned_string(found)

    def create_stream(self) -> TokenizerStream:
        return TokenizerStream(self)


_create_stream = call("OgaCreateTokenizerStream", c_void_p, _OUT)
_destroy_stream = function("OgaDestroyTokenizerStream", None, c_void_p)
_stream_decode = call("OgaTokenizerStreamDecode", c_void_p, c_int32, POINTER(c_char_p))


class TokenizerStream(Handle):
    """Turns tokens into text one by one; a token that ends in the middle of a character brings its text with the next."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(_create_stream, _destroy_stream, tokenizer, needs=(tokenizer,))

    def decode(self, token: int) -> str:
        found = c_char_p()  # the stream's own, until the next call
        _stream_decode(self, token, byref(found))
        return (found.value or b"").decode(errors="replace")


_create_params = call("OgaCreateGeneratorParams", c_void_p, _OUT)
_destroy_params = function("OgaDestroyGeneratorParams", None, c_void_p)
_set_search_number = call("OgaGeneratorParamsSetSearchNumber", c_void_p, c_char_p, c_double)
_set_search_bool = call("OgaGeneratorParamsSetSearchBool", c_void_p, c_char_p, c_bool)


class GeneratorParams(Handle):
    """How a generator searches."""

    def __init__(self, model: Model) -> None:
        super().__init__(_create_params, _destroy_params, model, needs=(model,))

    def set_search_options(self, **options: bool | int | float) -> None:
        for name, value in options.items():
            set_option = _set_search_bool if isinstance(value, bool) else _set_search_number
            set_option(self, text(name), value)


_create_adapters = call("OgaCreateAdapters", c_void_p, _OUT)
_destroy_adapters = function("OgaDestroyAdapters", None, c_void_p)
_load_adapter = call("OgaLoadAdapter", c_void_p, c_char_p, c_char_p)
_unload_adapter = call("OgaUnloadAdapter", c_void_p, c_char_p)


class Adapters(Handle):
    """Adapters in memory, by name."""

    def __init__(self, model: Model) -> None:
        super().__init__(_create_adapters, _destroy_adapters, model, needs=(model,))

    def load(self, path: str, name: str) -> None:
        _load_adapter(self, text(path), text(name))

    def unload(self, name: str) -> None:
        """Fails while a generator has it active."""
        _unload_adapter(self, text(name))


_create_generator = call("OgaCreateGenerator", c_void_p, c_void_p, _OUT)
_destroy_generator = function("OgaDestroyGenerator", None, c_void_p)
_append_tokens = call("OgaGenerator_AppendTokens", c_void_p, _TOKENS, c_size_t)
_generate_next_token = call("OgaGenerator_GenerateNextToken", c_void_p)
_next_tokens = call("OgaGenerator_GetNextTokens", c_void_p, POINTER(_TOKENS), POINTER(c_size_t))
_generated_length = function("OgaGenerator_GetSequenceCount", c_size_t, c_void_p, c_size_t)
_generated_tokens = function("OgaGenerator_GetSequenceData", _TOKENS, c_void_p, c_size_t)
_token_count = function("OgaGenerator_TokenCount", c_size_t, c_void_p)
_is_done = function("OgaGenerator_IsDone", c_bool, c_void_p)
_rewind_to = call("OgaGenerator_RewindTo", c_void_p, c_size_t)
_get_logits = call("OgaGenerator_GetLogits", c_void_p, _OUT)
_get_output = call("OgaGenerator_GetOutput", c_void_p, c_char_p, _OUT)
_set_active_adapter = call("OgaSetActiveAdapter", c_void_p, c_void_p, c_char_p)
_set_runtime_option = call("OgaGenerator_SetRuntimeOption", c_void_p, c_char_p, c_char_p)


class Generator(Handle):
    """One generation with its key-value cache: as many sequences as the search option `batch_size` says."""

    def __init__(self, model: Model, params: GeneratorParams) -> None:
        super().__init__(_create_generator, _destroy_generator, model, params, needs=(model, params))

    def append_tokens(self, tokens: Sequence[int]) -> None:
        """Take tokens in. Those of several sequences, all of one length, come one after the other."""
        _append_tokens(self, _tokens(tokens), len(tokens))

    def generate_next_token(self) -> None:
        _generate_next_token(self)

    def get_next_tokens(self) -> list[int]:
        """The token that came last, of each sequence."""
        tokens, count = _TOKENS(), c_size_t()
        _next_tokens(self, byref(tokens), byref(count))
        return tokens[: count.value]

    def get_sequence(self, index: int) -> list[int]:
        """Prompt and answer so far."""
        return _generated_tokens(self, index)[: _generated_length(self, index)]

    def token_count(self) -> int:
        return _token_count(self)

    def is_done(self) -> bool:
        return _is_done(self)

    def rewind_to(self, length: int) -> None:
        """Go back to where the sequence was this long."""
        _rewind_to(self, length)

    def get_logits(self) -> memoryview:
        """A copy of the logits that the next token comes from, of each sequence. Not after the last token: `is_done` would forget it."""
        return Tensor(_get_logits, self).copy()

    def get_output(self, name: str) -> memoryview:
        """A copy of an output of the graph's last run."""
        return Tensor(_get_output, self, text(name)).copy()

    def set_active_adapter(self, adapters: Adapters, name: str) -> None:
        _set_active_adapter(self, adapters, text(name))
        self._needs = (*self._needs, adapters)

    def set_runtime_option(self, key: str, value: str) -> None:
        """`terminate_session` "1" ends a running computation with an error, also from another thread."""
        _set_runtime_option(self, text(key), text(value))
