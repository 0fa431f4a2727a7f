from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from codecsep import config
from codecsep.config import ConfigError


@dataclass
class Optim:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    schedule: Literal["constant", "cosine"] = "cosine"


@dataclass
class Part:
    file: str
    count: int = 1


@dataclass
class Sample:
    name: str = "x"
    amp: Literal["no", "bf16"] = "no"
    limit: int | None = None
    shuffle: bool = True
    where: Path | None = None
    optim: Optim = field(default_factory=Optim)
    init: list[Part] = field(default_factory=list)


@pytest.fixture
def yaml(tmp_path):
    def write(text):
        (tmp_path / "a.yaml").write_text(text)
        return tmp_path / "a.yaml"

    return write


def test_defaults_file_and_overrides_in_this_order(yaml):
    path = yaml("name: from_file\noptim: {lr: 0.5}\nlimit: 3\n")
    loaded = config.load(Sample, path, ["--optim.lr", "1e-4", "--limit=null", "--optim.betas", "[0.8, 0.9]"])
    assert loaded == Sample(name="from_file", optim=Optim(lr=1e-4, betas=(0.8, 0.9)))
    assert config.load(Sample) == Sample()


def test_numbers_and_words_are_what_they_look_like(yaml):
    loaded = config.load(Sample, yaml("optim: {lr: 1e-3}\namp: no\nshuffle: false\nwhere: exp/a\n"))
    assert (loaded.optim.lr, loaded.amp, loaded.shuffle, loaded.where) == (1e-3, "no", False, Path("exp/a"))
    assert config.load(Sample, None, ["--name", "1e3"]).name == "1e3"


def test_lists_of_sections(yaml):
    assert config.load(Sample, yaml("init: [{file: exp/pit, count: 2}]")).init == [Part("exp/pit", 2)]


def test_dump_is_read_back(yaml):
    sample = Sample(limit=4, where=Path("b"), optim=Optim(lr=3e-5, betas=(0.1, 0.2)), init=[Part("c")])
    assert config.load(Sample, yaml(config.dump(sample))) == sample


def test_fingerprint_depends_on_values_only():
    assert config.fingerprint(Sample()) == config.fingerprint(Sample())
    assert config.fingerprint(Sample()) != config.fingerprint(Sample(limit=1))


@pytest.mark.parametrize(
    ("text", "overrides", "said"),
    [
        ("optim: {lrr: 1}", [], r"a.yaml: unknown key 'optim.lrr' \(nearest: 'optim.lr'\)"),
        ("nme: 1", [], r"a.yaml: unknown key 'nme' \(nearest: 'name'\) \(fix: known here: name, amp"),
        ("init: [{fil: a}]", [], r"a.yaml: unknown key 'init.fil' \(nearest: 'init.file'\)"),
        ("{}", ["--optim.lrr", "1"], r"command line: unknown key 'optim.lrr' \(nearest: 'optim.lr'\)"),
        ("optim: {lr: fast}", [], r"a.yaml: .*optim.lr.*float.*fast"),
        ("optim: {schedule: cosin}", [], r"a.yaml: .*optim.schedule.*'constant', 'cosine'"),
        ("init: [{count: 2}]", [], r"a.yaml: .*init.*required: file"),
        ("optim: other.yaml", [], r"'optim' is 'other.yaml', expected a section"),
        ("optim: {class_path: os.system}", [], r"^E704 .*a.yaml:1: holds the key 'class_path'"),
        ("name: a\nname: b", [], r"^E704 .*a.yaml:2: holds the key 'name' a second time"),
        ("- 1", [], r"a.yaml: holds a list"),
        ("a: [", [], r"a.yaml: not valid YAML"),
        ("a: !!python/object/apply:os.system [x]", [], r"^E704 .*a.yaml:1: holds the tag"),
        ("name: null", [], r"^E803 .*a.yaml: 'name' is null"),
        ("optim: {lr: }", [], r"^E803 .*a.yaml: 'optim.lr' is null"),
        ("optim: {betas: '&a [*a, *a]'}", [], r"^E803 .*optim.betas"),
        ("limit: 010", [], r"^E704 .*a.yaml:1: holds the number 010"),
        ("{}", ["--name"], r"command line: --name has no value"),
        ("{}", ["name", "x"], r"command line: 'name' is not understood"),
        ("{}", ["--optim", "1", "--optim.lr", "1"], r"command line: --optim.lr contradicts"),
    ],
)
def test_mistakes_are_one_line_with_place_and_key(yaml, text, overrides, said):
    with pytest.raises(ConfigError, match=said) as caught:
        config.load(Sample, yaml(text), overrides)
    assert "\n" not in str(caught.value)


def test_missing_file_and_missing_model(tmp_path, yaml):
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(Sample, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="the key 'model' is missing"):
        config.load_model_config(Sample, yaml("name: a"))


def test_unknown_model_lists_the_files(yaml):
    with pytest.raises(ConfigError, match="unknown model 'slm_s'.*nearest: 'slm_ss'.*known: "):
        config.find_model("slm_s")
    with pytest.raises(ConfigError, match="'base' is no model"):
        config.find_model("base")


def test_command_prints_one_line_and_returns_2(capsys):
    @config.command("codecsep-x")
    def main(argv):
        ours = ConfigError("E803", "two\nlines", "a.yaml", "one\nword")
        raise {"ours": ours, "disk": FileNotFoundError(2, "gone", "file"), "bug": KeyError("x")}[argv]

    assert main("ours") == 2 and main("disk") == 2
    ours, disk = capsys.readouterr().err.splitlines()
    assert ours == "codecsep-x: E803 a.yaml: two lines (fix: one word)"
    assert disk.startswith("codecsep-x: E903 file: gone (fix: check the path")
    with pytest.raises(KeyError):
        main("bug")


def test_parser_leaves_overrides_and_refuses_in_one_line(capsys):
    parser = config.parser("codecsep-x", "about")
    parser.add_argument("--out", required=True)
    args, rest = config.parse(parser, ["--out", "a", "--outer.lr", "-3", "--config", "c.yaml"])
    assert (args.out, args.config, rest) == ("a", Path("c.yaml"), ["--outer.lr", "-3"])
    with pytest.raises(SystemExit) as caught:
        config.parse(parser, [])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
