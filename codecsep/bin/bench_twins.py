"""Decoders of the same size by others: `generate` of Hugging Face's BART, and a loop that computes everything anew.

Both are given memories in place of encoder outputs. Neither knows rows that leave: a batch runs until its longest row
has its tokens, as `generate` does.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codecsep.bin.bench_queue import Utterance, padded_memory
from codecsep.bin.bench_timing import Clock
from codecsep.nn.transformer import TransformerConfig
from codecsep.tokens.vocab import Vocab
from codecsep.torch_audio import PackageError, import_torchaudio

CACHES = ("dynamic", "static")


class HuggingFace:
    """Greedy `generate` of BartForConditionalGeneration. Raises PackageError without transformers."""

    def __init__(self, sizes: TransformerConfig, vocab: Vocab, longest: int, device: str, dtype: torch.dtype):
        require("transformers")
        from transformers import BartConfig, BartForConditionalGeneration

        config = BartConfig(
            vocab_size=vocab.size, d_model=sizes.width, max_position_embeddings=longest, activation_function="gelu",
            encoder_layers=1, encoder_attention_heads=sizes.num_heads, encoder_ffn_dim=sizes.width,
            decoder_layers=sizes.num_layers, decoder_attention_heads=sizes.num_heads, decoder_ffn_dim=sizes.ffn_width,
            pad_token_id=0, bos_token_id=None, eos_token_id=None, forced_eos_token_id=None,
            decoder_start_token_id=vocab.sos,
        )  # fmt: skip
        torch.manual_seed(1)
        self.model = BartForConditionalGeneration(config).to(device, dtype).eval()
        self.dtype = dtype

    @torch.inference_mode()
    def decode(self, rows: Sequence[Utterance], cache: str = "dynamic") -> list[int]:
        """Tokens decoded for each row: the length of the longest, or its own where that is less."""
        from transformers import GenerationConfig
        from transformers.modeling_outputs import BaseModelOutput

        memory, valid = padded_memory(rows)
        longest = max(row.tokens for row in rows)
        settings = GenerationConfig(
            max_new_tokens=longest, do_sample=False, num_beams=1, use_cache=True, cache_implementation=cache,
            decoder_start_token_id=self.model.config.decoder_start_token_id, pad_token_id=0, disable_compile=True,
        )  # fmt: skip
        found = self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory.to(self.dtype)),
            attention_mask=valid.long(),
            generation_config=settings,
        )
        return [min(row.tokens, found.shape[1] - 1) for row in rows]

    def best_cache(self, rows: Sequence[Utterance], clock: Clock) -> str:
        """The faster kind of cache on this batch, each run twice and timed the second time."""
        seconds = {}
        for cache in CACHES:
            self.decode(rows, cache)
            seconds[cache] = clock(lambda kind=cache: self.decode(rows, kind))
        return min(seconds, key=seconds.get)


class NoCache:
    """torch's own decoder, the whole prefix computed anew for every token (as public VALL-E code decodes)."""

    def __init__(self, sizes: TransformerConfig, vocab: Vocab, longest: int, device: str, dtype: torch.dtype):
        torch.manual_seed(1)
        layer = nn.TransformerDecoderLayer(
            sizes.width, sizes.num_heads, sizes.ffn_width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        decoder = nn.TransformerDecoder(layer, sizes.num_layers, nn.LayerNorm(sizes.width))
        self.decoder = decoder.to(device, dtype).eval()
        self.tokens = nn.Embedding(vocab.size, sizes.width, device=device, dtype=dtype)
        self.places = nn.Embedding(longest, sizes.width, device=device, dtype=dtype)
        self.vocab, self.dtype = vocab, dtype

    @torch.inference_mode()
    def step(self, ids: Tensor, memory: Tensor, ignored: Tensor) -> Tensor:
        """ids [B, n], memory [B, M, D], its padding [B, M] -> the next ids [B]."""
        hidden = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=ids.device, dtype=self.dtype)
        hidden = self.decoder(hidden, memory.to(self.dtype), mask, memory_key_padding_mask=ignored, tgt_is_causal=True)
        return (hidden[:, -1] @ self.tokens.weight.T).argmax(-1)

    def decode(self, rows: Sequence[Utterance]) -> list[int]:
        """The whole loop."""
        memory, valid = padded_memory(rows)
        ids = torch.full((len(rows), 1), self.vocab.sos, device=memory.device)
        for _ in range(max(row.tokens for row in rows)):
            ids = torch.cat([ids, self.step(ids, memory, ~valid)[:, None]], 1)
        return [min(row.tokens, ids.shape[1] - 1) for row in rows]

    def seconds(self, rows: Sequence[Utterance], clock: Clock, nodes: int = 4) -> float:
        """What `decode` takes, from steps at `nodes` lengths of the prefix (Gauss-Legendre: exact for polynomials up to
        degree 2 nodes - 1, and a step is about quadratic in its prefix)."""
        memory, valid = padded_memory(rows)
        steps = max(row.tokens for row in rows)
        places, weights = np.polynomial.legendre.leggauss(nodes)
        total = 0.0
        for place, weight in zip(places, weights, strict=True):
            prefix = round(0.5 + steps * (1 + place) / 2)
            ids = torch.full((len(rows), prefix), self.vocab.sos, device=memory.device)
            total += steps * weight / 2 * clock(lambda ids=ids: self.step(ids, memory, ~valid))
        return total


def require(package: str) -> None:
    """Raises PackageError where a package to compare with is not installed. What imports torchaudio can after this."""
    if importlib.util.find_spec(package) is None:
        raise PackageError("E901", "is not installed", package, 'pip install -e ".[bench]" -c constraints.txt')
    if importlib.util.find_spec("torchaudio") is not None:
        import_torchaudio()


def sizes_of(settings: Any) -> TransformerConfig:
    """The sizes in the settings of a benchmark."""
    return TransformerConfig(settings.num_layers, settings.width, settings.num_heads, settings.ffn_width)
