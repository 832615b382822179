"""What an adapter takes from the weights, which a runner loads after it has built everything."""

from mmengine.dist import broadcast
from torch import nn

from ..adapters import adapted_layer
from ..peft import require_state
from ..runs import averaged_models


def start_from_weights(runner, model: nn.Module) -> None:
    """Set DoRA's magnitudes and the like from the weights that have been loaded by now.

    In every process and in the copies that keep a moving average the values are the first one's.

    Args:
        runner (Runner): A runner about to train.
        model (nn.Module): Its adapted model, not wrapped; nothing in it is trained yet.
    """
    copies = averaged_models(runner)
    handed_out = getattr(getattr(runner, 'strategy', None), 'first_has_weights', False)
    for name in require_state(model).adapted:
        layer = adapted_layer(model, name)
        layer.reset_adapter()
        for tensor in layer.adapter_names:
            value = getattr(layer, tensor).data
            if not handed_out:  # the strategy does it, with the weights
                broadcast(value)
            for copy in copies:
                getattr(copy.get_submodule(name), tensor).data.copy_(value)
