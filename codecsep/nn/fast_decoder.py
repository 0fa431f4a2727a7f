"""An inference copy of `transformer.Decoder`: the same function, one token at a time, with few and fast operations.

Query, key and value are one product; the factor 1 / sqrt(D / H) is part of the query's weight; weights are brought into
the machine's own form once (`linears`); keys and values of the past lie in room taken ahead (`row_caches`).
The network that it was made from is neither changed nor kept: after more training, make another copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codecsep.nn.attention import Attention
from codecsep.nn.fast_attention import arranged, choose
from codecsep.nn.linears import make_added_linear, make_gelu_linear, make_linear
from codecsep.nn.row_caches import CacheShape, LockstepCache, Memories, SlotCache
from codecsep.nn.transformer import Decoder, DecoderBlock


@dataclass(frozen=True)
class FastConfig:
    """How the copy computes.

    precision: "fp32", "bf16" or "int8" (`linears.make_linear`); cache: "fp32" or "bf16", of keys and values;
    attention: see `fast_attention`; "auto" for whichever is fastest on the device.
    """

    precision: str = "fp32"
    cache: str = "fp32"
    attention: str = "auto"


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class FastBlock:
    """The weights of a `DecoderBlock` as functions of [B, D]; what ends a branch adds to its second argument."""

    def __init__(self, block: DecoderBlock, precision: str, cache: str, dtype: torch.dtype):
        own, cross = block.attention, block.memory_attention
        self.norms = [_norm(norm, dtype) for norm in (block.attention_norm, block.memory_norm, block.ffn_norm)]
        self.qkv = make_linear(*_fused_qkv(own), precision)
        self.out = make_added_linear(own.out.weight, own.out.bias, precision)
        self.query = make_linear(*_scaled_query(cross), precision)
        self.read_out = make_added_linear(cross.out.weight, cross.out.bias, precision)
        self.up = make_gelu_linear(block.up.weight, block.up.bias, precision)
        self.down = make_added_linear(block.down.weight, block.down.bias, precision)
        weight = torch.cat([cross.key.weight, cross.value.weight])
        self.memory = make_linear(weight, torch.cat([torch.zeros_like(cross.value.bias), cross.value.bias]), cache)


class FastDecoder:
    """One step of a causal `Decoder`, [B, D] -> [B, D], in evaluation (no dropout).

    Raises Int8Error where int8 is asked for and cannot be had.
    """

    def __init__(self, decoder: Decoder, config: FastConfig):
        first = decoder.blocks[0].attention
        device = first.query.weight.device
        self.config, self.dtype = config, _hidden_dtype(config, device)
        width = first.query.weight.shape[1]
        sizes = (len(decoder.blocks), first.num_heads, width // first.num_heads)
        self.shape = CacheShape(*sizes, DTYPES[config.cache], device)
        with torch.inference_mode():
            self.blocks = [FastBlock(block, config.precision, config.cache, self.dtype) for block in decoder.blocks]
            self.norm = _norm(decoder.norm, self.dtype)

    def memories(self, given: Sequence[Tensor]) -> Memories:
        """Memories [M_i, D] of B rows, projected for cross-attention in all layers."""
        lengths = torch.tensor([len(memory) for memory in given], device=self.shape.device)
        padded = nn.utils.rnn.pad_sequence(list(given), batch_first=True)
        layers = []
        flat = padded.flatten(0, 1).to(self.shape.dtype)
        for block in self.blocks:
            pairs = block.memory(flat).view(*padded.shape[:2], 2, self.shape.num_heads, -1).permute(2, 0, 3, 1, 4)
            layers.append((pairs[0].contiguous(), arranged(pairs[1], self.config.attention)))
        return Memories(layers, lengths)

    def step(self, hidden: Tensor, past: LockstepCache | SlotCache, memories: Memories) -> Tensor:
        """The next position of every row, hidden [B, D] -> [B, D]; `past` is one position longer afterwards."""
        past.advance()
        hidden, width = hidden.to(self.dtype), hidden.shape[1]
        shape = self.shape
        attend = choose(self.config.attention, shape.device, shape.dtype, len(hidden) * shape.num_heads)
        heads = (len(hidden) * shape.num_heads, 1, shape.head_width)
        for layer, block in enumerate(self.blocks):
            qkv = block.qkv(_normed(hidden, block.norms[0]))
            keys, values = past.write(layer, qkv)
            own = attend(qkv[:, :width].to(keys.dtype).reshape(heads), keys, values, past.mask)
            hidden = block.out(own.reshape(-1, width).to(self.dtype), hidden)
            query = block.query(_normed(hidden, block.norms[1])).to(keys.dtype).view(heads)
            read = attend(query, *memories.flat[layer], memories.mask)
            hidden = block.read_out(read.reshape(-1, width).to(self.dtype), hidden)
            hidden = block.down(block.up(_normed(hidden, block.norms[2])), hidden)
        return _normed(hidden, self.norm)


def _normed(hidden: Tensor, norm: tuple[Tensor, Tensor, float]) -> Tensor:
    return torch.native_layer_norm(hidden, hidden.shape[-1:], *norm)[0]


def _fused_qkv(attention: Attention) -> tuple[Tensor, Tensor]:
    """Weight [3 D, D] and bias [3 D]; the key has no bias."""
    query, bias = _scaled_query(attention)
    weight = torch.cat([query, attention.key.weight, attention.value.weight])
    return weight, torch.cat([bias, torch.zeros_like(bias), attention.value.bias])


def _scaled_query(attention: Attention) -> tuple[Tensor, Tensor]:
    factor = 1.0 / math.sqrt(attention.query.weight.shape[0] // attention.num_heads)
    return attention.query.weight * factor, attention.query.bias * factor


def _norm(norm: nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    return norm.weight.detach().to(dtype), norm.bias.detach().to(dtype), norm.eps


def _hidden_dtype(config: FastConfig, device: torch.device) -> torch.dtype:
    """int8 computes in fp32 between its products on a CPU, in bf16 on a GPU."""
    if config.precision == "int8":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return DTYPES[config.precision]
