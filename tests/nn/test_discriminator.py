"""One backward pass serves both sides: each side's gradient is what two separate passes would give."""

import torch

from codecsep.nn.discriminator import DiscriminatorConfig, SpectralDiscriminators, adversarial_losses


def test_generator_and_critic_do_not_mix():
    torch.manual_seed(0)
    critics = SpectralDiscriminators(DiscriminatorConfig(sizes=[64], channels=4, layers=2))
    estimate, target = torch.randn(2, 256, requires_grad=True), torch.randn(2, 256)
    ours, theirs = adversarial_losses(critics, estimate, target)
    (ours["generator"] + ours["features"]).backward(retain_graph=True)
    assert estimate.grad.abs().sum() > 0
    assert all(p.grad is None for p in critics.parameters())
    estimate.grad = None
    theirs["discriminator"].backward()
    assert estimate.grad is None
    assert all(p.grad is not None for p in critics.parameters())


def test_critic_learns_to_tell_noise_from_a_tone():
    torch.manual_seed(0)
    critics = SpectralDiscriminators(DiscriminatorConfig(sizes=[64], channels=4, layers=2))
    optimizer = torch.optim.Adam(critics.parameters(), 5e-3)
    tone = torch.sin(torch.arange(512) * 0.3).repeat(4, 1)
    losses = []
    for _ in range(30):
        _, theirs = adversarial_losses(critics, torch.randn(4, 512), tone)
        optimizer.zero_grad()
        theirs["discriminator"].backward()
        optimizer.step()
        losses.append(float(theirs["discriminator"].detach()))
    assert losses[-1] < 0.5 * losses[0]
