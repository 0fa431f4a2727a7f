"""Benchmarks, side by side with other implementations: `bench <name> [--quick] [--key value]`, with a name of
decode, tokenise, train, separators, macs.

    codecsep bench decode --quick
    codecsep bench decode --num_layers 12 --width 512 --num_heads 8 --ffn_width 2048 --write docs/benchmarks.md

Without a name all of them run, one after the other. `--key value` sets a setting of the one that is named. `--write
PAGE` puts the tables into the page, between the marks of the benchmark, and a JSON into the folder PAGE without its
suffix. `bench decode --help` lists the settings of one. Every benchmark runs in one thread; docs/benchmarks.md says how
to read the results.
"""

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from codecsep import config

PROG = "bench"
BENCHES = (
    "decode",
    "tokenise",
    "train",
    "separators",
    "macs",
)  # each is bin/bench_<name>.py with Settings, QUICK and run


def make_parser() -> argparse.ArgumentParser:
    parser = config.parser(PROG, __doc__ or "")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs: measures nothing")
    parser.add_argument("--write", type=Path, help="page to write the tables into, such as docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    return parser


@config.command(PROG)
def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
    names, rest = divide(words)
    if len(names) == 1 and names[0] in BENCHES and {"-h", "--help"} & set(rest):
        print(help_of(names[0]))
        return 0
    args, overrides = config.parse(make_parser(), rest)
    check(names, args, overrides)
    for name in names or BENCHES:
        run(name, args, overrides)
    return 0


def divide(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of benchmarks, wherever they stand, with whatever else stands before the options; and the options."""
    count = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    names = [*words[:count], *(word for word in words[count:] if word in BENCHES)]
    return names, [word for word in words[count:] if word not in BENCHES]


def help_of(name: str) -> str:
    """What the benchmark measures, and its settings with their defaults."""
    module = find(name)
    settings = [f"  --{key} {value}" for key, value in config.to_dict(module.Settings()).items()]
    usage = f"usage: {PROG} {name} [--quick] [--write PAGE] [--json FILE] [--key value]"
    parts = [usage, inspect.getdoc(module), inspect.getdoc(module.Settings), "\n".join(settings)]
    return "\n\n".join(part for part in parts if part)


def check(names: Sequence[str], args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Raises BenchError on an unknown name, and on settings for more than one benchmark."""
    from codecsep.bin.bench_page import BenchError

    for name in names:
        if name not in BENCHES:
            raise BenchError("E864", f"no benchmark '{name}'", "", f"give one of {', '.join(BENCHES)}")
    if len(names) != 1 and (overrides or args.json or args.config):
        what = "settings and --json are for one benchmark, " + (f"{len(names)} are named" if names else "none is named")
        raise BenchError("E864", what, "", "name one")


def run(name: str, args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """One benchmark: print its tables, and write them where it was asked for."""
    import torch

    from codecsep.bin import bench_page

    torch.set_num_threads(1)
    module = find(name)
    given = [*(module.QUICK if args.quick else ()), *overrides]
    settings = config.load(module.Settings, args.config, given)
    machine = bench_page.machine(getattr(settings, "device", "cpu"))
    print(f"{PROG}: {name} runs in one thread ...", file=sys.stderr)
    tables = module.run(settings)
    machine["load"] = f"{machine['load']} -> {bench_page.load()}"
    result = bench_page.Result(name, machine, config.to_dict(settings), tables)
    print(result.markdown())
    if args.json:
        bench_page.write_json(args.json, result)
    if args.write:
        bench_page.write_section(args.write, result)
        bench_page.write_json(args.write.with_suffix("") / f"{name}.json", result)


def find(name: str) -> ModuleType:
    """The file of a benchmark."""
    return importlib.import_module(f"codecsep.bin.bench_{name}")


if __name__ == "__main__":
    sys.exit(main())
