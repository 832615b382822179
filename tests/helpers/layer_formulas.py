"""The closed formulas of the methods, for every kind of layer of ``layer_zoo.py``.

They are written by index, element by element of the stock layer's own parameters; nothing of the
package is used.
"""

import itertools

import torch
from layer_zoo import ALPHA, R
from torch import Tensor, nn


def formula(
    stock: nn.Module, adapted: nn.Module, kept: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the parameters of the stock layer that computes what an adapted layer is to compute.

    They are functions of the adapter's tensors, for gradients too, worked out in float64.

    Args:
        stock (nn.Module): The layer.
        adapted (nn.Module): The same layer, adapted.
        kept (dict, optional): For a weight, by the suffix of its tensors, what dropout multiplies
            the flattened columns of A with.
    """
    kept = kept or {}
    if not isinstance(stock, nn.MultiheadAttention):
        weight, bias = _formula(
            adapted,
            '',
            stock.weight,
            getattr(stock, 'bias', None),
            _owners(stock),
            _columns(stock),
            kept.get(''),
        )
        if getattr(stock, 'padding_idx', None) is not None:
            rows = list(weight)
            rows[stock.padding_idx] = stock.weight[stock.padding_idx]
            weight = torch.stack(rows)
        return dict(weight=weight) if bias is None else dict(weight=weight, bias=bias)
    e = stock.embed_dim
    weights, biases = {}, {}
    for n, part in enumerate('qkv'):
        own = getattr(stock, f'{part}_proj_weight')
        weights[part] = stock.in_proj_weight[n * e : (n + 1) * e] if own is None else own
        biases[part] = (
            stock.in_proj_bias[n * e : (n + 1) * e] if stock.in_proj_bias is not None else None
        )
    weights['out'], biases['out'] = stock.out_proj.weight, stock.out_proj.bias
    for part in adapted.adapter.attention:
        owners = torch.arange(e)[:, None].expand_as(weights[part])
        columns = torch.arange(weights[part].shape[1]).expand_as(weights[part])
        weights[part], biases[part] = _formula(
            adapted, f'_{part}', weights[part], biases[part], owners, columns, kept.get(f'_{part}')
        )
    result = {'out_proj.weight': weights['out'], 'out_proj.bias': biases['out']}
    if stock.in_proj_weight is None:
        result.update({f'{part}_proj_weight': weights[part] for part in 'qkv'})
    else:
        result['in_proj_weight'] = torch.cat([weights[part] for part in 'qkv'])
    if stock.in_proj_bias is not None:
        result['in_proj_bias'] = torch.cat([biases[part] for part in 'qkv'])
    return {name: tensor for name, tensor in result.items() if tensor is not None}


def _owners(stock: nn.Module) -> Tensor:
    """Return for each element of a weight the number of the output channel that it belongs to."""
    shape = stock.weight.shape
    owners = torch.empty(shape, dtype=torch.long)
    for first, second in itertools.product(range(shape[0]), range(shape[1] if shape[1:] else 1)):
        place = (first, second) if shape[1:] else (first,)
        if isinstance(stock, nn.Embedding):
            owners[place] = second
        elif isinstance(stock, nn.modules.conv._ConvTransposeNd):
            group = first // (stock.in_channels // stock.groups)
            owners[place] = group * (stock.out_channels // stock.groups) + second
        else:
            owners[place] = first
    return owners


def _columns(stock: nn.Module) -> Tensor:
    """Return for each element of a weight the number of A's column, the kernel flattened behind."""
    shape = stock.weight.shape
    columns = torch.zeros(shape, dtype=torch.long)
    for place in itertools.product(*(range(n) for n in shape)):
        if isinstance(stock, nn.Embedding):
            columns[place] = place[0]
            continue
        channel = place[1] if shape[1:] else 0
        if isinstance(stock, nn.modules.conv._ConvTransposeNd):
            channel = place[0] % (stock.in_channels // stock.groups)
        for index, size in zip(place[2:], shape[2:], strict=True):
            channel = channel * size + index
        columns[place] = channel
    return columns


def _formula(
    adapted: nn.Module,
    suffix: str,
    weight: Tensor,
    bias: Tensor | None,
    owners: Tensor,
    columns: Tensor,
    kept: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    tensors = {
        name: getattr(adapted, name + suffix).double()
        for name in ('lora_A', 'lora_B', 'magnitude', 'ssf_scale', 'ssf_shift')
        if hasattr(adapted, name + suffix)
    }
    wide = weight.double()
    if 'lora_A' not in tensors:
        scale = tensors.get('ssf_scale', torch.ones(owners.max() + 1, dtype=torch.double))
        if bias is not None:
            bias = (bias * scale + tensors.get('ssf_shift', 0)).to(bias.dtype)
        return (wide * scale[owners]).to(weight.dtype), bias
    left, right = tensors['lora_B'].flatten(1), tensors['lora_A'].flatten(1)
    added = ALPHA / R * sum(left[owners, k] * right[k, columns] for k in range(R))
    whole = wide + added
    wide = whole if kept is None else wide + added * kept[columns]
    if 'magnitude' in tensors:
        squares = torch.zeros(len(left), dtype=torch.double)
        squares.index_add_(0, owners.flatten(), whole.detach().square().flatten())
        wide = wide * (tensors['magnitude'] / squares.sqrt())[owners]
    return wide.to(weight.dtype), bias
