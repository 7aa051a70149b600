from __future__ import annotations

import pytest
import torch
from torch import nn

from sdc_search.schedules import constant, half_cosine, step_decay, warm_up
from sdc_search.training import Plan, train


class Distance(nn.Module):
    """Squared distance of one learnt point to the batch; remembers the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.zeros(2))
        self.batches: list[list[int]] = []

    def forward(self, rows, batch):
        self.batches.append(rows.tolist())
        return (batch - self.point).square().mean()


def run(n=10, callbacks=(), objective=None, **plan):
    objective = objective or Distance()
    X = torch.ones(n, 2)
    plan = Plan(**{"lr": 0.1, "batch_size": 4, "max_epochs": 3, **plan})
    generator = torch.Generator().manual_seed(0)
    return objective, train(objective, lambda r: X[r], n, plan, generator=generator, callbacks=callbacks)


def test_an_epoch_has_each_row_once_and_drops_the_incomplete_batch():
    objective, training = run()
    assert (training.epochs, training.steps, training.interrupted) == (3, 6, False)
    for first, second in zip(objective.batches[::2], objective.batches[1::2], strict=True):
        assert len(first) == len(second) == 4
        assert len({*first, *second}) == 8
    assert not objective.training


def test_a_batch_larger_than_the_data_shrinks():
    objective, training = run(n=3)
    assert training.steps == 3
    assert all(sorted(batch) == [0, 1, 2] for batch in objective.batches)


def test_steps_in_place_of_epochs():
    records = []
    _, training = run(max_steps=5, callbacks=[records.append])
    assert training.steps == 5
    assert [record.epoch for record in records] == [1, 2, 3]


def test_callbacks_get_the_record():
    records = []
    _, training = run(callbacks=[records.append], schedule=step_decay([2]))
    assert [record.epoch for record in records] == [1, 2, 3]
    assert records[0].loss > records[1].loss > 0
    assert records[-1].loss == training.loss
    assert [record.lr for record in records] == pytest.approx([0.1, 0.1, 0.01])
    assert all(record.items_per_second > 0 and record.seconds > 0 for record in records)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_optimisers_reach_the_minimum(optimizer):
    objective, _ = run(max_epochs=100, optimizer=optimizer)
    torch.testing.assert_close(objective.point.detach(), torch.ones(2), atol=0.02, rtol=0)


def test_the_first_steps_are_the_textbook_ones():
    objective, _ = run(max_steps=1, optimizer="sgd", momentum=0, weight_decay=0.5, n=4)
    torch.testing.assert_close(objective.point.detach(), torch.full((2,), 0.1))  # mean of (1 - p)²: slope -1
    objective, _ = run(max_steps=1, eps=1.0, n=4)
    torch.testing.assert_close(objective.point.detach(), torch.full((2,), 0.05))  # lr · g / (|g| + eps)


def test_ctrl_c_keeps_the_weights_so_far():
    class Interrupted(Distance):
        def forward(self, rows, batch):
            if len(self.batches) == 4:
                raise KeyboardInterrupt
            return super().forward(rows, batch)

    objective, training = run(objective=Interrupted())
    assert (training.steps, training.epochs, training.interrupted) == (4, 2, True)
    assert (objective.point > 0).all()
    assert not objective.training


def test_ctrl_c_before_the_first_step_raises():
    class Interrupted(Distance):
        def forward(self, rows, batch):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(objective=Interrupted())


def test_autocast_computes_in_bfloat16():
    class Product(nn.Linear):
        def forward(self, rows, batch):
            outputs = super().forward(batch)
            assert outputs.dtype == torch.bfloat16
            return outputs.float().square().mean()

    objective = Product(2, 2)
    plan = Plan(lr=0.1, batch_size=4, max_epochs=1)
    generator = torch.Generator().manual_seed(0)
    train(objective, lambda r: torch.ones(len(r), 2), 4, plan, generator=generator, autocast=True)
    assert objective.weight.dtype == torch.float32


def test_schedules():
    assert constant(3, 10, 5) == 1
    assert half_cosine(0, 10, 5) == 1
    assert half_cosine(5, 10, 5) == pytest.approx(0.5)
    assert [step_decay([1, 2], 0.5)(step, 6, 2) for step in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert [warm_up(constant, 4)(step, 6, 2) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
