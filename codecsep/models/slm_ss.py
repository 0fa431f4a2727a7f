"""SLM-SS: separation as a language model over codec tokens (arXiv 2601.19533).

    mixture -> encoder (WavLM) -> memory
    AR (section 2.2):   <sos> speaker 1 <sc> speaker 2 <eos>, codebook 0, token after token, reading the memory
    NAR (section 2.3):  codebooks 1..7, each from the sum of the ones below, all steps at once

One network is trained per stage: `part: ar` in stage 4, `part: nar` in stage 5.  Each has its own encoder; the NAR part
starts from the AR part's and usually freezes it (`init` and `freeze` of the training config).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codecsep.codecs.encoders import EncoderConfig, same_weights
from codecsep.decode import levels
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.decode.queue import Request, decode_queue
from codecsep.decode.step import DecodeStats
from codecsep.models.base import ModelError, Separation, require_targets
from codecsep.models.token_network import TokenNetwork
from codecsep.nn.attention import init_weights
from codecsep.nn.fast_decoder import FastConfig
from codecsep.nn.sampling import draw_levels, levels_in_turn, replace_share, sample
from codecsep.nn.sequence_engine import SequenceEngine
from codecsep.nn.token_loss import token_loss
from codecsep.nn.transformer import TransformerConfig
from codecsep.tokens import sot
from codecsep.tokens.padding import length_mask, pad_sequences, similar_lengths

SAMPLE_RATE = 16000  # of the mixtures that the encoders read
DEFAULT_ENGINE = EngineOptions()


@dataclass
class Config:
    """Defaults are the paper's (EnCodec 24 kHz at 6 kbit/s; Whisper-medium's width, 16 layers); what is marked ours is
    not in the paper and is off by default."""

    part: str = "ar"  # ar | nar
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: TransformerConfig = field(default_factory=TransformerConfig)
    num_codebooks: int = 8
    codebook_size: int = 1024
    frame_rate: float = 75.0  # of the codec
    max_speakers: int = 4
    max_positions: int = 4800  # of "absolute"; two LibriMix speakers need up to 4,288 steps
    positions: str = "absolute"  # ours: "time" restarts at <sc>; "aligned" adds the memory's frame of that time
    code_width: int = 0  # ours: width of the codec's code vectors, from which tables are made (nn.codebooks)
    label_smoothing: float = 0.0
    token_dropout: float = 0.0  # ours, AR: share of input tokens that training replaces by random codes
    own_tokens: float = 0.0  # ours, AR: ... by own samples (parallel scheduled sampling, Mihaylova and Martins 2019)
    level_decay: float = 1.0  # NAR: level i + 1 is drawn this many times as often as level i; 1 is uniform
    confusion: float = 0.0  # ours, NAR: largest spread of mistakes in level 0 that higher levels learn to make up for


class AutoregressivePart(TokenNetwork):
    """Codebook 0 of the serialised sequence, left to right (section 2.2)."""

    def __init__(self, config: Config):
        super().__init__(config, 1)

    def logits(self, memory: Tensor, memory_valid: Tensor, level0: Tensor) -> Tensor:
        """Teacher forcing: ids [B, S] -> logits [B, S, V] of the token after each step."""
        hidden = self.embed(0, level0) + self.place(level0, memory, memory_valid)
        return self.head(self.decoder(hidden, None, memory, memory_valid), 0)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the next token."""
        memory, valid = self.encoder(batch["wav"], batch["lengths"])
        level0 = batch["sequence"][:, 0]
        logits = self.logits(memory, valid, self._inputs(memory, valid, level0[:, :-1]))
        return token_loss(logits, level0[:, 1:], self.vocab.pad, self.config.label_smoothing)

    def _inputs(self, memory: Tensor, valid: Tensor, ids: Tensor) -> Tensor:
        """What the network reads in training instead of the true ids [B, S]; specials are never replaced."""
        if not self.training:
            return ids
        is_code = self.vocab.is_code(ids)
        if self.config.own_tokens > 0:
            with torch.no_grad():
                drawn = sample(self.logits(memory, valid, ids)[..., : self.config.codebook_size])
            ids = replace_share(ids, F.pad(drawn[:, :-1], (1, 0)), self.config.own_tokens, is_code)
        random = torch.randint_like(ids, self.config.codebook_size)
        return replace_share(ids, random, self.config.token_dropout, is_code)

    def engine(self, options: EngineOptions) -> SequenceEngine:
        """The copy of this network, as it is now, that `generate` decodes with."""
        how = FastConfig(options.precision, options.cache_of(), options.attention)
        return SequenceEngine(self, how, options.bucket)

    def request(self, key: str, num_samples: int, memory: Tensor) -> Request:
        """A mixture in the queue of `generate`: each speaker is bounded by the mixture's codec frames."""
        frames = max(1, math.ceil(num_samples * self.config.frame_rate / SAMPLE_RATE))
        return Request(key, frames, memory)

    def generate(
        self, engine: SequenceEngine, requests: Sequence[Request], options: DecodeOptions, how: EngineOptions
    ) -> tuple[list[Tensor], list[DecodeStats]]:
        """Level-0 sequences of mixtures, in the order given."""
        limit = self.config.max_positions if self.config.positions == "absolute" else None
        return decode_queue(engine, requests, self.vocab, options, how, limit)


class NonAutoregressivePart(TokenNetwork):
    """Codebooks 1..K-1, each from the sum of the ones below (section 2.3)."""

    def __init__(self, config: Config):
        super().__init__(config, config.num_codebooks)
        if config.confusion > 0 and config.code_width == 0:
            what = "network.confusion needs the codec's code vectors"
            raise ModelError("E506", what, "", "set network.code_width to their width")
        self.tasks = nn.Embedding(config.num_codebooks, config.decoder.width)
        self.tasks.apply(init_weights)

    def hidden(self, memory: Tensor, memory_valid: Tensor, sequence: Tensor, wanted: Tensor) -> Tensor:
        """E_i = sum over j < i of Emb_j(c_j) + P + T_i, through the decoder without causal mask.

        sequence [B, k, S] (k >= the levels read), wanted [B] the level i of each row -> [B, S, D].
        """
        level0 = sequence[:, 0]
        total = self.place(level0, memory, memory_valid) + self.tasks(wanted)[:, None]
        for level in range(min(sequence.shape[1], int(wanted.max()))):
            total = total + self.embed(level, sequence[:, level]) * (wanted > level)[:, None, None]
        return self.decoder(total, level0 != self.vocab.pad, memory, memory_valid)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of one level per row, drawn from 1..K-1; specials are copied, not predicted."""
        memory, valid = self.encoder(batch["wav"], batch["lengths"])
        sequence = self._mistaken(batch["sequence"])
        wanted = self._draw_levels(len(sequence), sequence.device)
        hidden = self.hidden(memory, valid, sequence, wanted)
        truth = sequence[torch.arange(len(sequence), device=sequence.device), wanted]
        truth = truth.masked_fill(~self.vocab.is_code(truth), self.vocab.pad)
        return token_loss(self.row_heads(hidden, wanted).float(), truth, self.vocab.pad)

    def _mistaken(self, sequence: Tensor) -> Tensor:
        """In training, the sequence with mistakes of a random spread in level 0; specials and padding stay."""
        if not self.training or self.config.confusion == 0:
            return sequence
        is_code = self.vocab.is_code(sequence)
        spread = torch.rand(len(sequence), device=sequence.device) * self.config.confusion
        return torch.where(is_code, self.tables.confuse(sequence.masked_fill(~is_code, 0), spread), sequence)

    def row_heads(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Each row [S, D] through the output layer of its own level `wanted` [B] -> [B, S, V]."""
        logits = hidden.new_empty(*hidden.shape[:2], self.vocab.size)
        for level in wanted.unique().tolist():
            rows = wanted == level
            logits[rows] = self.head(hidden[rows], level).to(logits)
        return logits

    def _draw_levels(self, batch: int, device: torch.device) -> Tensor:
        """Drawn in training; in evaluation the rows take the levels in turn, so that validation is repeatable."""
        highest = self.config.num_codebooks - 1
        if self.training:
            return draw_levels(batch, highest, self.config.level_decay, device)
        return levels_in_turn(batch, highest, device)

    @torch.inference_mode()
    def fill(self, memories: Sequence[Tensor], level0: Sequence[Tensor], options: DecodeOptions) -> Tensor:
        """Level-0 sequences [S_i] of mixtures with memories [M_i, D] -> [B, K, S], padded, or fewer levels
        (options.num_levels)."""
        level0, _ = pad_sequences(level0, self.vocab.pad)
        memory = nn.utils.rnn.pad_sequence(list(memories), batch_first=True)
        lengths = torch.tensor([len(frames) for frames in memories], device=memory.device)
        valid = length_mask(lengths, memory.shape[1])

        def level_step(sequence: Tensor, level: int) -> Tensor:
            wanted = torch.full((len(sequence),), level, device=sequence.device)
            return self.head(self.hidden(memory, valid, sequence, wanted), level)

        num_levels = min(options.num_levels or self.config.num_codebooks, self.config.num_codebooks)
        return levels.decode(level_step, level0, self.vocab, num_levels, self._choice(options))

    def _choice(self, options: DecodeOptions) -> levels.LevelChoice:
        """How a level's code follows from its logits.  Raises ModelError when the tables hold no code vectors."""
        if options.level_choice == "argmax":
            return levels.argmax
        if self.config.code_width == 0:
            what = "level_choice 'mean' needs the codec's code vectors (network.code_width)"
            raise ModelError("E506", what, "", "use argmax")
        return lambda logits, level: levels.nearest_to_mean(logits, self.tables.vectors(level))


PARTS = {"ar": AutoregressivePart, "nar": NonAutoregressivePart}


class Model(nn.Module):
    """One part behind the contract of `models/base.py`.  Raises ModelError on an unknown part."""

    fields = ("mixture", "sequence")
    sample_rate = SAMPLE_RATE

    def __init__(self, config: Config):
        super().__init__()
        if config.part not in PARTS:
            raise ModelError("E506", f"network.part is '{config.part}'", "", f"allowed: {', '.join(PARTS)}")
        self.config = config
        self.part = PARTS[config.part](config)

    def sequence(self, example: dict) -> Tensor:
        """Codes in SOT order (N arrays [K, T_j]) -> [K, S]."""
        return sot.build(example["codes"], self.part.vocab)

    def collate(self, examples: list[dict]) -> dict[str, Tensor]:
        """`mixture` [L] and `sequence` [K, S] -> wav [B, L], lengths [B], sequence [B, K, S]."""
        for example in examples:
            require_targets(example, self.part.vocab.is_code(torch.as_tensor(example["sequence"])[0]))
        wav, lengths = pad_sequences([torch.as_tensor(e["mixture"]) for e in examples], 0.0)
        sequence, _ = pad_sequences([torch.as_tensor(e["sequence"]) for e in examples], self.part.vocab.pad)
        return {"wav": wav, "lengths": lengths, "sequence": sequence}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The part's cross-entropy."""
        return self.part.loss(batch)


class Pipeline:
    """The AR part, then the NAR part: a `models.base.Separator`.

    Without a NAR part only codebook 0 is filled, which a codec decodes to rough but intelligible speech.  The networks
    must not change any more once it has separated something.
    """

    sample_rate = SAMPLE_RATE
    queues = True

    def __init__(
        self, ar: AutoregressivePart, nar: NonAutoregressivePart | None, how: EngineOptions = DEFAULT_ENGINE
    ) -> None:
        self.ar, self.nar, self.how = ar, nar, how
        self.shared = nar is not None and same_weights(ar.encoder, nar.encoder)

    @functools.cached_property
    def engine(self) -> SequenceEngine:
        """Made when the first mixture comes: the networks are on their device then."""
        return self.ar.engine(self.how)

    def separate(self, mixtures: Sequence[np.ndarray], options: DecodeOptions, keys: Sequence[str]) -> list[Separation]:
        """Mixtures (float32 [L] at 16 kHz), any number -> codes per speaker; as many as the decoded <sc> imply."""
        waves = [torch.as_tensor(mixture) for mixture in mixtures]
        memories = self.ar.encoder.remember(waves, self.how.slots)
        requests = [self.ar.request(key, len(w), m) for key, w, m in zip(keys, waves, memories, strict=True)]
        rows, stats = self.ar.generate(self.engine, requests, options, self.how)
        filled = self._fill(waves, memories, rows, options) if self.nar else [row[None] for row in rows]
        pairs = zip(filled, stats, strict=True)
        return [Separation(sot.split(matrix.cpu(), self.ar.vocab), stat.as_dict()) for matrix, stat in pairs]

    def _fill(
        self, waves: list[Tensor], memories: list[Tensor], rows: list[Tensor], options: DecodeOptions
    ) -> list[Tensor]:
        """All levels of every row, [K, S_i]; in batches of similar length."""
        if not self.shared:
            memories = self.nar.encoder.remember(waves, self.how.slots)
        filled = list(rows)
        for places in similar_lengths([len(row) for row in rows], self.how.slots):
            batch = self.nar.fill([memories[place] for place in places], [rows[place] for place in places], options)
            for place, matrix in zip(places, batch, strict=True):
                filled[place] = matrix[:, : len(rows[place])]
        return filled


def join(models: Sequence[Model], how: EngineOptions = DEFAULT_ENGINE) -> Pipeline:
    """A separator from trained parts, in any order.  Raises ModelError unless there is one AR and at most one NAR part
    for the same codec."""
    parts = {model.config.part: model.part for model in models}
    if "ar" not in parts or len(parts) != len(models):
        given = ", ".join(model.config.part for model in models)
        what = f"slm_ss separates with one ar and one nar experiment, got: {given}"
        raise ModelError("E508", what, "", "run --stage 4 and 5")
    sizes = {(model.config.codebook_size, model.config.num_codebooks) for model in models}
    if len(sizes) > 1:
        what = f"the ar and nar parts were trained on different codecs (codebook size, number): {sorted(sizes)}"
        raise ModelError("E508", what, "", "train both on the tokens of one codec")
    return Pipeline(parts["ar"], parts.get("nar"), how)
