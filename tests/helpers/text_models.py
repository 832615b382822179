"""Tiny models of transformers, of random weights, and what they are to predict."""

import pytest
import torch
from mmengine.model import BaseModel

transformers = pytest.importorskip('transformers', reason='transformers is not installed')

_SIZES = dict(
    vocab_size=30,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=32,
)
CONFIGS = {
    'BERT': ('BertConfig', _SIZES),
    'BLOOM': ('BloomConfig', dict(vocab_size=30, hidden_size=16, n_layer=2, n_head=2)),
    'Falcon': (
        'FalconConfig',
        dict(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, bias=True),
    ),
    'GPT-2': (
        'GPT2Config',
        dict(
            vocab_size=30,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=32,
            bos_token_id=1,
            eos_token_id=1,
        ),
    ),
    'Granite MoE': (
        'GraniteMoeConfig',
        {**_SIZES, 'num_local_experts': 2, 'num_experts_per_tok': 1},
    ),
    'LLaMA': ('LlamaConfig', {**_SIZES, 'num_key_value_heads': 1}),
    'Mixtral': (
        'MixtralConfig',
        {**_SIZES, 'num_key_value_heads': 1, 'num_local_experts': 2, 'num_experts_per_tok': 1},
    ),
    'T5': (
        'T5Config',
        dict(
            vocab_size=30,
            d_model=16,
            d_kv=8,
            d_ff=24,
            num_layers=2,
            num_heads=2,
            decoder_start_token_id=0,
        ),
    ),
}


class Wrapper(BaseModel):
    """What a model of another library becomes under MMEngine's runner."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, mode='tensor', **inputs):
        return self.model(**inputs)


def text_model(name, task='CausalLM', **changes):
    """Build a model in evaluation mode, always with the same weights.

    Args:
        name (str): One of :data:`CONFIGS`.
        task (str): What ``AutoModelFor`` ends with; empty for the model without a head.
        changes: Of its config.
    """
    kind, sizes = CONFIGS[name]
    config = getattr(transformers, kind)(**{**sizes, 'pad_token_id': 0, **changes})
    torch.manual_seed(0)
    name = f'AutoModelFor{task}' if task else 'AutoModel'
    return getattr(transformers, name).from_config(config).eval()


def words(count=30, seed=0):
    """Return the arguments of a call: two texts of seven words, which are to be predicted."""
    ids = torch.randint(2, count, (2, 7), generator=torch.Generator().manual_seed(seed))
    return dict(input_ids=ids, labels=ids)
