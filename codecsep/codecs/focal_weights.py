"""Official weights of FocalCodec-Stream -> the state dict of `focal_network.Network`, or what does not fit.

A release is a directory with config.json and model.safetensors (or model.pt); the file alone will do.  The names of the
tensors are the network's own, so nothing is renamed.  config.json, where there is one, is compared key by key: strides,
heads or the look-ahead change no shape, and a release of another kind would load and speak noise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codecsep.codecs.base import CodecError
from codecsep.codecs.focal_network import Config, Network
from codecsep.codecs.strict import require_exactly
from codecsep.weight_file import read_pickled, read_safetensors

NAMES = ("model.safetensors", "model.pt")
ENTRIES = 1 << 20  # bytes of a config.json


def meta_network(config: Config) -> Network:
    """The network without memory for its parameters: for names, shapes and counts, and to load weights into."""
    with torch.device("meta"):
        return Network(config)


def official_weights(path: Path, config: Config) -> dict[str, Tensor]:
    """The tensors of a release, as float32, in the network's order.

    Raises CodecError naming the first tensor or setting that is not what `config` says.
    """
    file = find_file(path)
    settings = file.with_name("config.json")
    if settings.is_file():
        check_settings(settings, config)
    tensors = read_safetensors(file) if file.suffix == ".safetensors" else read_pickled(file)
    shapes = {name: tuple(tensor.shape) for name, tensor in meta_network(config).state_dict().items()}
    checked = require_exactly(tensors, shapes, file)
    return {name: checked[name].float().contiguous() for name in shapes}


def find_file(path: Path) -> Path:
    """The file of weights that is meant by a path."""
    if not path.is_dir():
        return path
    found = [path / name for name in NAMES if (path / name).is_file()]
    if not found:
        fix = "give the directory that holds the release's files, or the file itself"
        raise CodecError("E350", f"holds none of {', '.join(NAMES)}", path, fix)
    return found[0]


def check_settings(path: Path, config: Config) -> None:
    """Raise CodecError unless config.json of a release says what `config` says.

    A key that it leaves out has the official default, which is that of `Config`; without `causal` it is not causal.
    """
    fix = "give the sizes of this release with --config, or another release"
    try:
        given = json.loads(path.read_bytes()[:ENTRIES])
    except (ValueError, RecursionError) as error:
        raise CodecError("E440", f"is no JSON ({error})", path, fix) from error
    defaults = official_settings(Config()) | {f"{part}_config.causal": False for part in PARTS}
    for key, wanted in official_settings(config).items():
        section, _, name = key.rpartition(".")
        table = given if isinstance(given, dict) else {}
        table = table.get(section) or {} if section else table
        found = table.get(name, defaults[key]) if isinstance(table, dict) else None
        if found != wanted:
            raise CodecError("E440", f"{key} is {str(found)[:80]}, not {wanted}", path, fix)


PARTS = {"encoder": "WavLM", "compressor": "FocalEncoder", "decompressor": "FocalDecoder", "decoder": "WaveNeXt"}


def official_settings(config: Config) -> dict[str, Any]:
    """What config.json of a release says about `config`, as section.key -> value."""
    wavlm, focal, decoder = config.encoder, config.focal, config.decoder
    widths, ones = [focal.width] * focal.layers, [1] * focal.layers
    shared = {"hidden_dims": widths, "focal_window": focal.focal_window, "focal_level": focal.focal_levels,
              "focal_factor": focal.focal_factor, "window_size": focal.window, "use_post_norm": False,
              "use_layerscale": False, "normalize_modulator": False, "causal": True}  # fmt: skip
    sections = {
        "encoder": {"hidden_dims": [wavlm.conv_width] * len(wavlm.kernels), "kernel_sizes": wavlm.kernels,
                    "strides": wavlm.strides, "num_layers": wavlm.layers, "dim": wavlm.width,
                    "ffn_dim": wavlm.ffn_width, "num_heads": wavlm.heads, "num_buckets": wavlm.buckets,
                    "max_distance": wavlm.max_distance, "conv_pos": wavlm.position_kernel,
                    "conv_pos_groups": wavlm.position_groups, "window_size": wavlm.window,
                    "lookahead_size": wavlm.chunk - 1, "causal": True},
        "compressor": {"input_dim": wavlm.width, "output_dim": config.bits, "downscale_factors": ones, **shared},
        "quantizer": {"codebook_size": 1 << config.bits},
        "decompressor": {"input_dim": config.bits, "output_dim": wavlm.width, "upscale_factors": ones, **shared,
                         "last_window_size": focal.window, "lookahead_size": wavlm.chunk - 1},
        "decoder": {"input_dim": wavlm.width, "num_layers": decoder.layers, "dim": decoder.width,
                    "ffn_dim": decoder.ffn_width, "kernel_size": decoder.kernel, "hop_length": decoder.hop,
                    "causal": True},
    }  # fmt: skip
    settings = {f"{part}_config.{key}": value for part, keys in sections.items() for key, value in keys.items()}
    return settings | {f"{part}_name": name for part, name in PARTS.items()}
