"""The trained network of an experiment: exp/x/{best.safetensors, config.yaml}, which decoding loads."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from safetensors.torch import save_file
from torch import Tensor, nn

from codecsep import config
from codecsep.data import atomic
from codecsep.errors import CodecsepError
from codecsep.weight_file import WeightFileError, read_safetensors

Tensors = dict[str, Tensor]
MODEL, EMA = "model.safetensors", "ema.safetensors"
BEST = "best.safetensors"


class WeightsError(CodecsepError):
    """Weights that are missing or do not fit."""


def contiguous(weights: Mapping[str, Tensor]) -> Tensors:
    """Copies on the CPU; tied tensors become separate ones, as safetensors asks."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}


def write_best(exp_dir: Path, weights: Tensors) -> None:
    """Write best.safetensors, whole or not at all."""
    with atomic.replacing(exp_dir / BEST) as beside:
        save_file(contiguous(weights), beside)


def average(files: list[Path]) -> Tensors:
    """Mean of the weights in several files, summed in float64; integers are those of the first file."""
    if not files:
        raise WeightsError("E402", "no checkpoint is left to average", "", "train again in a new directory")
    result = read_weights(files[0])
    if len(files) == 1:
        return result
    sums = {name: tensor.double() for name, tensor in result.items() if tensor.is_floating_point()}
    for file in files[1:]:
        other = read_weights(file)
        for name in sums:
            sums[name] += other[name].double()
    return result | {name: (total / len(files)).to(result[name].dtype) for name, total in sums.items()}


def load_network(exp_dir: Path) -> tuple[ModuleType, nn.Module]:
    """The trained network of an experiment: (module of the model, Model in evaluation mode, on the CPU).

    Raises ConfigError when the experiment has no config.yaml, WeightsError when it has no usable best.safetensors.
    """
    exp_dir = Path(exp_dir)
    best = exp_dir / BEST
    if not best.is_file():
        raise WeightsError("E441", "no such file", best, "train it first (stage 4 or 5)")
    given = config.read_yaml(exp_dir / "config.yaml")
    module = config.find_model(str(given.get("model")))
    config.check_keys(module.Config, given.get("network", {}), str(exp_dir / "config.yaml"), "network.")
    model = module.Model(config.build(module.Config, given.get("network", {}), str(exp_dir / "config.yaml")))
    load_weights(model, best)
    return module, model.eval()


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a network from a .safetensors file; every name and shape must fit (WeightsError, one line)."""
    source = read_weights(path)
    differing = differences(source, model.state_dict())
    if differing:
        what = f"does not fit the network of its config.yaml: {first(differing)}"
        raise WeightsError("E440", what, path, "use the configuration that it was trained with, or train anew")
    model.load_state_dict(source)


def read_weights(path: Path) -> Tensors:
    """The tensors of a .safetensors file. Raises WeightsError (E441) when it is missing or damaged."""
    try:
        return read_safetensors(path)
    except WeightFileError as error:
        raise WeightsError("E441", f"cannot be read: {error.what}", path, "train it, or copy it, again") from error


def differences(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """How the names and shapes of `source` differ from those of `target`, one text each."""
    found = [f"{name} is missing there" for name in sorted(target.keys() - source.keys())]
    found += [f"{name} is missing here" for name in sorted(source.keys() - target.keys())]
    shapes = ((name, tuple(source[name].shape), tuple(target[name].shape)) for name in source.keys() & target.keys())
    found += [f"{name} is {there} there, {here} here" for name, there, here in sorted(shapes) if there != here]
    return found


def first(texts: list[str], count: int = 3) -> str:
    """The first few of a list of texts, and how many more there are."""
    more = f" and {len(texts) - count} more" if len(texts) > count else ""
    return "; ".join(texts[:count]) + more
