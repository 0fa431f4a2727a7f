"""Step functions of ten lines, and slow obvious twins of the rules."""

import torch

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
