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


class WavLMError(ValueError):
    """A WavLM checkpoint that cannot be used; says what was given and what is accepted."""


class Encoder(nn.Module):
    """wav -> the hidden states of all layers (25 x 1024 for large), 50 frames a second."""

    def __init__(self, config: Config):
        super().__init__()
        if config.size not in MAKERS:
            raise WavLMError(f"network.encoder.wavlm.size is '{config.size}'; allowed: {', '.join(MAKERS)}")
        self.config = config
        self.network = MAKERS[config.size]()
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
