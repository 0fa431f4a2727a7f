import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from codecsep.train import optim
from codecsep.train.optim import InitConfig, OptimConfig, OptimError


def rates(steps, **settings):
    return [optim.learning_rate(step, steps, OptimConfig(lr=1.0, **settings)) for step in range(steps)]


def test_warm_up_then_cosine_to_the_floor():
    values = rates(104, warmup_steps=4, min_lr_ratio=0.1)
    assert values[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert values[54] == pytest.approx(0.55)  # half way between 1 and 0.1
    assert values[103] == pytest.approx(0.1, abs=1e-3)
    assert all(a >= b for a, b in zip(values[4:], values[5:], strict=False))


def test_the_other_schedules():
    assert rates(10, schedule="constant") == [1.0] * 10
    assert rates(10, schedule="linear", min_lr_ratio=0.0)[5] == pytest.approx(0.5)
    assert rates(400, schedule="inverse_sqrt", warmup_steps=100)[399] == pytest.approx(math.sqrt(100 / 399))
    assert rates(10, schedule="exponential", min_lr_ratio=0.01)[5] == pytest.approx(0.1)


def test_vectors_are_not_decayed():
    groups = optim.make_optimizer(nn.Linear(3, 2), OptimConfig(weight_decay=0.1)).param_groups
    assert [(g["weight_decay"], [p.ndim for p in g["params"]]) for g in groups] == [(0.1, [2]), (0.0, [1])]


def test_settings_are_checked():
    with pytest.raises(OptimError, match="lr and eps"):
        OptimConfig(lr=0)
    with pytest.raises(OptimError, match="min_lr_ratio"):
        OptimConfig(schedule="exponential", min_lr_ratio=0.0)


def network():
    return nn.ModuleDict({"encoder": nn.Linear(3, 2), "head": nn.Linear(2, 1)})


def test_initialise_copies_one_part_and_leaves_the_rest(tmp_path):
    donor, model = network(), network()
    save_file(donor.state_dict(), tmp_path / "best.safetensors")
    before = model["head"].weight.clone()
    (line,) = optim.initialise(model, [InitConfig(str(tmp_path), "encoder", "encoder")])
    assert torch.equal(model["encoder"].weight, donor["encoder"].weight)
    assert torch.equal(model["head"].weight, before)
    assert "2 tensors" in line


def test_initialise_whole_network_and_renamed_part(tmp_path):
    donor = network()
    save_file(donor.state_dict(), tmp_path / "a.safetensors")
    model = nn.ModuleDict({"part": network()})
    optim.initialise(model, [InitConfig(str(tmp_path / "a.safetensors"), "", "part")])
    assert torch.equal(model["part"]["head"].weight, donor["head"].weight)


def test_initialise_refuses_what_does_not_fit(tmp_path):
    save_file({"encoder.weight": torch.zeros(2, 4), "encoder.extra": torch.zeros(1)}, tmp_path / "best.safetensors")
    said = r"bias is missing there; extra is missing here; weight is \(2, 4\) there, \(2, 3\) here"
    with pytest.raises(OptimError, match=said):
        optim.initialise(network(), [InitConfig(str(tmp_path), "encoder", "encoder")])
    with pytest.raises(OptimError, match="no part 'encodr'; it has encoder, head"):
        optim.initialise(network(), [InitConfig(str(tmp_path), "encoder", "encodr")])
    with pytest.raises(OptimError, match="does not exist .fix: train that experiment first"):
        optim.initialise(network(), [InitConfig(str(tmp_path / "none"), "encoder", "encoder")])
    with pytest.raises(OptimError, match="has no file \\(fix: give `file`"):
        optim.initialise(network(), [InitConfig("", "encoder", "encoder")])


def test_frozen_parts_do_not_train_and_stay_in_evaluation_mode():
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(2, 2), nn.Dropout()), "head": nn.Linear(2, 1)})
    optim.freeze(model, ["encoder"])
    optim.train_mode(model, ["encoder"])
    assert not model["encoder"][1].training and model["head"].training
    trained = [p for g in optim.make_optimizer(model, OptimConfig()).param_groups for p in g["params"]]
    assert {id(p) for p in trained} == {id(p) for p in model["head"].parameters()}
    with pytest.raises(OptimError, match="no part 'head2'"):
        optim.freeze(model, ["head2"])
    optim.freeze(model, ["head"])
    with pytest.raises(OptimError, match="no parameter is left"):
        optim.make_optimizer(model, OptimConfig())
