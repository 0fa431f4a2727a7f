"""Published weights of HuBERT and WavLM in the three layouts that are about -> the state dict of torchaudio's network.

fairseq (and Microsoft's WavLM-*.pt, which follows it), transformers (model.safetensors, pytorch_model.bin), torchaudio.
Only tensors are read, through `weight_file`; no package is asked to load a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from codecsep.codecs.base import CodecError
from codecsep.weight_file import read_pickled, read_safetensors

NAMES = ("model.safetensors", "pytorch_model.bin")
ACCEPTED = (
    "give a transformers directory, or a state dict of torchaudio, transformers or fairseq as .safetensors or .pt"
)
# What serves pre-training or a task: the mask's embedding, the predicted classes, a head.
NOT_OURS = re.compile(r"masked_spec_embed|mask_emb|label_embs_concat|(final_proj|project_q|lm_head|aux)\.\w+")
FROM_FAIRSEQ = (  # layer_norm of the features first: later rules make names that it would match
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"(conv_layers\.\d+)\.0\.", r"\1.conv."),
    (r"(conv_layers\.\d+)\.2\.(1\.)?", r"\1.layer_norm."),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.", ".attention."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
    (r"\.grep_linear\.", ".gru_rel_pos_linear."),
    (r"\.grep_a$", ".gru_rel_pos_const"),
    (r"\.relative_attention_bias\.", ".rel_attn_embed."),
)
FROM_TRANSFORMERS = (
    (r"^(hubert|wavlm)\.", ""),
    (r"^feature_projection\.", "encoder.feature_projection."),
    (r"^encoder\.(pos_conv_embed|layer_norm|layers)\b", r"encoder.transformer.\1"),
)
WEIGHT_NORM = (
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)


def read_speech_weights(path: Path) -> dict[str, Tensor]:
    """The state dict for torchaudio's HuBERT or WavLM.

    Raises CodecError (E355) when there is no such file, or no state dict in it, WeightFileError when it is damaged or
    holds more than weights.
    """
    file = find_file(Path(path))
    state = read_safetensors(file) if file.suffix == ".safetensors" else read_pickled(file)
    for key in ("model", "state_dict"):  # fairseq and Microsoft; trainers
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CodecError("E355", "holds no state dict", file, ACCEPTED)
    return to_torchaudio(state)


def find_file(path: Path) -> Path:
    """The file that a path means. Raises CodecError when there is none."""
    found = [path / name for name in NAMES if (path / name).is_file()] if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise CodecError("E355", f"no weights here{' (' + ' or '.join(NAMES) + ')' * path.is_dir()}", path, ACCEPTED)
    return found[0]


def to_torchaudio(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of any of the three layouts -> those of torchaudio; WavLM's queries, keys and values become one matrix."""
    if any(name.startswith("post_extract_proj.") for name in state):
        state = renamed(state, FROM_FAIRSEQ)
    if not any(name.startswith("encoder.transformer.") for name in state):
        state = renamed(state, FROM_TRANSFORMERS)
    state = renamed({name: value for name, value in state.items() if not NOT_OURS.fullmatch(name)}, WEIGHT_NORM)
    is_gated = any(name.endswith(".gru_rel_pos_const") for name in state)
    return joined_attention(state) if is_gated else state


def renamed(state: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """The same tensors, each rule (pattern, replacement) applied to every name in turn."""
    result = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result


def joined_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """WavLM as torchaudio has it: q, k, v stacked in `attention.attention.in_proj_*`."""
    result = {}
    for name, value in state.items():
        if match := re.fullmatch(r"(.*\.attention)\.([qkv])_proj\.(weight|bias)", name):
            parts = [state.get(f"{match[1]}.{letter}_proj.{match[3]}") for letter in "qkv"]
            if match[2] == "q" and all(part is not None for part in parts):
                result[f"{match[1]}.attention.in_proj_{match[3]}"] = torch.cat(parts)
            elif any(part is None for part in parts):
                result[name] = value  # left as it is: the network will say what it misses
        elif match := re.fullmatch(r"(.*\.layers\.\d+\.attention)\.(out_proj\.\w+)", name):
            result[f"{match[1]}.attention.{match[2]}"] = value
        else:
            result[name] = value
    return result
