from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from sdc_search.hashers.tbh import TwinBottleneck, adjacency, binarize, propagate


def random_bits(n: int = 6, k: int = 9) -> torch.Tensor:
    return torch.randint(2, (n, k), generator=torch.Generator().manual_seed(0)).double()


def network(**options) -> TwinBottleneck:
    generator = torch.Generator().manual_seed(0)
    return TwinBottleneck(7, 5, generator, hidden=6, width=4, **options).double()


def features() -> torch.Tensor:
    return torch.randn(8, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_adjacency_is_a_power_of_the_share_of_equal_bits():
    bits = random_bits()
    bits[1] = 1 - bits[0]
    A = adjacency(bits)
    hamming = (bits[:, None] != bits[None]).double().sum(dim=2)
    torch.testing.assert_close((bits @ (bits - 1).T + (bits - 1) @ bits.T).abs(), hamming)
    torch.testing.assert_close(A, (1 - hamming / 9) ** 1.4)
    torch.testing.assert_close(A, A.T)
    assert (A.diagonal() == 1).all()
    assert A[0, 1] == 0


def test_complements_have_a_finite_gradient():
    bits = torch.tensor([[0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    adjacency(bits).sum().backward()
    assert torch.isfinite(bits.grad).all()


def test_equal_codes_propagate_the_mean_of_the_batch():
    values = features()
    smooth = propagate(adjacency(torch.ones(8, 5, dtype=torch.float64)), values)
    torch.testing.assert_close(smooth, values.mean(dim=0).expand(8, -1))


def test_bits_have_the_slope_of_the_sigmoid():
    logits = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    bits = binarize(logits)
    bits.sum().backward()
    assert bits.tolist() == [0, 0, 1]
    p = logits.detach().sigmoid()
    torch.testing.assert_close(logits.grad, p * (1 - p))


@pytest.mark.parametrize("adversarial", [1.0, 0.25])
def test_one_step_is_that_of_two_optimisers_from_the_same_state(adversarial):
    joint, apart = network(), network()
    x = features()
    optimizer = torch.optim.Adam(joint.parameters(), lr=0.01)
    joint.loss(x, torch.Generator().manual_seed(2), adversarial=adversarial).backward()
    optimizer.step()

    critics = [*apart.binary_critic.parameters(), *apart.continuous_critic.parameters()]
    critic_ids = {id(parameter) for parameter in critics}
    actor = [parameter for parameter in apart.parameters() if id(parameter) not in critic_ids]
    generator = torch.Generator().manual_seed(2)
    hidden = apart.hidden(x).relu()
    bits = binarize(apart.binary(hidden))
    smooth = propagate(adjacency(bits), apart.graph(apart.continuous(hidden).sigmoid())).sigmoid()
    priors = [torch.rand(shape, generator=generator).double() for shape in (bits.shape, smooth.shape)]

    def told_apart(critic: nn.Module, prior: torch.Tensor, encoded: torch.Tensor) -> torch.Tensor:
        real, fake = critic(prior).sigmoid(), critic(encoded).sigmoid()
        return functional.binary_cross_entropy(real, torch.ones_like(real)) + functional.binary_cross_entropy(
            fake, torch.zeros_like(fake)
        )

    reconstruction = (apart.decoder(smooth) - x).square().sum() / 2
    told = told_apart(apart.binary_critic, priors[0].round(), bits) + told_apart(
        apart.continuous_critic, priors[1], smooth
    )
    actor_grads = torch.autograd.grad(reconstruction - adversarial * told, actor, retain_graph=True)
    critic_grads = torch.autograd.grad(told, critics)
    for parameters, grads in ((actor, actor_grads), (critics, critic_grads)):
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        torch.optim.Adam(parameters, lr=0.01).step()

    for (name, got), wanted in zip(joint.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, msg=lambda m, name=name: f"{name}: {m}")


def test_the_mean_is_the_sum_over_the_number_of_entries():
    x, net = features(), network()
    total, mean = (
        net.loss(x, torch.Generator().manual_seed(2), reduction=reduction) for reduction in ("sum", "mean")
    )
    critics = (8 * 7 * mean - total) / (8 * 7 - 1)
    assert critics > 0
    torch.testing.assert_close(total - critics, 8 * 7 * (mean - critics))
    hidden = net.hidden(x).relu()
    smooth = propagate(
        adjacency(binarize(net.binary(hidden))), net.graph(net.continuous(hidden).sigmoid())
    ).sigmoid()
    torch.testing.assert_close(mean - critics, (net.decoder(smooth) - x).square().mean() / 2)


@pytest.mark.parametrize("options", [{"rectify": True}, {"squash": False}, {"stochastic": True}])
def test_each_option_changes_the_loss(options):
    x = features()
    plain = network().loss(x, torch.Generator().manual_seed(2))
    other = network(**options).loss(x, torch.Generator().manual_seed(2))
    assert torch.isfinite(other)
    assert abs(other - plain) > 1e-6


def test_random_choices_come_from_the_generator_alone():
    x, before = features(), torch.get_rng_state()
    losses = [network(stochastic=True).loss(x, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert losses[0] == losses[1]
    assert torch.equal(torch.get_rng_state(), before)
