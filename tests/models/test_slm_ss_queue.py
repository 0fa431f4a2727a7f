"""The AR part through the queue: a mixture's tokens depend neither on slots, order and policy nor on neighbours."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import peak_memory
import pytest
import torch

from codecsep.codecs import fbank
from codecsep.codecs.encoders import EncoderConfig
from codecsep.decode.autoregressive import decode
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.graphs import GraphRunner
from codecsep.decode.options import DecodeOptions
from codecsep.models import slm_ss
from codecsep.nn.sequence_step import SequenceStep
from codecsep.nn.transformer import TransformerConfig

SIZES = TransformerConfig(num_layers=2, width=16, num_heads=2, ffn_width=32)
SAMPLES = [2000, 4040, 900, 3480, 6200, 2500, 640]
KEYS = list("abcdefg")
OPTIONS = {
    "greedy": DecodeOptions(num_speakers=2),
    "sample": DecodeOptions(strategy="sample", temperature=0.9, top_k=9, top_p=0.95, seed=4),
    "beam": DecodeOptions(strategy="beam", beam_size=2, num_speakers=2),
}


def make_part(part, positions="aligned"):
    torch.manual_seed(3)
    encoder = EncoderConfig(kind="fbank", fbank=fbank.Config(num_mels=20, conv_blocks=1, transformer=SIZES))
    sizes = {"num_codebooks": 3, "codebook_size": 24, "max_positions": 120, "frame_rate": 50.0}
    model = slm_ss.Model(slm_ss.Config(part, encoder, SIZES, positions=positions, **sizes)).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # peaky, and far from a model that says the same always
    return model


@pytest.fixture(scope="module", params=["absolute", "aligned"])
def part(request):
    return make_part("ar", request.param).part


@pytest.fixture(scope="module")
def waves():
    noise = np.random.default_rng(0)
    return [torch.from_numpy(0.1 * noise.standard_normal(size).astype(np.float32)) for size in SAMPLES]


def alone(part, waves, options):
    """The twin: each mixture by itself, the network's own step in the plain loop."""
    found = []
    for key, wave in zip(KEYS, waves, strict=True):
        with torch.inference_mode():
            memory, valid = part.encoder(wave[None], torch.tensor([len(wave)]))
            bound = torch.tensor([-(-len(wave) // 320)])
            limit = part.config.max_positions if part.config.positions == "absolute" else None
            tokens, _ = decode(SequenceStep(part, memory, valid), 1, part.vocab, options, bound, [key], limit)
        found.append(tokens[0].tolist())
    return found


def queue(part, waves, options, order=None, **engine):
    how = EngineOptions(**engine)
    order = list(range(len(waves))) if order is None else order
    memories = part.encoder.remember([waves[place] for place in order], how.slots)
    requests = [
        part.request(KEYS[place], len(waves[place]), memory) for place, memory in zip(order, memories, strict=True)
    ]
    tokens, _ = part.generate(part.engine(how), requests, options, how)
    found = dict(zip(order, tokens, strict=True))
    return [found[place].tolist() for place in range(len(waves))]


@pytest.mark.parametrize("name", OPTIONS)
def test_tokens_of_a_mixture_are_its_own(part, waves, name):
    wanted = alone(part, waves, OPTIONS[name])
    assert len({len(row) for row in wanted}) > 3 and len({token for row in wanted for token in row}) > 6
    ways = (("compacted", 3), ("refilled", 3), ("compacted", 7), ("refilled", 2))
    for policy, slots in ways[: 1 if name == "beam" else 4]:
        assert queue(part, waves, OPTIONS[name], slots=slots, policy=policy, bucket=8) == wanted, (policy, slots)
    order = [4, 1, 6, 0, 5, 3, 2]
    assert queue(part, waves, OPTIONS[name], order, slots=3, policy="refilled", look_every=5) == wanted


def test_every_attention_gives_the_same_tokens(part, waves):
    wanted = queue(part, waves, OPTIONS["greedy"], slots=4, attention="fused")
    for attention in ("matmul", "matvec"):
        assert queue(part, waves, OPTIONS["greedy"], slots=4, attention=attention) == wanted, attention


def test_a_captured_step_of_the_network_gives_the_same_tokens(part, waves, monkeypatch):
    """What a GPU does, with a graph that is a call: every other step is a replay."""
    wanted, captures = queue(part, waves, OPTIONS["sample"], slots=3), []

    def capture(work):
        captures.append(work)
        return type("Graph", (), {"replay": staticmethod(work)})

    monkeypatch.setattr("codecsep.decode.queue.make_runner", lambda device: GraphRunner(capture))
    assert queue(part, waves, OPTIONS["sample"], slots=3, policy="refilled", bucket=4, look_every=2) == wanted
    assert len(captures) >= 3


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precision_keeps_most_tokens(part, waves, precision):
    """Given the same past, how often is the best token the same?  (One change changes all that follows.)"""
    memories = part.encoder.remember(waves, 4)
    rows = [torch.tensor(row) for row in alone(part, waves, OPTIONS["greedy"])]
    equal = total = 0
    for memory, row in zip(memories, rows, strict=True):
        steps = [part.engine(EngineOptions(precision=kind)).lockstep([memory]) for kind in ("fp32", precision)]
        for token in row[:-1]:
            exact, rough = (step(token[None]).argmax(-1) for step in steps)
            equal, total = equal + int(exact == rough), total + 1
    assert total > 80 and equal / total > 0.93, f"{equal} of {total}"


def test_int8_is_as_independent_of_neighbours_as_fp32(part, waves):
    wanted = queue(part, waves, OPTIONS["greedy"], slots=1, precision="int8", cache="fp32")
    assert queue(part, waves, OPTIONS["greedy"], slots=4, precision="int8", cache="fp32") == wanted


def test_a_whole_pipeline_in_any_number_of_slots(waves):
    models = [make_part("ar"), make_part("nar")]
    mixtures = [wave.numpy() for wave in waves]
    results = []
    for slots in (1, 3, 20):
        pipeline = slm_ss.join(models, EngineOptions(slots=slots))
        results.append(pipeline.separate(mixtures, OPTIONS["greedy"], KEYS))
        assert not pipeline.shared
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert first.stats == second.stats and len(first.codes) == len(second.codes) == 2
            assert all(torch.equal(a, b) for a, b in zip(first.codes, second.codes, strict=True))
            assert all(codes.shape[0] == 3 for codes in first.codes)


def test_a_shared_encoder_is_asked_once(waves):
    models = [make_part("ar"), make_part("nar")]
    mixtures = [wave.numpy() for wave in waves[:3]]
    models[1].part.encoder.load_state_dict(models[0].part.encoder.state_dict())
    apart = slm_ss.join(models)
    apart.shared = False
    wanted = apart.separate(mixtures, OPTIONS["greedy"], KEYS[:3])
    together = slm_ss.join(models)
    assert together.shared
    together.nar.encoder = None  # it is not needed
    found = together.separate(mixtures, OPTIONS["greedy"], KEYS[:3])
    for ours, theirs in zip(found, wanted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours.codes, theirs.codes, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: captured graphs and bf16 run on CUDA only")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_captured_graphs_on_a_gpu(waves, precision):
    part = make_part("ar").part
    wanted = queue(part, waves, OPTIONS["greedy"], slots=3)
    found = queue(part.to("cuda"), waves, OPTIONS["greedy"], slots=3, precision=precision)
    same = sum(ours == theirs for ours, theirs in zip(found, wanted, strict=True))
    assert same == len(waves) if precision == "fp32" else len(found) == len(waves)


MEMORY = peak_memory.SOURCE + """
import sys, numpy as np, torch
from codecsep import config
from codecsep.decode.engine_options import EngineOptions
from codecsep.decode.options import DecodeOptions
from codecsep.models import slm_ss
base = peak_bytes() / 1e9
torch.manual_seed(0)
settings = config.read_yaml(config.Path(sys.argv[1]))["network"]
part = slm_ss.Model(config.build(slm_ss.Config, settings, "test")).eval()
noise = np.random.default_rng(0)
seconds = np.linspace(2.0, 30.0, 64)
waves = [0.1 * noise.standard_normal(int(16000 * s)).astype(np.float32) for s in seconds]
options = DecodeOptions(num_speakers=2, length_rule="exact")  # every speaker as long as its mixture: the most there is
pipeline = slm_ss.join([part], EngineOptions(slots=16))
found = pipeline.separate(waves, options, [str(i) for i in range(64)])
assert [s.codes[0].shape[1] for s in found] == [-(-len(w) // 320) for w in waves]
print(base, peak_bytes() / 1e9)
"""


@pytest.mark.long
def test_sixty_four_ragged_mixtures_of_up_to_30_seconds_stay_below_2_gb():
    """The mini model, 16 slots, both speakers as long as their mixture; peak of the whole process."""
    conf = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "slm_ss" / "conf" / "ar.yaml"
    run = subprocess.run([sys.executable, "-c", MEMORY, str(conf)], capture_output=True, text=True, check=True)
    before, peak = map(float, run.stdout.split())
    assert peak < 2.0, f"{peak:.2f} GB, {before:.2f} GB of them before the model was made"
