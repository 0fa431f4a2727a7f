"""WavLM as the mixture encoder, as SLM-SS has it: all hidden states, the convolutional front end frozen.

Weights come by path: a directory of `transformers`, or a state dict of torchaudio, of `transformers` or of Microsoft's
release (`speech_weights`).  Without a path the network has random weights of the true architecture, which serves tests
and counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from codecsep.codecs.speech_weights import ACCEPTED, read_speech_weights
from codecsep.errors import CodecsepError
from codecsep.tokens.padding import length_mask
from codecsep.torch_audio import import_torchaudio

MAKERS = {
    "base": lambda: import_torchaudio().models.wavlm_base(),
    "large": lambda: import_torchaudio().models.wavlm_large(),
}


@dataclass
class Config:
    """`size`: base or large (WavLM-large expects utterance-normalised input, WavLM-base does not).

    `checkpoint`: path as above, or empty for random weights.  `freeze_layers`: how many Transformer layers, counted
    from the bottom, stay fixed beside the convolutional front end.  With large, a row's states do not depend
    on its batch; WavLM-base normalises its first convolution over the padded time axis, so there they do, slightly.
    """

    size: str = "large"
    checkpoint: str = ""
    freeze_layers: int = 0


class WavLMError(CodecsepError):
    """A WavLM checkpoint that cannot be used; says what was given and what is accepted."""


class Encoder(nn.Module):
    """wav -> the hidden states of all layers (25 x 1024 for large), 50 frames a second."""

    def __init__(self, config: Config):
        super().__init__()
        if config.size not in MAKERS:
            place = "network.encoder.wavlm.size"
            raise WavLMError("E354", f"is '{config.size}'", place, f"give one of {', '.join(MAKERS)}")
        self.config = config
        self.network = MAKERS[config.size]()
        if config.checkpoint:
            fill(self.network, read_checkpoint(Path(config.checkpoint), config.size), config)
        self._freeze()

    def _freeze(self) -> None:
        layers = self.network.encoder.transformer.layers
        for part in [self.network.feature_extractor, *layers[: self.config.freeze_layers]]:
            part.requires_grad_(False)

    @property
    def width(self) -> int:
        return self.network.encoder.transformer.layers[0].attention.embed_dim

    @property
    def num_states(self) -> int:
        """The Transformer's input and every layer's output."""
        return len(self.network.encoder.transformer.layers) + 1

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """wav [B, L] at 16 kHz, lengths [B] -> (states [num_states, B, T, width], frame_lengths [B]), 50 Hz."""
        return hidden_states(self.network, self.normalise(wav, lengths), lengths)

    def normalise(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Zero mean and unit variance over each row's own samples (large); base takes the wave as it is."""
        if self.config.size == "large":
            return standardised(wav, lengths)
        return wav * length_mask(lengths, wav.shape[1])


def standardised(wav: Tensor, lengths: Tensor) -> Tensor:
    """wav [B, L] with zero mean and unit variance over each row's own samples, zero after them."""
    valid = length_mask(lengths, wav.shape[1])
    count = lengths[:, None].to(wav)
    centred = (wav - (wav * valid).sum(1, keepdim=True) / count) * valid
    return centred / ((centred**2).sum(1, keepdim=True) / count + 1e-7).sqrt()


def hidden_states(network: nn.Module, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """torchaudio's WavLM or HuBERT on wav [B, L] -> (input and output of its layers [1 + layers, B, T, D], frames [B]).

    HuBERT's attention has no mask of padding here: give it rows of one length.
    """
    features, frame_lengths = network.feature_extractor(wav, lengths)
    padded = torch.arange(features.shape[1], device=wav.device)[None] >= frame_lengths[:, None]
    hidden = network.encoder.feature_projection(features).masked_fill(padded[..., None], 0.0)
    states, bias = [network.encoder.transformer._preprocess(hidden)], None
    for layer in network.encoder.transformer.layers:
        # torchaudio's own loop hands WavLM an attention mask that it refuses; its layers take this one
        hidden, bias = layer(states[-1], position_bias=bias, key_padding_mask=padded)
        states.append(hidden)
    return torch.stack(states), frame_lengths


def fill(network: nn.Module, state: dict[str, Tensor], config: Config) -> None:
    """Load a state dict, every name and shape as it must be. Raises WavLMError naming the first that are not."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        what = f"not the weights of WavLM-{config.size}: {str(error)[:300]}"
        raise WavLMError("E355", what, config.checkpoint, "give the weights of that size, or set `size`") from error


def read_checkpoint(path: Path, size: str) -> dict[str, Tensor]:
    """A state dict for torchaudio's WavLM from a `transformers` directory, or from a state dict of torchaudio,
    transformers or Microsoft's release (`speech_weights`).

    Raises WavLMError when there is no such path, WeightFileError when it is damaged or holds more than weights.
    """
    if not path.exists():
        raise WavLMError("E355", f"no WavLM-{size} weights here", path, ACCEPTED)
    return read_speech_weights(path)
