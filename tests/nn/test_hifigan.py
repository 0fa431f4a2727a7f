"""HiFi-GAN's generator: official names and sizes, weight norm, against a twin from torch's own parts, batches."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from codecsep.nn.hifigan import HifiGan, HifiGanConfig, folded, official_shapes

SMALL = HifiGanConfig(6, 16, [4, 2], [8, 4], [3, 5], [1, 3])


@pytest.fixture
def network():
    torch.manual_seed(0)
    return HifiGan(SMALL).eval()


def test_size_of_the_paper():
    """Table 1 of the paper: V1 has 13.92 M parameters."""
    with torch.device("meta"):
        network = HifiGan(HifiGanConfig())
    shapes = official_shapes(network)
    assert len(shapes) == 234 and sum(value.numel() for value in network.parameters()) == 13_926_017
    assert shapes["ups.0.weight_v"] == (512, 256, 16) and shapes["ups.0.weight_g"] == (512, 1, 1)
    assert shapes["resblocks.11.convs2.2.weight_v"] == (32, 32, 11) and shapes["conv_post.bias"] == (1,)


def test_folding_is_what_torch_computes():
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(4, 6, 3))
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(1.7)
    g, v = conv.parametrizations.weight.original0.detach(), conv.parametrizations.weight.original1.detach()
    plain = folded({"x.weight_g": g, "x.weight_v": v, "x.bias": conv.bias.detach()})
    assert set(plain) == {"x.weight", "x.bias"}
    torch.testing.assert_close(plain["x.weight"], conv.weight.detach())


def plainly(network, mel):
    """The generator of the paper on one row [T, M], written out with functions and the state dict alone."""
    state = network.state_dict()

    def conv(x, name, dilation=1):
        weight = state[f"{name}.weight"]
        return F.conv1d(
            x, weight, state[f"{name}.bias"], padding=(weight.shape[2] - 1) * dilation // 2, dilation=dilation
        )

    x = conv(mel.T[None], "conv_pre")
    for stage, (rate, size) in enumerate(zip(SMALL.rates, SMALL.upsample_kernels, strict=True)):
        x = F.leaky_relu(x, 0.1)
        name = f"ups.{stage}"
        x = F.conv_transpose1d(
            x, state[f"{name}.weight"], state[f"{name}.bias"], stride=rate, padding=(size - rate) // 2
        )
        outputs = []
        for block in range(len(SMALL.kernels)):
            y = x
            for layer, dilation in enumerate(SMALL.dilations):
                name = f"resblocks.{stage * len(SMALL.kernels) + block}"
                inner = conv(F.leaky_relu(y, 0.1), f"{name}.convs1.{layer}", dilation)
                y = y + conv(F.leaky_relu(inner, 0.1), f"{name}.convs2.{layer}")
            outputs.append(y)
        x = torch.stack(outputs).mean(0)
    return torch.tanh(conv(F.leaky_relu(x, 0.01), "conv_post"))[0, 0]


@torch.no_grad()
def test_rows_are_what_they_are_alone(network):
    mel, lengths = torch.randn(3, 9, 6), [9, 4, 1]
    valid = torch.arange(9) < torch.tensor(lengths)[:, None]
    wav = network(mel, valid)
    assert wav.shape == (3, 9 * 8)
    for row, size in enumerate(lengths):
        torch.testing.assert_close(wav[row, : size * 8], plainly(network, mel[row, :size]), atol=1e-6, rtol=1e-5)
