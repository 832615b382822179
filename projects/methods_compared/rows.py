"""What is compared: each row a value of `peft`, with the rates tried for it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One way of adapting the base.

    Args:
        title (str): What the table calls it.
        peft (dict): The ``peft`` key, but for what all rows have in common.
        rates (tuple[float, ...]): Peak learning rates; the first seed tries all of them.
        optim_wrapper (dict): What it adds to that key. Defaults to nothing.
    """

    title: str
    peft: dict
    rates: tuple[float, ...]
    optim_wrapper: dict = field(default_factory=dict)


_RANK = dict(r=16, alpha=16, dropout=0.0)
ROWS = {
    'full': Row('full fine-tuning', dict(targets='all', norm='train'), (3e-4, 1e-3)),
    'last_layer': Row('only the head', dict(), (1e-3, 3e-3)),
    'lora': Row('LoRA r=16', dict(method=dict(type='LoRA', **_RANK)), (1e-3, 3e-3)),
    'ssf': Row('SSF', dict(method=dict(type='SSF')), (1e-3, 3e-3)),
    'dora': Row('DoRA r=16', dict(method=dict(type='DoRA', **_RANK)), (1e-3, 3e-3)),
    'lora_plus': Row(
        'LoRA+ r=16',
        dict(method=dict(type='LoRA', **_RANK)),
        (3e-4, 1e-3),
        dict(constructor='LoRAPlusOptimWrapperConstructor', paramwise_cfg=dict(lora_plus_ratio=16)),
    ),
}
# The backbone's last convolution leads nowhere: a detector reads the stages before it.
COMMON = dict(method=None, targets='auto', exclude=['backbone.conv2'], head='train', norm='freeze')
