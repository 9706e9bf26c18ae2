"""Model folders: what is wrong with one is told before anything long starts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.services.fixtures import missing
from tests.tiny import BUILD_PYTHON
from toolkit.core.modelcheck import EXPORTABLE, KNOWN_LAYERS, check_model
from toolkit.errors import ModelError

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4,
    "num_hidden_layers": 2,
    "vocab_size": 6,
    "max_position_embeddings": 128,
}


def save_tensors(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "F16", cut: int = 0) -> Path:
    """A safetensors file of zeros, short of its last `cut` bytes."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * shape[1]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(end)
    path.write_bytes(content[: len(content) - cut])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small whole model."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    save_tensors(tmp_path / "model.safetensors", {"model.embed_tokens.weight": (6, 4), "model.norm.weight": (1, 4)})
    return tmp_path


def with_config(folder: Path, **changed: object) -> Path:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changed}))
    return folder


def refusal(folder: Path, **asked: object) -> ModelError:
    with pytest.raises(ModelError) as raised:
        check_model(folder, **asked)
    assert raised.value.hint
    return raised.value


def test_a_whole_model_tells_its_facts(folder):
    facts = check_model(folder, "awq")
    assert (facts.parameters, facts.bytes, facts.dtype) == (28, 56, "F16")
    assert (facts.layers, facts.hidden, facts.vocab, facts.context) == (2, 4, 6, 128)
    assert facts.tied
    assert not facts.custom_code


def test_an_output_layer_of_its_own_is_not_tied(folder):
    save_tensors(folder / "model.safetensors", {"model.embed_tokens.weight": (6, 4), "lm_head.weight": (6, 4)})
    assert not check_model(folder).tied


def test_shards_are_added_up(folder):
    (folder / "model.safetensors").unlink()
    save_tensors(folder / "model-00001-of-00002.safetensors", {"a": (2, 2)}, "BF16")
    save_tensors(folder / "model-00002-of-00002.safetensors", {"b": (3, 2)}, "BF16")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = check_model(folder)
    assert (facts.parameters, facts.bytes, facts.dtype) == (10, 20, "BF16")

    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "lacks 1 of 2 weight files: model-00002-of-00002.safetensors" in refusal(folder).message

    save_tensors(folder / "model-00002-of-00002.safetensors", {"c": (3, 2)})
    assert "1 tensors that model.safetensors.index.json lists are in no file: b" in refusal(folder).message


def test_an_index_cannot_point_outside_the_folder(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    assert "lacks 1 of 1 weight files" in refusal(folder).message


def test_shards_without_an_index_are_told(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    assert "1 weight files but no model.safetensors.index.json" in refusal(folder).message


def test_a_truncated_file_tells_both_sizes(folder):
    path = save_tensors(folder / "model.safetensors", {"a": (8, 8)}, cut=5)
    has = path.stat().st_size
    assert f"truncated: file has {has} bytes, header promises {has + 5}" in refusal(folder).message


@pytest.mark.parametrize("cut", [4, 100, 10_000])
def test_a_file_cut_anywhere_is_refused(folder, cut):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-cut])
    assert "model.safetensors: " in refusal(folder).message


def test_a_header_that_is_no_json_is_refused(folder):
    (folder / "model.safetensors").write_bytes((4).to_bytes(8, "little") + b"oops")
    assert "its header is not readable" in refusal(folder).message


def test_a_git_lfs_pointer_is_recognised(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    refused = refusal(folder)
    assert "a Git LFS pointer, not the weights" in refused.message
    assert "git lfs pull" in refused.hint


def test_pickled_weights_are_refused_with_the_way_to_convert_them(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused = refusal(folder)
    assert "only as pytorch_model.bin" in refused.message
    assert "safe_serialization=True" in refused.hint


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "has no weights" in refusal(folder).message


def test_a_missing_or_broken_config_is_told(folder):
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refusal(folder).message
    (folder / "config.json").write_text("[]")
    assert "config.json holds no JSON object" in refusal(folder).message
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder).message
    assert "is not a folder" in refusal(folder / "nowhere").message


@pytest.mark.parametrize("missing", ["architectures", "num_hidden_layers", "vocab_size"])
def test_a_config_that_lacks_a_fact_names_it(folder, missing):
    with_config(folder, **{missing: None})
    assert missing.rstrip("s").split("_")[0] in refusal(folder).message


def test_a_missing_tokenizer_is_told(folder):
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer" in refusal(folder).message
    (folder / "tokenizer.model").write_bytes(b"x")
    assert "has no tokenizer" in refusal(folder).message
    (folder / "tokenizer_config.json").write_text("{}")
    assert check_model(folder).layers == 2


def test_an_adapter_folder_names_its_base_model(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    refused = refusal(folder)
    assert "only an adapter" in refused.message
    assert "someone/base" in refused.hint


def test_a_quantized_model_is_refused_with_the_reason(folder):
    refused = refusal(with_config(folder, quantization_config={"quant_method": "gptq"}))
    assert "quantized already (gptq)" in refused.message
    assert "original weights" in refused.message


def test_an_architecture_that_cannot_be_exported_is_refused(folder):
    refused = refusal(with_config(folder, architectures=["BertForMaskedLM"]))
    assert "BertForMaskedLM cannot be exported" in refused.message
    assert "LlamaForCausalLM" in refused.hint


@pytest.mark.parametrize("algorithm", ["awq", "gptq", "rtn"])
def test_quantizing_is_refused_for_an_architecture_whose_layers_are_not_known(folder, algorithm):
    with_config(folder, architectures=["GemmaForCausalLM"])
    refused = refusal(folder, algorithm=algorithm)
    assert f"GemmaForCausalLM cannot be quantized with {algorithm}" in refused.message
    assert 'algorithm = "none"' in refused.hint
    assert check_model(folder, "none").architecture == "GemmaForCausalLM"
    assert KNOWN_LAYERS < EXPORTABLE


def test_code_in_the_model_needs_trust(folder):
    with_config(folder, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    assert "trust_remote_code = true" in refusal(folder).hint
    assert check_model(folder, trust_remote_code=True).custom_code


def test_the_list_of_architectures_is_the_one_of_the_exporter():
    if not BUILD_PYTHON.exists():
        missing("The build environment", "make build-env")
    code = "import importlib.util as u; print(u.find_spec('onnxruntime_genai').submodule_search_locations[0])"
    exporter = Path(subprocess.run([str(BUILD_PYTHON), "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    source = (exporter / "models" / "builder.py").read_text("utf-8")
    known = set(re.findall(r'architectures\[0\] == "(\w+)"', source))
    assert known - EXPORTABLE == {"WhisperForConditionalGeneration"}
    assert known >= EXPORTABLE
