"""CTranslate2 as a contender: our decoder's own weights in its Whisper model, which has the same wiring.

Its Whisper takes memories in place of what its encoder would give, so that nothing but the decoder runs. Its rows have
one common length (suppressed <eos>, max_length), hence it is compared on batches of equal length only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codecsep.bin.bench_queue import Utterance, padded_memory
from codecsep.bin.bench_twins import require
from codecsep.models.slm_ss import AutoregressivePart
from codecsep.nn.attention import Attention

MELS = 8  # of the encoder that never runs


class CTranslate2:
    """Greedy decoding on one thread. compute: "float32" or "int8". Raises PackageError without ctranslate2."""

    def __init__(self, part: AutoregressivePart, compute: str, memory: int):
        require("ctranslate2")
        import ctranslate2

        self.vocab, self.storage = part.vocab, ctranslate2.StorageView
        with tempfile.TemporaryDirectory() as folder:
            _specification(part, memory).save(folder)
            self.model = ctranslate2.models.Whisper(
                folder, device="cpu", compute_type=compute, inter_threads=1, intra_threads=1
            )

    def decode(self, rows: Sequence[Utterance]) -> list[int]:
        """Tokens decoded for each row."""
        return [len(ids) - 1 for ids in self.tokens(rows)]

    def tokens(self, rows: Sequence[Utterance]) -> list[list[int]]:
        """<sos> and as many tokens as the first row wants, for every row. <sc> follows <sos>: it has the place of
        Whisper's "no time stamps", which must be in the prompt. Whisper decodes half of max_length at most."""
        features = self.storage.from_array(np.ascontiguousarray(padded_memory(rows)[0].numpy()))
        prompt = [self.vocab.sos, self.vocab.sc]
        found = self.model.generate(
            features, [prompt] * len(rows), beam_size=1, max_length=2 * (rows[0].tokens - 1),
            suppress_blank=False, suppress_tokens=[self.vocab.eos],
        )  # fmt: skip
        return [[*prompt, *row.sequences_ids[0]] for row in found]


def _specification(part: AutoregressivePart, memory: int) -> Any:
    """The network as CTranslate2 describes a Whisper model."""
    from ctranslate2.specs import WhisperSpec

    blocks = part.decoder.blocks
    heads, width = blocks[0].attention.num_heads, part.config.decoder.width
    spec = WhisperSpec(1, heads, len(blocks), heads)
    table = part.tables.output(0)[0]
    spec.decoder.embeddings.weight = _array(table)
    spec.decoder.projection.weight = _array(table)
    spec.decoder.position_encodings.encodings = _array(part.positions.table.table.weight)
    _norm(spec.decoder.layer_norm, part.decoder.norm)
    for target, block in zip(spec.decoder.layer, blocks, strict=True):
        own, cross = block.attention, block.memory_attention
        _norm(target.self_attention.layer_norm, block.attention_norm)
        _fused(target.self_attention.linear[0], [own.query, own.key, own.value])
        _fused(target.self_attention.linear[1], [own.out])
        _norm(target.attention.layer_norm, block.memory_norm)
        _fused(target.attention.linear[0], [cross.query])
        _fused(target.attention.linear[1], [cross.key, cross.value])
        _fused(target.attention.linear[2], [cross.out])
        _mlp(target.ffn, block)
    _idle_encoder(spec.encoder, width, memory)
    codes = [str(code) for code in range(part.vocab.codebook_size)]
    spec.register_vocabulary([*codes, "<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"])
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.lang_ids, spec.config.alignment_heads = [], []
    spec.validate()
    spec.optimize(None)
    return spec


def _idle_encoder(spec: Any, width: int, memory: int) -> None:
    """An encoder of the right width that never runs; its positions bound the length of the memory."""
    for conv, channels in ((spec.conv1, MELS), (spec.conv2, width)):
        conv.weight, conv.bias = np.zeros((width, channels, 3), np.float32), np.zeros(width, np.float32)
    spec.position_encodings.encodings = np.zeros((memory, width), np.float32)
    _norm(spec.layer_norm, nn.LayerNorm(width))
    layer = spec.layer[0]
    attention, zero = Attention(width, 1), nn.Linear(width, width)
    _norm(layer.self_attention.layer_norm, nn.LayerNorm(width))
    _fused(layer.self_attention.linear[0], [attention.query, attention.key, attention.value])
    _fused(layer.self_attention.linear[1], [attention.out])
    _norm(layer.ffn.layer_norm, nn.LayerNorm(width))
    _fused(layer.ffn.linear_0, [zero])
    _fused(layer.ffn.linear_1, [zero])


def _mlp(spec: Any, block: nn.Module) -> None:
    _norm(spec.layer_norm, block.ffn_norm)
    _fused(spec.linear_0, [block.up])
    _fused(spec.linear_1, [block.down])


def _norm(spec: Any, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(norm.weight), _array(norm.bias)


def _fused(spec: Any, linears: Sequence[nn.Linear]) -> None:
    """Several linear layers as one; one without bias gets zeros."""
    spec.weight = _array(torch.cat([linear.weight for linear in linears]))
    biases = [linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias for linear in linears]
    spec.bias = _array(torch.cat(biases))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
