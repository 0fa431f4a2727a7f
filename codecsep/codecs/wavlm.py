"""WavLM as the mixture encoder, as SLM-SS has it: all hidden states, the convolutional front end frozen.

Weights come by path: a directory of `transformers` (config.json with model.safetensors) or a state dict of
`torchaudio.models.wavlm_*` (.pt, .pth or .safetensors).  Without a path the network has random weights of the true
architecture, which serves tests and counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from codecsep.errors import CodecsepError
from codecsep.torch_audio import import_torchaudio
from codecsep.weight_file import read_pickled, read_safetensors

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
        features, frame_lengths = self.network.feature_extractor(self.normalise(wav, lengths), lengths)
        padded = torch.arange(features.shape[1], device=wav.device)[None] >= frame_lengths[:, None]
        encoder = self.network.encoder
        hidden = encoder.feature_projection(features).masked_fill(padded[..., None], 0.0)
        states, bias = [encoder.transformer._preprocess(hidden)], None
        for layer in encoder.transformer.layers:
            # torchaudio's own loop hands WavLM an attention mask that it refuses; its layers take this one
            hidden, bias = layer(states[-1], position_bias=bias, key_padding_mask=padded)
            states.append(hidden)
        return torch.stack(states), frame_lengths

    def normalise(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Zero mean and unit variance over each row's own samples (large); base takes the wave as it is."""
        valid = (torch.arange(wav.shape[1], device=wav.device)[None] < lengths[:, None]).to(wav)
        if self.config.size == "base":
            return wav * valid
        count = lengths[:, None].to(wav)
        centred = (wav - (wav * valid).sum(1, keepdim=True) / count) * valid
        return centred / ((centred**2).sum(1, keepdim=True) / count + 1e-7).sqrt()


def fill(network: nn.Module, state: dict[str, Tensor], config: Config) -> None:
    """Load a state dict, every name and shape as it must be. Raises WavLMError naming the first that are not."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        what = f"not the weights of WavLM-{config.size}: {str(error)[:300]}"
        raise WavLMError("E355", what, config.checkpoint, "give the weights of that size, or set `size`") from error


def read_checkpoint(path: Path, size: str) -> dict[str, Tensor]:
    """A state dict for torchaudio's WavLM from a `transformers` directory or a torchaudio state dict.

    Raises WavLMError when there is no such path, WeightFileError when it is damaged or holds more than weights.
    """
    if path.is_dir():
        return from_transformers(path)
    if not path.is_file():
        fix = "give a transformers directory or a torchaudio state dict"
        raise WavLMError("E355", f"no WavLM-{size} weights here", path, fix)
    return read_safetensors(path) if path.suffix == ".safetensors" else read_pickled(path)


def from_transformers(path: Path) -> dict[str, Tensor]:
    """The torchaudio state dict of a `transformers` WavLM directory, through torchaudio's own converter."""
    try:
        from transformers import WavLMModel
    except ImportError as error:
        what = "is a directory of transformers, which is not installed"
        raise WavLMError("E355", what, path, "pip install -e '.[alm]' -c constraints.txt") from error
    import_torchaudio()
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    return import_huggingface_model(WavLMModel.from_pretrained(path, local_files_only=True)).state_dict()
