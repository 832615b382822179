"""The ``peft.quant`` key: its names, defaults and errors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import ClassVar

from ..errors import UserError
from ..values import check_dict, check_flag, check_keys, check_list, check_number, check_one_of

COMPUTE_DTYPES = (None, 'float16', 'bfloat16', 'float32')

# The same things as Hugging Face's BitsAndBytesConfig calls them.
_OTHER_NAMES = dict(
    load_in_4bit='bits=4',
    load_in_8bit='bits=8',
    bnb_4bit_quant_type='type',
    bnb_4bit_compute_dtype='compute_dtype',
    bnb_4bit_use_double_quant='double_quant',
    llm_int8_threshold='threshold',
    llm_int8_skip_modules='skip',
    llm_int8_has_fp16_weight='has_fp16_weights',
)
_OFFLOAD = ('cpu_offload', 'llm_int8_enable_fp32_cpu_offload')


@dataclass(frozen=True)
class FourBit:
    """A base in 4 bits: a code for each weight and a scale for each 64 of them.

    QLoRA (Dettmers et al., https://arxiv.org/abs/2305.14314).

    Args:
        type (str): ``'nf4'``, whose codes are quantiles of the normal distribution, or ``'fp4'``,
            a 4-bit floating-point number. Defaults to ``'nf4'``.
        compute_dtype (str, optional): What the quantized product is computed in: ``'float16'``,
            ``'bfloat16'`` or ``'float32'``. Defaults to the type of the layer's input, or that of
            autocast.
        double_quant (bool): Whether the scales are quantized too, to 8 bits: 4.13 bits a weight
            instead of 4.5. Defaults to False.
        skip (list): What stays dense; the same grammar as ``peft.targets``.
    """

    bits: ClassVar[int] = 4
    type: str = 'nf4'
    compute_dtype: str | None = None
    double_quant: bool = False
    skip: list = field(default_factory=list)

    def __post_init__(self) -> None:
        check_one_of('peft.quant.type', self.type, ('nf4', 'fp4'))
        check_one_of('peft.quant.compute_dtype', self.compute_dtype, COMPUTE_DTYPES)
        check_flag('peft.quant.double_quant', self.double_quant)
        _check_skip(self.skip)


@dataclass(frozen=True)
class EightBit:
    """A base in 8 bits: an integer for each weight and a scale for each row.

    LLM.int8() (Dettmers et al., https://arxiv.org/abs/2208.07339). A GPU multiplies integers. A CPU
    turns the weight back into floating point for each product, which is faster there and exact.

    Args:
        threshold (float): Columns of the input with a value beyond it are multiplied in floating
            point; 0: none are. It counts where integers are multiplied. Defaults to 6.
        has_fp16_weights (bool): Whether the weights stay in 16 bits and are quantized for each
            product: twice the memory, but merging starts from weights that were not rounded to
            8 bits. Defaults to False.
        skip (list): What stays dense; the same grammar as ``peft.targets``.
    """

    bits: ClassVar[int] = 8
    threshold: float = 6.0
    has_fp16_weights: bool = False
    skip: list = field(default_factory=list)

    def __post_init__(self) -> None:
        check_number(
            'peft.quant.threshold',
            self.threshold,
            lambda value: value >= 0,
            'a number of at least 0',
        )
        check_flag('peft.quant.has_fp16_weights', self.has_fp16_weights)
        _check_skip(self.skip)


QuantOptions = FourBit | EightBit


def parse_quant(cfg: Mapping) -> QuantOptions:
    """Read and check the value of ``peft.quant``.

    Args:
        cfg (dict): ``bits`` (4 or 8) and the arguments of :class:`FourBit` or :class:`EightBit`.

    Returns:
        QuantOptions: What it asks for.

    Raises:
        UserError: A key is unknown, has no meaning here, or its value is not one of those allowed.
    """
    check_dict('peft.quant', cfg, "dict(bits=4, type='nf4') or None")
    arguments = dict(cfg)
    bits = arguments.pop('bits', None)
    for key in arguments:
        if key in _OFFLOAD:
            raise UserError(
                f'peft.quant.{key}: it lets transformers leave some layers on the CPU, '
                'in float32; MMEngine keeps a whole model on one device. What is to '
                'stay in float32 is named in peft.quant.skip'
            )
        if key in _OTHER_NAMES:
            raise UserError(f'peft.quant.{key} is written peft.quant.{_OTHER_NAMES[key]} here')
    check_one_of('peft.quant.bits', bits, (4, 8))
    options = FourBit if bits == 4 else EightBit
    names = [f.name for f in fields(options)]
    check_keys('peft.quant', arguments, names, owner=f' for bits={bits}')
    return options(**arguments)


def quant_to_dict(options: QuantOptions) -> dict:
    """Return the value of ``peft.quant`` that means these options."""
    return dict(bits=options.bits, **asdict(options))


def _check_skip(value) -> None:
    check_list('peft.quant.skip', value, (str, Mapping), 'names, regular expressions or dicts')
