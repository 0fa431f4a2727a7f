"""Semantic units: k-means over the hidden states of a self-supervised speech encoder.  16 kHz, 50 Hz, one codebook.

SpeechGPT's units (Zhang et al. 2023, arXiv 2305.11000) are those of `mhubert_base_vp_en_es_fr_it3`, layer 11, 1000
centres: kind hubert_base, its weights by path, its centres by --centres.  Another HuBERT's states with these centres
give noise that looks like units.  kind whisper is the mini recipes' stand-in: the encoder of Whisper tiny.en, with
centres of our own (bin/train_kmeans.py).  Units have no sound of their own: `decode` raises.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from codecsep.codecs import centres, wavlm
from codecsep.codecs.base import CodecError, read_config
from codecsep.codecs.exact import exact_arithmetic
from codecsep.codecs.latent_codec import QuantizerCodec
from codecsep.codecs.long import Read
from codecsep.codecs.speech_weights import read_speech_weights
from codecsep.codecs.strict import fill, require_exactly
from codecsep.data.ark import CodecInfo
from codecsep.metrics import whisper
from codecsep.nn.quantize import QuantizeConfig, ResidualQuantizer
from codecsep.tokens.padding import pad_sequences
from codecsep.torch_audio import import_torchaudio
from codecsep.weight_file import read_pickled, read_safetensors

RATE, HOP = 16000, 320
FIELD = 400  # samples that the first frame of HuBERT and WavLM sees
LAYERS = {"hubert_base": 12, "wavlm_base": 12, "wavlm_large": 24, "whisper": 0}  # 0: what its sizes say
MAKERS = {
    "hubert_base": lambda: import_torchaudio().models.hubert_base(),
    "wavlm_base": lambda: import_torchaudio().models.wavlm_base(),
    "wavlm_large": lambda: import_torchaudio().models.wavlm_large(),
}


@dataclass
class WhisperSizes:
    """Of the encoder of Whisper tiny.en, by the names of its checkpoint."""

    n_mels: int = 80
    n_audio_ctx: int = 1500
    n_audio_state: int = 384
    n_audio_head: int = 6
    n_audio_layer: int = 4


@dataclass
class Config:
    """kind: hubert_base, wavlm_base, wavlm_large or whisper.  layer: how many of its layers are run; the units are made
    from the output of the last of them.  codebook_size: number of centres."""

    kind: str = "hubert_base"
    layer: int = 11
    codebook_size: int = 1000
    whisper: WhisperSizes = field(default_factory=WhisperSizes)


class Encoder(nn.Module):
    """A speech encoder that is cut off after `layer` layers; a signal goes through it window by window.

    step: samples, whole frames, from window to window.  overlap: how far a window reads into the next.
    """

    width: int
    step: int
    overlap: int

    @abstractmethod
    def frames_of(self, num_samples: int) -> int:
        """Frames of a window of so many samples; perhaps none."""

    @abstractmethod
    def states(self, wav: Tensor) -> Tensor:
        """A window [L] at 16 kHz -> states [frames_of(L), width]; one frame where that is none."""

    def windows(self, num_samples: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of the windows that have frames; the first always has one."""
        for start in range(0, num_samples, self.step):
            stop = min(start + self.step + self.overlap, num_samples)
            if start == 0 or self.frames_of(stop - start):
                yield start, stop

    def num_frames(self, num_samples: int) -> int:
        """Frames of so many samples, 1 at least."""
        return sum(max(1, self.frames_of(stop - start)) for start, stop in self.windows(num_samples))


class SpeechEncoder(Encoder):
    """torchaudio's HuBERT or WavLM, at most 100 s at once (as the code that made SpeechGPT's units).

    Its first convolution normalises over time, so rows are never padded.  Windows overlap so that none loses a frame.
    """

    step, overlap = 100 * RATE, FIELD - HOP

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.is_standardised = config.kind == "wavlm_large"
        self.network = MAKERS[config.kind]()
        del self.network.encoder.transformer.layers[layer:]
        self.width = self.network.encoder.feature_projection.projection.out_features

    def frames_of(self, num_samples: int) -> int:
        return max(0, (num_samples - FIELD) // HOP + 1)

    def states(self, wav: Tensor) -> Tensor:
        wav = nn.functional.pad(wav, (0, max(0, FIELD - len(wav))))[None]
        lengths = torch.tensor([wav.shape[1]], device=wav.device)
        wav = wavlm.standardised(wav, lengths) if self.is_standardised else wav
        return wavlm.hidden_states(self.network, wav, lengths)[0][-1, 0]


class WhisperEncoder(Encoder):
    """Whisper's encoder, which hears 30 s at once; a shorter signal is not filled up to that."""

    step, overlap = 30 * RATE, 0

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.network = whisper.Encoder(asdict(config.whisper))
        if layer < len(self.network.blocks):
            self.network.ln_post = nn.Identity()  # it belongs to the last layer
        del self.network.blocks[layer:]
        self.width = config.whisper.n_audio_state

    def frames_of(self, num_samples: int) -> int:
        return -(-num_samples // HOP)

    def states(self, wav: Tensor) -> Tensor:
        mel = whisper.log_mel(wav.cpu().numpy(), self.frames_of(len(wav)) * HOP)
        return self.network(mel[None].to(wav.device))[0]


def make_encoder(config: Config, layer: int) -> Encoder:
    """The encoder with so many of its layers. Raises CodecError on an unknown kind or layer."""
    if config.kind not in LAYERS:
        raise CodecError("E354", f"is '{config.kind}'", "kind", f"give one of {', '.join(LAYERS)}")
    if not 1 <= layer <= num_layers(config):
        what = f"is {layer}; {config.kind} has the layers 1 to {num_layers(config)}"
        raise CodecError("E354", what, "layer", "give one of them")
    return (WhisperEncoder if config.kind == "whisper" else SpeechEncoder)(config, layer)


def num_layers(config: Config) -> int:
    """Layers of the whole encoder."""
    return LAYERS[config.kind] or config.whisper.n_audio_layer


class Network(nn.Module):
    """The encoder, cut off after its layer, and the centres."""

    def __init__(self, config: Config):
        super().__init__()
        self.encoder = make_encoder(config, config.layer)
        self.quantizer = ResidualQuantizer(QuantizeConfig(1, config.codebook_size, self.encoder.width))


class Units(QuantizerCodec):
    """wav -> hidden states -> units.  `synthesise` raises CodecError (E357)."""

    def __init__(self, network: Network, info: CodecInfo):
        super().__init__(info)
        self.network = network
        self.latent_size = network.encoder.width

    def num_frames(self, num_samples: int) -> int:
        return self.network.encoder.num_frames(num_samples)

    @torch.inference_mode()
    def latents(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] float32 at 16 kHz, lengths [B] -> (states [B, T, D], frame_lengths [B]); rows run one by one."""
        rows = []
        for row, size in zip(wav, lengths.tolist(), strict=True):
            rows.append(torch.cat(list(self.parts(lambda start, stop, row=row: row[start:stop], size))))
        states, frame_lengths = pad_sequences([row.T for row in rows], 0.0)
        return states.transpose(1, 2), frame_lengths.to(lengths.device)

    def parts(self, read: Read, num_samples: int) -> Iterator[Tensor]:
        """The states [T, D] of one window of a signal after the other."""
        device = next(self.parameters()).device
        for start, stop in self.network.encoder.windows(num_samples):
            yield self.network.encoder.states(read(start, stop).to(device))

    @torch.inference_mode()
    def encode_long(self, read: Read, num_samples: int) -> Tensor:
        """A signal of any length, piece by piece -> codes [1, T]: those of `encode`, which has the same windows."""
        if num_samples < 1:
            raise CodecError("E353", "a signal of 0 samples cannot be encoded", "", "remove it from wav.scp")
        with exact_arithmetic(self):
            return torch.cat([self.quantize(part[None])[0].cpu() for part in self.parts(read, num_samples)], 1)

    def synthesise(self, latents: Tensor, frame_lengths: Tensor) -> Tensor:
        raise CodecError(
            "E357", "has no decoder", "codec units", "decode with a codec that has one; units go to a model"
        )


def convert(weights: Path, config: Config) -> dict[str, Tensor]:
    """The encoder's part of the state dict, up to the layer that is used.

    weights: of HuBERT or WavLM as `speech_weights` reads them, or openai's checkpoint of Whisper tiny.en.
    Raises CodecError (E440) naming the first tensor that is not as it must be, WeightFileError.
    """
    with torch.device("meta"):
        used = make_encoder(config, config.layer).network
        whole = make_encoder(config, num_layers(config)).network
    state = whisper_encoder(weights) if config.kind == "whisper" else read_speech_weights(weights)
    shapes = {name: tuple(value.shape) for name, value in whole.state_dict().items()}
    state = require_exactly(state, shapes, weights)
    return {f"encoder.network.{name}": state[name].float() for name in used.state_dict()}


def whisper_encoder(path: Path) -> dict[str, Tensor]:
    """The encoder's part of openai's checkpoint (`model_state_dict`), or of that state dict as .safetensors."""
    state = read_safetensors(path) if path.suffix == ".safetensors" else read_pickled(path)
    state = state.get("model_state_dict", state) if isinstance(state, dict) else {}
    parts = {name: value for name, value in state.items() if not name.startswith("decoder.")}
    return {name.removeprefix("encoder."): value for name, value in parts.items()}


def describe(config: Config) -> CodecInfo:
    """Rates and sizes; the fingerprint and the delay are those of a directory."""
    return CodecInfo("units", "0", RATE, RATE / HOP, HOP, 1, config.codebook_size)


def centres_shape(config: Config) -> tuple[int, int, int]:
    """(1 level, centres, width of a hidden state): what --centres must hold."""
    with torch.device("meta"):
        return 1, config.codebook_size, make_encoder(config, config.layer).width


def make(config: Config, state: dict[str, Tensor], info: CodecInfo, where: object) -> Units:
    """The codec from its whole state dict. Raises CodecError (E350) when names or shapes do not fit."""
    network = Network(config)
    fill(network, state, where, centres.training_state(network))
    return Units(network, info)


def build(config_path: Path, weights: Path, info: CodecInfo) -> Units:
    """The codec from its directory, keys strict."""
    return make(read_config(config_path, Config), read_safetensors(weights), info, weights)
