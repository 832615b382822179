"""Adapting a model where it is wrapped for distribution, without a hook.

The third door beside the hook and the Python call. MMEngine wraps before it builds the optimizer,
so nothing has to be built twice; but a wrapper does not see the checkpoint that is loaded later,
nor the ones that are saved.
"""

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from ..adapters import AdapterLayer
from ..errors import UserError
from ..files import write_checkpoints_atomically
from ..files.loaded_keys import LoadedKeys
from ..logs import say
from ..peft import PEFTConfig, inject


@MODEL_WRAPPERS.register_module()
class PEFTDistributedDataParallel(MMDistributedDataParallel):
    """DistributedDataParallel of a model that it adapts first.

    Trains what :class:`~mmadapt.hooks.PEFTInjectHook` trains. Checkpoints hold the whole model,
    layers without a pretrained weight are refused rather than trained, and no adapter folder is
    written: those need the hook. In a single process MMEngine builds no wrapper.

    Args:
        module (nn.Module): The model.
        peft (dict): What is adapted, as the config key of that name.
        kwargs: What ``MMDistributedDataParallel`` takes.

    Raises:
        UserError: ``peft`` is wrong, or says something that only the hook can do.
    """

    def __init__(self, module: nn.Module, peft: dict, **kwargs) -> None:
        config = PEFTConfig.parse(peft)
        for name in ('adapter', 'base', 'export', 'keep_classes', 'quant'):
            if getattr(config, name) != getattr(PEFTConfig, name):
                raise UserError(
                    f'peft.{name} in model_wrapper_cfg: only PEFTInjectHook reads it; '
                    'put `peft` at the top of the config and the hook into '
                    'custom_hooks'
                )
        report = inject(module, config, weights_follow=True)
        for line in (*report.warnings, report.line()):
            say(line)
        self._loaded: LoadedKeys | None = LoadedKeys(module)
        self._allow_random_base = config.allow_random_base
        write_checkpoints_atomically()
        super().__init__(module, **kwargs)

    def train_step(self, data, optim_wrapper):
        """Train on a batch; before the first one, finish what the loaded weights decide.

        Args:
            data (dict): The batch, as the data loader has made it.
            optim_wrapper (OptimWrapper): What makes the step.

        Returns:
            dict[str, Tensor]: The losses.

        Raises:
            UserError: A frozen weight is not a loaded one.
        """
        if self._loaded is not None:
            self._begin(self._loaded)
            self._loaded = None
        return super().train_step(data, optim_wrapper)

    def _begin(self, loaded: LoadedKeys) -> None:
        loaded.stop()
        drawn = {
            f'{name}.{key}'
            for name, layer in self.module.named_modules()
            for key in getattr(layer, 'adapter_names', ())
        }
        random = [
            name
            for name, p in self.module.named_parameters()
            if not p.requires_grad and name not in loaded.keys and name not in drawn
        ]
        if random and not self._allow_random_base:
            raise UserError(
                f'{random[0]} and {len(random) - 1} more parameters are frozen but no weight was '
                'loaded into them; set load_from, or use PEFTInjectHook, which trains layers '
                'without a pretrained weight (allow_random_base=True if that is meant)'
            )
        for name, layer in self.module.named_modules():
            own = [f'{name}.{key}' for key in getattr(layer, 'adapter_names', ())]
            if isinstance(layer, AdapterLayer) and not loaded.keys.issuperset(own):
                layer.reset_adapter()
