r"""LoRA+: the two factors of LoRA learn at different rates (https://arxiv.org/abs/2402.12354).

.. math:: \eta_B = \lambda \eta_A, \qquad \lambda \ge 1

``B`` starts at zero and ``A`` does not, so that at one common rate one of them learns too slowly,
the more so the wider the layer is.
"""

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..errors import UserError
from ..peft import get_state
from ..values import check_keys, check_number

_RATIO = 'lora_plus_ratio'
# What DefaultOptimWrapperConstructor reads; it ignores whatever else it finds.
_STOCK_KEYS = (
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LoRAPlusOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Build an optimizer in which every ``lora_B`` learns ``lora_plus_ratio`` times as fast.

    Only trainable parameters are given to the optimizer, a shared module's once, in one group for
    each combination of settings. The rate of a ``lora_B`` is ``lora_plus_ratio`` times what the
    rest of ``paramwise_cfg`` makes of it. Its weight decay is not touched, as in the authors' code:
    ``A`` and ``B`` have the same coefficient, which AdamW then multiplies by the rate of each.
    Hugging Face's ``create_loraplus_optimizer`` has another default there (no decay at all) and
    gives one-dimensional parameters (biases, DoRA's magnitude) the higher rate too.

    Schedulers that multiply rates keep the ratio; a cosine down to an absolute ``eta_min`` above 0
    does not, one with ``eta_min_ratio`` does.

    Args:
        optim_wrapper_cfg (dict): As for MMEngine's DefaultOptimWrapperConstructor. ``optimizer``
            needs an ``lr``, which is that of ``lora_A`` and of all else.
        paramwise_cfg (dict, optional): What MMEngine's takes, and ``lora_plus_ratio`` (float), at
            least 1. Defaults to the authors' 16. ``bypass_duplicate`` is True unless it is set.

    Raises:
        UserError: A key or the ratio is wrong, or ``optimizer`` has no ``lr``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if isinstance(paramwise_cfg, dict) or paramwise_cfg is None:
            paramwise_cfg = {_RATIO: 16, 'bypass_duplicate': True, **(paramwise_cfg or {})}
        super().__init__(optim_wrapper_cfg, paramwise_cfg)

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        allowed = (_RATIO, *_STOCK_KEYS)
        check_keys('optim_wrapper.paramwise_cfg', self.paramwise_cfg, allowed)
        check_number(
            f'optim_wrapper.paramwise_cfg.{_RATIO}',
            self.paramwise_cfg[_RATIO],
            lambda value: 1 <= value < float('inf'),
            'a number of at least 1 (1 is plain LoRA, the authors use 16)',
        )
        if self.base_lr is None:
            raise UserError('LoRA+ multiplies optim_wrapper.optimizer.lr, which is not set')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        A runner builds its optimizer before its hooks adapt the model, and anew after it. The
        optimizer of a stock model is therefore built, but it refuses to make a step.

        Args:
            model (nn.Module): The model, or a wrapper that has it in ``module``.

        Returns:
            OptimWrapper: The optimizer wrapper.

        Raises:
            UserError: The model is adapted, and has no trainable ``lora_B``.
        """
        stock = getattr(model, 'module', model)
        lora_b = [p for m in stock.modules() for p in _own_lora_b(m) if p.requires_grad]
        if not lora_b and get_state(stock) is not None:
            raise UserError(_nothing_to_speed_up(stock))
        wrapper = super().__call__(model)
        if lora_b:
            print_log(
                f'LoRA+: {len(lora_b)} tensors lora_B learn {self.paramwise_cfg[_RATIO]:g} '
                'times as fast as set otherwise',
                'current',
            )
        else:
            wrapper.optimizer.register_step_pre_hook(_Refusal(_nothing_to_speed_up(stock)))
        return wrapper

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add the groups of a module and of what is inside it, as MMEngine's does.

        Args:
            params (list[dict]): Parameter groups; changed in place.
            module (nn.Module): The module.
            prefix (str): Its name; empty for the whole model.
            is_dcn_module (int or float, optional): Whether it is inside a deformable convolution.
        """
        start = len(params)
        super().add_params(params, module, prefix, is_dcn_module)
        own = set(_own_lora_b(module))
        for group in params[start:]:
            if own.issuperset(group['params']):
                group['lr'] = group.get('lr', self.base_lr) * self.paramwise_cfg[_RATIO]
        if not prefix:
            params[:] = _merge_alike(params)


class _Refusal:
    """A step hook that ends a training in which LoRA+ would be without effect."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __call__(self, optimizer, args, kwargs) -> None:
        raise UserError(self.message)


def _own_lora_b(module: nn.Module) -> list[nn.Parameter]:
    # Attention has one for each of its projections: lora_B_q, lora_B_v, ...
    return [p for name, p in module.named_parameters(recurse=False) if name.startswith('lora_B')]


def _nothing_to_speed_up(model: nn.Module) -> str:
    return (
        f'LoRAPlusOptimWrapperConstructor: this {type(model).__name__} has no trainable '
        "lora_B; adapt it with peft.method=dict(type='LoRA', ...) or 'DoRA' and "
        'PEFTInjectHook, or remove optim_wrapper.constructor'
    )


def _merge_alike(params: list[dict]) -> list[dict]:
    """Join groups of the same settings: an optimizer runs one kernel a group."""
    merged: list[dict] = []
    for group in params:
        settings = {key: value for key, value in group.items() if key != 'params'}
        for other in merged:
            if {key: value for key, value in other.items() if key != 'params'} == settings:
                other['params'] += group['params']
                break
        else:
            merged.append(group)
    return merged
