"""atheris for `targets.ark`: python tests/fuzz/fuzz_ark.py [libFuzzer options] [corpus folder]"""

import sys

import atheris

with atheris.instrument_imports(include=["codecsep", "targets"]):
    import targets

if __name__ == "__main__":
    atheris.Setup(sys.argv, targets.ark)
    atheris.Fuzz()
