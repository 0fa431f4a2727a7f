"""X2, X3: files of weights that hold code, with and without the variable that makes torch.load unsafe; header bombs."""

import json
import os
import struct
import subprocess
import sys
import time

import pytest
import torch
from bombs import MAKERS, state_dict

from codecsep.codecs import wavlm
from codecsep.errors import CodecsepError
from codecsep.train import checkpoint, store
from codecsep.weight_file import MAX_TENSORS, WeightFileError, read_pickled, read_safetensors

READ = """
import sys
from codecsep.errors import CodecsepError
from codecsep.weight_file import read_pickled
try:
    read_pickled(sys.argv[1])
except CodecsepError as error:
    print(error)
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("read", [read_pickled, lambda path: wavlm.read_checkpoint(path, "base")], ids=["any", "wavlm"])
def test_code_in_weights(tmp_path, canary, make, read):
    make(tmp_path / "a.pt", canary)
    with pytest.raises(WeightFileError, match=r"^E70[23] .*a\.pt: "):
        read(tmp_path / "a.pt")


def test_a_bare_pickle(tmp_path, bomb):
    (tmp_path / "a.pt").write_bytes(bomb)
    with pytest.raises(WeightFileError, match="^E702 .*holds more than tensors and plain values"):
        read_pickled(tmp_path / "a.pt")


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_code_in_weights_where_torch_is_told_to_load_anything(tmp_path, canary, make):
    make(tmp_path / "a.pt", canary)
    environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    command = [sys.executable, "-c", READ, tmp_path / "a.pt"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and result.stdout.startswith(("E702 ", "E703 ")), result.stderr


def test_the_optimizer_of_a_checkpoint_of_others(tmp_path, canary):
    """Its hashes may be right: whoever made the file made the manifest."""
    state_dict(tmp_path / store.OPTIMIZER, canary)
    with pytest.raises(WeightFileError, match=r"^E702 .*optimizer\.pt: .*\.call\); it is not loaded"):
        store.read_optimizer(tmp_path)


def test_weights_that_are_a_pickle_under_the_safe_name(tmp_path, bomb):
    (tmp_path / "best.safetensors").write_bytes(bomb + bytes(1000))
    with pytest.raises(CodecsepError, match="^E441 "):
        checkpoint.read_weights(tmp_path / "best.safetensors")


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
MANY = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(100_000)}
HEADERS = {
    "size 2^63": (None, struct.pack("<Q", 2**63) + b"{}" + bytes(100)),
    "size 2^64 - 1": (None, struct.pack("<Q", 2**64 - 1) + b"{}"),
    "empty": (None, b""),
    "7 bytes": (None, bytes(7)),
    "overlapping ranges": ({"a": TENSOR, "b": TENSOR}, bytes(8)),
    "a gap": ({"a": TENSOR}, bytes(16)),
    "range outside": ({"a": {**TENSOR, "data_offsets": [0, 800]}}, bytes(8)),
    "range backwards": ({"a": {**TENSOR, "data_offsets": [8, 0]}}, bytes(8)),
    "shape that overflows": ({"a": {**TENSOR, "shape": [2**62, 4]}}, bytes(8)),
    "negative shape": ({"a": {**TENSOR, "shape": [-2]}}, bytes(8)),
    "unknown kind": ({"a": {**TENSOR, "dtype": "PKL"}}, bytes(8)),
    "100,000 tensors": (MANY, b""),
    "no mapping": ([1, 2], b""),
    "no JSON": (b"{" * 5000, b""),
    "deep": (b'{"a":' + b"[" * 100_000, b""),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_safetensors(tmp_path, canary, name):
    header, data = HEADERS[name]
    if header is not None:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + data
    (tmp_path / "a.safetensors").write_bytes(data)
    began = time.monotonic()
    with pytest.raises(WeightFileError, match=r"^E703 .*a\.safetensors: .*\(fix: "):
        read_safetensors(tmp_path / "a.safetensors")
    assert time.monotonic() - began < 6, "2 s promised, on an idle machine"


def test_what_is_well_formed_is_read(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.arange(3)}, tmp_path / "a.safetensors")
    assert read_safetensors(tmp_path / "a.safetensors")["a"].tolist() == [0, 1, 2]
    state = {"state": {0: {"step": torch.tensor(1.0)}}, "groups": [{"lr": 1e-3, "betas": (0.9, 0.98)}]}
    torch.save(state, tmp_path / "a.pt")
    assert read_pickled(tmp_path / "a.pt")["groups"][0]["betas"] == (0.9, 0.98)
    assert MAX_TENSORS > 10_000
