"""X4: YAML that would be more than data, in configurations of the user and of an experiment of somebody else."""

import time

import pytest

from codecsep import config
from codecsep.config import ConfigError
from codecsep.train import checkpoint

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)
)
FORBIDDEN = {
    "object": "model: !!python/object/apply:os.system ['touch {}']\n",
    "new object": "model: !!python/object/new:subprocess.Popen [['touch', '{}']]\n",
    "name": "model: !!python/name:os.system\n",
    "module": "model: !!python/module:os\n",
    "tuple": "model: !!python/tuple [1, 2]\n",
    "private tag": "model: !run 'touch {}'\n",
    "tag with a prefix": "%TAG !p! tag:yaml.org,2002:python/\n---\nmodel: !p!name:os.system\n",
    "tag of a key": "!!python/name:os.system : 1\n",
    "aliases": BOMB,
    "an alias of itself": "a: &a [*a]\n",
    "depth, flow": "a: " + "[" * 2000 + "\n",
    "depth, block": "- " * 2000 + "\n",
    "depth, keys": "? " * 2000 + "\n",
    "doubled key": "model: slm_ss\nmodel: other\n",
    "doubled key below": "network: {{width: 1, width: 2}}\n",
    "class path": "network: {{class_path: os.system, init_args: {{command: 'touch {}'}}}}\n",
    "hydra target": "network: {{_target_: os.system, command: 'touch {}'}}\n",
    "octal or not": "limit: 010\n",
    "key that is a list": "? [a, b]\n: 1\n",
    "too large": "a: " + "x" * (1 << 20) + "\n",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_more_than_data(tmp_path, canary, name):
    text = FORBIDDEN[name]
    (tmp_path / "a.yaml").write_text(text.format(canary) if "{}" in text or "{{" in text else text)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"^E704 .*a\.yaml(:\d+)?: holds .*\(fix: ") as caught:
        config.read_yaml(tmp_path / "a.yaml")
    assert time.monotonic() - began < 6, "2 s promised, on an idle machine"
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["object", "class path", "hydra target", "aliases"])
def test_the_configuration_of_an_experiment_of_others(tmp_path, canary, name):
    text = FORBIDDEN[name]
    (tmp_path / "config.yaml").write_text(text.format(canary) if "{}" in text else text)
    (tmp_path / "best.safetensors").write_bytes(bytes(8))
    with pytest.raises(ConfigError, match="^E704 "):
        checkpoint.load_network(tmp_path)


MODELS = [
    "../../outside/evil",
    "os",
    "os.path",
    "config",
    "..evil",
    "bin.cli",
    "a\x1b[2J",
    "slm_ss; touch x",
    "",
    "data",
]


@pytest.mark.parametrize("model", MODELS)
def test_models_are_names_of_our_own_files(tmp_path, canary, monkeypatch, model):
    """Only a file of codecsep/ that has Config and Model; nothing else is imported by a configuration."""
    (tmp_path / "evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="^E806 ") as caught:
        config.find_model(model)
    assert str(caught.value).isprintable()


def test_text_in_a_value_is_data_too(tmp_path, canary):
    """A list may be given as text, which is read by the same rules."""
    hostile = ["!!python/object/apply:os.system ['touch x']", "&a [*a, *a]", "[" * 5000, BOMB.replace("\n", "\\n")]
    from codecsep.train.optim import OptimConfig

    for text in hostile:
        with pytest.raises(ConfigError, match="^E80[23] "):
            config.build(OptimConfig, {"betas": text}, "a.yaml")
