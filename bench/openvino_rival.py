"""OpenVINO GenAI's side of a comparison, in an environment of its own:

    python3 -m venv ov && ov/bin/pip install torch==2.13.0 transformers==5.0.0 optimum-intel==2.2.0 \\
        openvino-genai==2026.4.1 nncf sentencepiece
    ov/bin/pip uninstall torchvision     # one that does not belong to this torch hides Gemma from Transformers
    PYTHONPATH=src ov/bin/python bench/openvino_rival.py make gemma-3-1b-it FOLDER
    ov/bin/optimum-cli export openvino -m FOLDER --task text-generation-with-past --weight-format int4 \\
        --group-size 64 --ratio 1.0 --sym FOLDER-int4
    ov/bin/python bench/openvino_rival.py run FOLDER-int4 --prompt 512 --new 64

`make` writes a random checkpoint at the true shape; `run` prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def make(name: str, folder: Path) -> None:
    """A Hugging Face folder with random weights and 262,144 made-up pieces."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    from bezel.catalog.variants import find

    shape = find(name).shape
    assert shape is not None
    config = Gemma3TextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        sliding_window=shape.window,
        layer_types=[
            "full_attention" if (i + 1) % shape.full_every == 0 else "sliding_attention" for i in range(shape.layers)
        ],
        max_position_embeddings=32768,
    )
    torch.set_default_dtype(torch.bfloat16)
    Gemma3ForCausalLM(config).save_pretrained(folder)
    control = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = control + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [f"▁{i}" for i in range(shape.vocabulary - len(pieces))]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


def run(folder: Path, prompt: int, new: int, threads: int) -> dict[str, float]:
    """Tokens a second, from the time to the first token and the time between tokens; the first run warms up."""
    import numpy as np
    import openvino
    import openvino_genai

    options = {"INFERENCE_NUM_THREADS": threads, "SCHEDULING_CORE_TYPE": "ANY_CORE"} if threads else {}
    pipeline = openvino_genai.LLMPipeline(str(folder), "CPU", **options)
    config = openvino_genai.GenerationConfig(max_new_tokens=new + 1, ignore_eos=True, do_sample=False)
    rng = np.random.default_rng(0)
    for _ in range(2):  # other tokens each time: the pipeline keeps the keys and values of prompts that it has seen
        ids = rng.integers(300, 200_000, (1, prompt))
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        metrics = pipeline.generate(inputs, config).perf_metrics
    return {
        "prefill_tokens_per_second": 1000 * prompt / metrics.get_ttft().mean,
        "decode_tokens_per_second": 1000 / metrics.get_tpot().mean,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("variant")
    making.add_argument("folder", type=Path)
    running = verbs.add_parser("run")
    running.add_argument("folder", type=Path)
    running.add_argument("--prompt", type=int, default=512)
    running.add_argument("--new", type=int, default=64)
    running.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    if options.verb == "make":
        make(options.variant, options.folder)
    else:
        print(json.dumps(run(options.folder, options.prompt, options.new, options.threads)))
