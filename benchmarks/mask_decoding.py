"""What constrained decoding costs: processor time within the logits processors against that of the rest of `generate`.

    python benchmarks/mask_decoding.py [--rounds 5] [--json]

Models are random: a tiny PaliGemma (2 layers, 64 wide) with the published vocabulary's 257,216 entries, and a decoder
of 4 layers, 256 wide, with just the tokens of masks. The grammar processor answers `segment` and `detect` prompts of
one to three structures that are all present; the processor of token families writes 4 places and 20 codes of 4,096.
One thread, greedy, with cache. With `--json` the last line is one JSON object; `overhead` is the largest share.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.auto import tqdm
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from anatomy_vlm.processing.mask_constraints_anatomy_vlm import MaskCodesLogitsProcessor, MaskGrammarLogitsProcessor
from anatomy_vlm.processing.mask_text_anatomy_vlm import MaskGrammar


TARGET = 0.10
NAMES = {
    "heart": ["heart", "cardiac silhouette"],
    "left lung": ["left lung"],
    "right lung": ["right lung"],
    "trachea": ["trachea", "windpipe"],
}
PROMPTS = ["segment heart ; left lung ; right lung", "segment trachea", "detect heart ; trachea", "segment left lung"]
PALIGEMMA_VOCABULARY, IMAGE_TOKENS = 257_216, 16
# What ends an answer is said to `generate`.
NO_IDS = {"bos_token_id": None, "eos_token_id": None}


class Timed(LogitsProcessor):
    """A processor, and the processor time that it has taken."""

    def __init__(self, inner: LogitsProcessor):
        self.inner, self.seconds, self.calls = inner, 0.0, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        begin = time.process_time()
        out = self.inner(input_ids, scores)
        self.seconds += time.process_time() - begin
        self.calls += 1
        return out


def mask_tokenizer(grammar: MaskGrammar) -> PreTrainedTokenizerFast:
    """Pieces of a few words, and all places and shapes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<image>"]
    words = [*PROMPTS, *(name for some in NAMES.values() for name in some)]
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )
    fast.padding_side = "left"
    fast.add_tokens([f"<loc{value:04d}>" for value in range(grammar.loc_size)])
    fast.add_tokens([f"<seg{value:03d}>" for value in range(grammar.seg_size)])
    return fast


def paligemma() -> PaliGemmaForConditionalGeneration:
    """A tiny one of random weights."""
    small = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = PaliGemmaConfig(
        vision_config=small | {"model_type": "siglip_vision_model", "image_size": 64, "patch_size": 16},
        text_config=small
        | {"model_type": "gemma", "vocab_size": PALIGEMMA_VOCABULARY, "num_key_value_heads": 1, "head_dim": 16},
        projection_dim=64,
        image_token_index=4,
    )
    return PaliGemmaForConditionalGeneration(config).eval()


def small_decoder(vocab_size: int) -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=vocab_size, n_layer=4, n_embd=256, n_head=4, n_positions=256, **NO_IDS)
    return GPT2LMHeadModel(config).eval()


def cases() -> dict[str, Callable[[], tuple[float, float, int]]]:
    """By name: what runs once and gives seconds of all, of the processor, and the number of steps."""
    torch.manual_seed(0)
    grammar = MaskGrammar()
    tokenizer = mask_tokenizer(grammar)
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "do_sample": False}

    def grammar_case(model: torch.nn.Module, copies: int, with_image: bool) -> Callable[[], tuple[float, float, int]]:
        prompts = PROMPTS * copies
        texts = ["<image>" * IMAGE_TOKENS + prompt for prompt in prompts] if with_image else prompts
        inputs = dict(tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False))
        if with_image:
            inputs["pixel_values"] = torch.zeros(len(texts), 3, 64, 64)

        def once() -> tuple[float, float, int]:
            processor = MaskGrammarLogitsProcessor(
                tokenizer, prompts, inputs["input_ids"].shape[1], grammar, NAMES, allow_absent=False
            )
            timed = Timed(processor)
            begin = time.process_time()
            model.generate(**inputs, **ends, logits_processor=[timed], max_new_tokens=processor.longest_answer)
            return time.process_time() - begin, timed.seconds, timed.calls

        return once

    def families_case(rows: int) -> Callable[[], tuple[float, float, int]]:
        model = small_decoder(3 + 1024 + 4096 + 50)
        prompt = torch.tensor([[2, 5123 + row % 50] for row in range(rows)])
        sizes, offsets = (1024,) * 4 + (4096,) * 20, (3,) * 4 + (1027,) * 20

        def once() -> tuple[float, float, int]:
            timed = Timed(MaskCodesLogitsProcessor(sizes, offsets, 1, 2, allow_absent=False))
            begin = time.process_time()
            model.generate(
                prompt, do_sample=False, pad_token_id=0, eos_token_id=1, logits_processor=[timed], max_new_tokens=25
            )
            return time.process_time() - begin, timed.seconds, timed.calls

        return once

    large, small = paligemma(), small_decoder(len(tokenizer))
    return {
        "grammar, tiny PaliGemma, 4 rows": grammar_case(large, 1, True),
        "grammar, tiny PaliGemma, 16 rows": grammar_case(large, 4, True),
        "grammar, 4 layers of 256, 4 rows": grammar_case(small, 1, False),
        "grammar, 4 layers of 256, 16 rows": grammar_case(small, 4, False),
        "families, 4 layers of 256, 8 rows": families_case(8),
        "families, 4 layers of 256, 29 rows": families_case(29),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    ratios: dict[str, list[float]] = {}
    steps: dict[str, list[float]] = {}
    runs = cases()
    rounds = tqdm([(number, name) for number in range(args.rounds + 1) for name in runs], desc="runs")
    for number, name in rounds:
        total, within, calls = runs[name]()
        if number:  # the first warms up
            ratios.setdefault(name, []).append(within / (total - within))
            steps.setdefault(name, []).append(1e6 * within / calls)
    rows = {
        name: {"overhead": statistics.median(ratios[name]), "microseconds_a_step": statistics.median(steps[name])}
        for name in runs
    }
    print("| processor, model | share of decode time | microseconds a step |")
    print("|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {100 * row['overhead']:.1f} % | {row['microseconds_a_step']:.0f} |")
    overhead = max(row["overhead"] for row in rows.values())
    if args.json:
        print(json.dumps({"overhead": overhead, "rows": rows, "ok": overhead <= TARGET}))


if __name__ == "__main__":
    main()
