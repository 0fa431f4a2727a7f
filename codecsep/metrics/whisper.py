"""Whisper tiny.en as a judge: the network of Radford et al. 2023 (arXiv 2212.04356), batched greedy decoding.

Only what reading words aloud needs: no timestamps, no temperature fallback, one window of 30 s. The weights and the
vocabulary are openai's own files; parameter names follow the checkpoint.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from codecsep.metrics.features import RATE, mel_power

WINDOW = 30 * RATE  # samples that the encoder always sees
MAX_TOKENS = 224  # half of the decoder's context, as upstream
END, START, NO_TIMESTAMPS, SPACE = 50256, 50257, 50362, 220  # ids of the English-only vocabulary
NEVER = (START, 50357, 50358, 50359, 50360, 50361, NO_TIMESTAMPS)  # special tokens that are no text
FIRST_TIME_TOKEN = 50363
NON_SPEECH = (
    '" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 << >> <<< >>> -- --- -( -[ '
    "(' (\" (( )) ((( ))) [[ ]] {{ }}"
)


class Attention(nn.Module):
    """Multi-head attention whose keys have no bias."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def memory(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, H, S, D / H] of x [B, S, D]."""
        return self.split(self.key(x)), self.split(self.value(x))

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        attended = F.scaled_dot_product_attention(self.split(self.query(x)), keys, values)
        return self.out(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer layer; with cross attention in the decoder."""

    def __init__(self, width: int, num_heads: int, cross: bool):
        super().__init__()
        self.attn, self.attn_ln = Attention(width, num_heads), nn.LayerNorm(width)
        if cross:
            self.cross_attn, self.cross_attn_ln = Attention(width, num_heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.attn_ln(x)
        x = x + self.attn(normed, *self.attn.memory(normed))
        return x + self.mlp(self.mlp_ln(x))

    def step(self, x: torch.Tensor, past: list[torch.Tensor], heard: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """One decoder position x [B, 1, D]; past holds the keys and values so far and grows by one."""
        normed = self.attn_ln(x)
        fresh = self.attn.memory(normed)
        past[:] = [torch.cat([old, new], dim=2) for old, new in zip(past, fresh, strict=True)] if past else fresh
        x = x + self.attn(normed, *past)
        x = x + self.cross_attn(self.cross_attn_ln(x), *heard)
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    """Log-mel [B, 80, 3000] -> features [B, 1500, D]."""

    def __init__(self, dims: dict):
        super().__init__()
        width = dims["n_audio_state"]
        self.conv1 = nn.Conv1d(dims["n_mels"], width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.zeros(dims["n_audio_ctx"], width))
        self.blocks = nn.ModuleList(
            [Block(width, dims["n_audio_head"], cross=False) for _ in range(dims["n_audio_layer"])]
        )
        self.ln_post = nn.LayerNorm(width)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positional_embedding[: x.shape[1]]
        for block in self.blocks:
            x = block.encode(x)
        return self.ln_post(x)


class Decoder(nn.Module):
    """One text token at a time over the encoder's features."""

    def __init__(self, dims: dict):
        super().__init__()
        width = dims["n_text_state"]
        self.token_embedding = nn.Embedding(dims["n_vocab"], width)
        self.positional_embedding = nn.Parameter(torch.zeros(dims["n_text_ctx"], width))
        self.blocks = nn.ModuleList(
            [Block(width, dims["n_text_head"], cross=True) for _ in range(dims["n_text_layer"])]
        )
        self.ln = nn.LayerNorm(width)

    def step(self, tokens: torch.Tensor, position: int, pasts: list, heard: list) -> torch.Tensor:
        """Tokens [B] at one position -> logits [B, V]."""
        x = (self.token_embedding(tokens) + self.positional_embedding[position])[:, None]
        for block, past, memory in zip(self.blocks, pasts, heard, strict=True):
            x = block.step(x, past, memory)
        return self.ln(x)[:, 0] @ self.token_embedding.weight.T


class WhisperTiny(nn.Module):
    """The judge: `transcribe` maps signals to texts."""

    def __init__(self, dims: dict, vocabulary: list[bytes]):
        super().__init__()
        self.encoder, self.decoder = Encoder(dims), Decoder(dims)
        self.vocabulary = vocabulary
        self.register_buffer("suppressed", _suppressed(vocabulary), persistent=False)

    @torch.inference_mode()
    def transcribe(self, signals: list[np.ndarray]) -> list[str]:
        """Texts of 16 kHz signals; what follows 30 s is not heard. The result does not depend on the batch."""
        if not signals:
            return []
        features = self.encoder(torch.stack([log_mel(x) for x in signals]))
        return [self._text(row) for row in self._greedy(features)]

    def _greedy(self, features: torch.Tensor) -> list[list[int]]:
        """Token lists of features [B, 1500, D]; rows that have ended leave the batch."""
        heard = [block.cross_attn.memory(features) for block in self.decoder.blocks]
        pasts: list[list] = [[] for _ in heard]
        texts: list[list[int]] = [[] for _ in features]
        rows = torch.arange(len(features))
        self.decoder.step(torch.full_like(rows, START), 0, pasts, heard)
        tokens = torch.full_like(rows, NO_TIMESTAMPS)
        for position in range(1, MAX_TOKENS + 1):
            logits = self.decoder.step(tokens, position, pasts, heard)
            tokens = self._best(logits, first=position == 1)
            alive = tokens != END
            rows, tokens = rows[alive], tokens[alive]
            for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
                texts[row].append(token)
            if not len(rows):
                break
            if not alive.all():
                heard = [tuple(x[alive] for x in pair) for pair in heard]
                pasts = [[x[alive] for x in past] for past in pasts]
        return texts

    def _best(self, logits: torch.Tensor, first: bool) -> torch.Tensor:
        """Most likely allowed token [B]; a text may not begin with a blank or with its end."""
        logits[:, self.suppressed] = -torch.inf
        logits[:, FIRST_TIME_TOKEN:] = -torch.inf
        if first:
            logits[:, [SPACE, END]] = -torch.inf
        return logits.argmax(-1)

    def _text(self, tokens: list[int]) -> str:
        return b"".join(self.vocabulary[t] for t in tokens).decode("utf-8", errors="replace").strip()


def load(weights: Path, vocabulary: Path) -> WhisperTiny:
    """The judge from openai's `tiny.en.pt` and `gpt2.tiktoken`, in eval mode on the CPU."""
    checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    words = [base64.b64decode(line.split()[0]) for line in vocabulary.read_text().splitlines() if line]
    model = WhisperTiny(checkpoint["dims"], words)
    model.load_state_dict({name: value.float() for name, value in checkpoint["model_state_dict"].items()})
    return model.eval()


def _suppressed(vocabulary: list[bytes]) -> torch.Tensor:
    """Ids of tokens that are no speech: brackets, quotes, music signs (upstream's list) and special tokens."""
    index = {token: i for i, token in enumerate(vocabulary)}
    banned = {index[b" -"], index[b" '"], *NEVER}
    for sign in NON_SPEECH.split():
        banned |= {index[t] for t in (sign.encode(), b" " + sign.encode()) if t in index}
    music = [b"\xe2\x99", b" \xe2\x99", "♪".encode(), " ♪".encode(), "♪♪".encode(), "♪♪♪".encode()]
    banned |= {index[t] for t in music if t in index}
    return torch.tensor(sorted(banned))


def log_mel(samples: np.ndarray, window: int = WINDOW) -> torch.Tensor:
    """Upstream's input [80, window / 160]: log10 mel power, floored 8 below its maximum, scaled; zeros fill up."""
    filled = np.zeros(window, dtype=np.float32)
    filled[: min(len(samples), window)] = samples[:window]
    power = mel_power(filled, n_fft=400, num_mels=80, pad_mode="reflect")[:-1].T
    logarithm = np.log10(np.maximum(power, 1e-10))
    return torch.from_numpy((np.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0)
