"""Step functions of ten lines, and slow obvious twins of the rules."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from codecsep.tokens.vocab import Vocab


class TableStep:
    """Logits at step n are `table[row, n]`, whatever was chosen before. Notes how many rows it was given."""

    def __init__(self, table):
        self.table, self.step, self.rows_seen = table, 0, []

    def __call__(self, tokens):
        assert len(tokens) == len(self.table)
        self.rows_seen.append(len(tokens))
        self.step += 1
        return self.table[:, self.step - 1]

    def keep(self, rows):
        self.table = self.table[rows]


class ChainStep:
    """A Markov chain with a matrix of its own per row: logits [V] depend on the row and the last token."""

    def __init__(self, matrices):
        self.matrices = matrices

    def __call__(self, tokens):
        return self.matrices[torch.arange(len(tokens)), tokens]

    def keep(self, rows):
        self.matrices = self.matrices[rows]


def random_chain(batch, vocab: Vocab, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, vocab.size, vocab.size, generator=generator)


def random_table(batch, steps, vocab: Vocab, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(batch, steps, vocab.size, generator=generator)


def segment(tokens: list[int], vocab: Vocab) -> list[int]:
    """The frames of the speaker that is being written."""
    start = max((i for i, token in enumerate(tokens) if token >= vocab.codebook_size), default=-1)
    return tokens[start + 1 :]


def loop_forbids(frames: list[int], repeats: int, shortest: int, longest: int) -> set[int]:
    """Twin of LoopBlocking: codes after which a block would begin to follow itself for the (repeats + 1)-th time."""
    forbidden = set()
    for period in range(shortest, longest + 1):
        needed = period * (repeats + 1)
        tail = frames[-needed:]
        if len(tail) < needed or (shortest > 1 and len(set(tail[:period])) == 1):
            continue
        if tail == tail[:period] * (repeats + 1):
            forbidden.add(tail[0])
    return forbidden


class NeverWaits(TorchDispatchMode):
    """With tensors on the meta device: refuses what would make the program wait for a GPU.

    A look at a number (.item(), `if tensor`, nonzero) fails there anyhow; this one finds copies between devices, also
    those that operations make of a tensor that lies elsewhere.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        aten = torch.ops.aten
        if func.overloadpacket in (aten.where, aten.copy_, aten.index, aten.index_put_, aten.cat) and len(devices) > 1:
            raise RuntimeError(f"{func} of tensors on {sorted(devices)}")
        target = (kwargs or {}).get("device")
        if func.overloadpacket == aten._to_copy and target is not None and torch.device(target).type not in devices:
            raise RuntimeError(f"a copy from {sorted(devices)} to {target}")
        return func(*args, **(kwargs or {}))
