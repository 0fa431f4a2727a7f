"""atheris for `sot_target.sot`: python tests/fuzz/fuzz_sot.py [libFuzzer options] [corpus folder]"""

import sys

import atheris

with atheris.instrument_imports(include=["codecsep", "sot_target"]):
    import sot_target

if __name__ == "__main__":
    atheris.Setup(sys.argv, sot_target.sot)
    atheris.Fuzz()
