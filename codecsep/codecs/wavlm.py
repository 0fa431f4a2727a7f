"""WavLM as the mixture encoder, as SLM-SS has it: all hidden states, the convolutional front end frozen.

Weights come by path: a directory of `transformers` (config.json with model.safetensors) or a state dict of
`torchaudio.models.wavlm_*` (.pt, .pth or .safetensors).  Without a path the network has random weights of the true
architecture, which serves tests and counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from codecsep.torch_audio import import_torchaudio

SIZES = ("base", "large")


@dataclass
class Config:
    """`size`: base or large (WavLM-large expects utterance-normalised input, WavLM-base does not).

    `checkpoint`: path as above, or empty for random weights.  `freeze_layers`: how many Transformer layers, counted
    from the bottom, stay fixed beside the convolutional front end.
    """

    size: str = "large"
    checkpoint: str = ""
    freeze_layers: int = 0
    layer_drop: float = 0.0


class WavLMError(ValueError):
    """A WavLM checkpoint that cannot be used; says what was given and what is accepted."""


class Encoder(nn.Module):
    """wav -> the hidden states of all layers (25 x 1024 for large), 50 frames a second."""

    def __init__(self, config: Config):
        super().__init__()
        if config.size not in SIZES:
            raise WavLMError(f"network.wavlm.size is '{config.size}'; allowed: {', '.join(SIZES)}")
        self.config = config
        models = import_torchaudio().models
        make = {"base": models.wavlm_base, "large": models.wavlm_large}[config.size]
        self.network = make(encoder_layer_drop=config.layer_drop)
        if config.checkpoint:
            self.network.load_state_dict(read_checkpoint(Path(config.checkpoint), config.size))
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
        wav = self.normalise(wav, lengths)
        features, frame_lengths = self.network.feature_extractor(wav, lengths)
        encoder = self.network.encoder
        hidden, mask = encoder._preprocess(features, frame_lengths)
        states = encoder.transformer.get_intermediate_outputs(hidden, attention_mask=mask)
        first = encoder.transformer._preprocess(hidden)
        return torch.stack([first, *states]), frame_lengths

    def normalise(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Zero mean and unit variance over each row's own samples (large); base takes the wave as it is."""
        valid = (torch.arange(wav.shape[1], device=wav.device)[None] < lengths[:, None]).to(wav)
        if self.config.size == "base":
            return wav * valid
        count = lengths[:, None].to(wav)
        centred = (wav - (wav * valid).sum(1, keepdim=True) / count) * valid
        return centred / ((centred**2).sum(1, keepdim=True) / count + 1e-7).sqrt()


def read_checkpoint(path: Path, size: str) -> dict[str, Tensor]:
    """A state dict for torchaudio's WavLM from a `transformers` directory or a torchaudio state dict.

    Raises WavLMError when there is no such path; unpickling is restricted to tensors (`weights_only`).
    """
    if path.is_dir():
        return from_transformers(path)
    if not path.is_file():
        raise WavLMError(f"no WavLM-{size} weights at {path}; give a transformers directory or a torchaudio state dict")
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def from_transformers(path: Path) -> dict[str, Tensor]:
    """The torchaudio state dict of a `transformers` WavLM directory, through torchaudio's own converter."""
    try:
        from transformers import WavLMModel
    except ImportError as error:
        message = f"{path} is a transformers directory; install it: pip install -e '.[alm]' -c constraints.txt"
        raise WavLMError(message) from error
    import_torchaudio()
    from torchaudio.models.wav2vec2.utils import import_huggingface_model

    return import_huggingface_model(WavLMModel.from_pretrained(path, local_files_only=True)).state_dict()
