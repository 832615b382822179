"""The `peft` key of a config: its names, defaults and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Union

from ..adapters import AdapterMethod, build_method, other_names
from ..errors import UserError
from ..quantization import QuantOptions, parse_quant, quant_to_dict
from ..values import check_flag, check_keys, check_one_of, check_text, check_together
from .targets import check_selectors

HEAD_POLICIES = ('auto', 'train', 'adapt', 'freeze')
NORM_POLICIES = ('freeze', 'affine', 'stats', 'train')
EXPORTS = (None, 'state_dict', 'safetensors', 'full_torch_model')


@dataclass
class PEFTConfig:
    """What is adapted, what is trained fully and what stays frozen.

    Args:
        method (dict, optional): The adapter method, built by
            :data:`~mmadapt.adapters.ADAPTERS`; None adapts nothing, and ``targets`` then names the
            layers outside the head that train fully. Defaults to None.
        targets (str or list): ``'auto'``: every Linear and ungrouped convolution outside the head
            is adapted and grouped convolutions there train fully; without a method, nothing.
            ``'all'``, ``'all-linear'``, ``'all-conv'``, or a list of names, suffixes and regular
            expressions of full names, and dicts that select by layer
            (:class:`~mmadapt.peft.targets.LayerSelector`). Defaults to ``'auto'``.
        exclude (list): What stays frozen though ``targets`` names it; the same grammar.
        head (str or list): ``'train'``: the head trains fully; ``'adapt'``: it is treated like the
            rest of the model; ``'freeze'``; ``'auto'``: ``'train'`` for a one-stage head and
            ``'adapt'`` otherwise, and a head of an unknown kind trains fully, named in a warning; a
            list of names: those train fully and the rest is adapted.
        norm (str): Norm layers outside the head. ``'freeze'``: neither statistics nor affine
            parameters change; ``'affine'``: only the affine ones; ``'stats'``: only the statistics;
            ``'train'``: both, as in ordinary training. Defaults to ``'freeze'``.
        fold_norm (bool): Whether a frozen BatchNorm is computed by the convolution before it while
            the model trains: less time and memory, and the same numbers to rounding (1e-6).
            Defaults to True.
        quant (dict, optional): ``bits`` and the arguments of
            :class:`~mmadapt.quantization.FourBit` or :class:`~mmadapt.quantization.EightBit`: the
            Linear layers that do not train fully are kept in 4 or 8 bits. Defaults to None.
        adapter (str, optional): An adapter folder to start from, or to evaluate.
        base (str, optional): Where the frozen weights are, when the place that a checkpoint or an
            adapter has recorded is not there any more.
        export (str, optional): What the end of training writes beside the adapter:
            ``'state_dict'``: the merged model's checkpoint, ``merged_model_state_dict.pth``;
            ``'safetensors'``: ``merged_model.safetensors``; ``'full_torch_model'``: the merged
            model pickled whole, ``merged_model.pth``. Defaults to None.
        keep_classes (bool): Whether rows of prediction layers for classes whose names the
            checkpoint knows start from its rows; else all rows of a layer for other classes are
            random. Defaults to True.
        allow_random_base (bool): Whether frozen weights may be ones that nothing was loaded into.
            Defaults to False.
    """

    method: dict | None = None
    targets: str | list = 'auto'
    exclude: list = field(default_factory=list)
    head: str | list = 'auto'
    norm: str = 'freeze'
    fold_norm: bool = True
    quant: dict | None = None
    adapter: str | None = None
    base: str | None = None
    export: str | None = None
    keep_classes: bool = True
    allow_random_base: bool = False

    @classmethod
    def parse(cls, cfg: Union[Mapping, 'PEFTConfig']) -> 'PEFTConfig':
        """Read and check the value of ``peft``.

        Args:
            cfg (dict or PEFTConfig): The value.

        Returns:
            PEFTConfig: What it asks for.

        Raises:
            UserError: A key is unknown or a value is not one of those allowed.
        """
        if isinstance(cfg, PEFTConfig):
            cfg._check()
            return cfg
        check_keys('peft', cfg, [f.name for f in fields(cls)], other_names(()))
        parsed = cls(**{key: _plain(value) for key, value in cfg.items()})
        parsed._check()
        return parsed

    def _check(self) -> None:
        # One name, or one description, is a list of one; a word of `targets` stays.
        if isinstance(self.targets, (str, Mapping)) and self.targets not in _TARGET_WORDS:
            self.targets = [self.targets]
        if isinstance(self.exclude, (str, Mapping)):
            self.exclude = [self.exclude]
        check_together(
            self.build_method,
            self.quant_options,
            lambda: self.targets in _TARGET_WORDS or check_selectors('peft.targets', self.targets),
            lambda: check_selectors('peft.exclude', self.exclude),
            lambda: (
                check_selectors('peft.head', self.head)
                if isinstance(self.head, list)
                else check_one_of(
                    'peft.head', self.head, HEAD_POLICIES, ', or a list of layer names'
                )
            ),
            lambda: check_one_of('peft.norm', self.norm, NORM_POLICIES),
            lambda: check_export('peft.export', self.export),
            lambda: self.adapter is None or check_text('peft.adapter', self.adapter, 'a path'),
            lambda: self.base is None or check_text('peft.base', self.base, 'a path'),
            lambda: check_flag('peft.fold_norm', self.fold_norm),
            lambda: check_flag('peft.keep_classes', self.keep_classes),
            lambda: check_flag('peft.allow_random_base', self.allow_random_base),
        )

    def build_method(self) -> AdapterMethod | None:
        """Build the adapter method; None when nothing is adapted."""
        return None if self.method is None else build_method(self.method)

    def quant_options(self) -> QuantOptions | None:
        """Read ``quant``; None when nothing is quantized."""
        return None if self.quant is None else parse_quant(self.quant)

    def plan(self) -> dict:
        """Return the part of the config that says which tensors exist and which of them train."""
        plan = {
            key: value
            for key, value in asdict(self).items()
            if key in ('method', 'targets', 'exclude', 'head', 'norm')
        }
        method = self.build_method()
        plan['method'] = None if method is None else method.to_dict()
        quant = self.quant_options()
        plan['quant'] = None if quant is None else quant_to_dict(quant)
        return plan


def check_export(where: str, value, allowed: Sequence = EXPORTS) -> None:
    """Check what a merged model is to be written as.

    Args:
        where (str): What has this value, for the message.
        value (str, optional): The value.
        allowed (Sequence): What it may be. Defaults to ``EXPORTS``.

    Raises:
        UserError: It is something else.
    """
    if value == 'save_pretrained':
        raise UserError(
            f"{where}='save_pretrained': that folder, with Hugging Face's names, is "
            'written in any case, as `adapter` in the work directory; for the merged '
            f'model too write one of {[*EXPORTS[1:]]}'
        )
    check_one_of(where, value, allowed)


_TARGET_WORDS = ('auto', 'all', 'all-linear', 'all-conv')


def _plain(value):
    """Turn MMEngine's config containers into ordinary ones."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
