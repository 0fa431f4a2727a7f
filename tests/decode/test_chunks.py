"""Streaming: equal to a twin that recomputes everything; only whole chunks; the cache never exceeds the window."""

import pytest
import torch

from codecsep.decode.chunks import stream
from codecsep.decode.noise import GumbelNoise
from codecsep.decode.options import ChunkOptions
from codecsep.decode.step import DecodeError

CHUNK, WINDOW, SIZE = 4, 12, 9
WEIGHTS = torch.randn(WINDOW, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def logits_of(seen, place):
    """What a token at `place` of its chunk says, given the tokens in sight (the end of its chunk last): [V]."""
    total = torch.zeros(SIZE)
    for back, token in enumerate(reversed(seen)):
        total = total + WEIGHTS[back, token] * (1.0 + 0.1 * place)
    return total


class Rolling:
    """A step with a cache of tokens per row; notes the most that it ever held."""

    chunk, window = CHUNK, WINDOW

    def __init__(self, batch):
        self.cache, self.most, self.steps = [[] for _ in range(batch)], 0, 0

    def advance(self, tokens):
        self.steps += 1
        pieces = []
        for piece in tokens.split(CHUNK, dim=1):
            self.cache = [row + new for row, new in zip(self.cache, piece.tolist(), strict=True)]
            pieces += [torch.stack([torch.stack([logits_of(row, i) for i in range(CHUNK)]) for row in self.cache])]
        self.most = max(self.most, len(self.cache[0]))
        return torch.cat(pieces, dim=1)

    def evict(self, num_tokens):
        self.cache = [row[num_tokens:] for row in self.cache]

    def keep(self, rows):
        self.cache = [self.cache[row] for row in rows.tolist()]


def slow_twin(prompt, length, options, key):
    """One row: all logits from the whole sequence, for every chunk anew."""
    tokens, noise = list(prompt), GumbelNoise(options.seed, [key])
    while len(tokens) < len(prompt) + length:
        seen, new = tokens[-WINDOW:], []
        for place in range(CHUNK):
            logits = logits_of(seen, place)
            if options.top_p == 0:
                new.append(int(logits.argmax()))
                continue
            order = sorted(range(SIZE), key=lambda token, at=logits: -float(at[token]))[: options.top_k or SIZE]
            heated = logits[order] / options.temperature
            chances = heated.softmax(-1).tolist()
            stay = [n for n in range(len(order)) if n == 0 or sum(chances[:n]) < options.top_p]
            drawn = noise.at(len(tokens) + place, SIZE)[0]
            new.append(order[max(stay, key=lambda n: float(heated[n]) + float(drawn[order[n]]))])
        tokens += new
    return tokens[len(prompt) :]


def collected(chunks, batch):
    rows = [[] for _ in range(batch)]
    for chunk in chunks:
        for row, tokens in zip(chunk.rows, chunk.tokens.tolist(), strict=True):
            assert len(tokens) == CHUNK
            rows[row] += tokens
    return rows


def prompts(batch, length, seed=1):
    return torch.randint(SIZE, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prompt_length", [4, 12, 28])
@pytest.mark.parametrize(
    "options", [ChunkOptions(), ChunkOptions(top_p=0.0), ChunkOptions(top_p=1.0, top_k=3, temperature=2.0)]
)
def test_equal_to_a_twin_that_recomputes_everything(prompt_length, options):
    given, lengths, keys = prompts(4, prompt_length), [24, 0, 8, 16], ["a", "b", "c", "d"]
    step = Rolling(4)
    got = collected(stream(step, given, lengths, options, keys), 4)
    assert got == [slow_twin(given[row].tolist(), lengths[row], options, keys[row]) for row in range(4)]
    assert step.most <= WINDOW


def test_changing_a_later_token_never_changes_earlier_logits_nor_tokens():
    tokens = prompts(1, 12)
    before = Rolling(1).advance(tokens)
    for place in range(12):
        changed = tokens.clone()
        changed[0, place] = (changed[0, place] + 1) % SIZE
        same = (Rolling(1).advance(changed) == before).all(-1)[0]
        first = place // CHUNK * CHUNK  # inside its own chunk a token is seen by all: their logits may move
        assert same.tolist() == [frame < first for frame in range(12)]


def test_a_chunk_comes_as_soon_as_it_is_there():
    step = Rolling(1)
    chunks = stream(step, prompts(1, 8), [400], ChunkOptions())
    next(chunks)
    assert step.steps == 1
    next(chunks)
    assert step.steps == 2


@pytest.mark.parametrize(
    "prompt_length, lengths, words",
    [
        (6, [8], "a prompt of 6 tokens is not made of chunks of 4"),
        (0, [8], "a prompt of 0 tokens"),
        (8, [7], "a length of 7 tokens"),
    ],
)
def test_only_whole_chunks(prompt_length, lengths, words):
    with pytest.raises(DecodeError, match=words):
        stream(Rolling(1), prompts(1, prompt_length), lengths, ChunkOptions())


def test_bad_arguments_and_bad_logits():
    with pytest.raises(ValueError, match="2 lengths for 1 prompts"):
        stream(Rolling(1), prompts(1, 4), [4, 4], ChunkOptions())

    class Broken(Rolling):
        def advance(self, tokens):
            return super().advance(tokens) * float("nan")

    with pytest.raises(DecodeError, match="NaN logits after 4 tokens"):
        next(stream(Broken(1), prompts(1, 4), [4], ChunkOptions()))
