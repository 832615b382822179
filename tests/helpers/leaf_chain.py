"""The whole way of a leaf config, as its user goes it, made short.

Of a stock checkpoint with the stock number of classes a tiny copy of the leaf trains two epochs,
its adapter is merged, and the stock model predicts from the merged file, where there is no mmadapt.

What the leaves of a task share is a module, which may not import mmadapt:

``write_data(root)``
    writes a tiny data set where the leaves look for it, below ``root``: two images to train on and
    two to validate on.
``predict(model, side)``
    returns what a model in eval mode predicts on two fixed images of that side, as a dict of
    tensors. With it the norms of the stock model are calibrated too, so that they are two.
``assert_same(found, wanted)``
    compares two of these dicts, the second of which is not empty.
``VARIABLES``
    what is set at the top of a leaf's copy, such as ``dict(max_epochs=2)``.
``METRICS``
    the numbers that the leaf's own evaluator is to give.
"""

import copy
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed
from stock_predictions import stock_config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmadapt import UserError, inject
from mmadapt.commands import merge, train
from mmadapt.config_files import CONFIGS, copy_of
from mmadapt.norms import statistics_move
from mmadapt.preflight import check_run
from mmadapt.runs import averaged_models, unwrap

HERE = Path(__file__).parent
OTHER_METHODS = ('lora_fa', 'dora', 'ssf', 'qlora', 'full', 'last_layer')
# What says how large an image is, in the steps of pipelines and in data preprocessors.
_SIZES = {
    'border', 'crop_size', 'img_scale', 'img_size', 'input_size', 'random_size_range', 'scale',
    'scales', 'size',
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Leaf:
    """A leaf config, and what makes it small.

    Attributes:
        name (str): The file ``configs/peft/NAME.py``.
        task (ModuleType): What it shares with others.
        counts (dict): What the stock config has to be given for the classes of the data set, as of
            ``--cfg-options``: all of it, and nothing is taken from the leaf.
        resized (str): Which keys of the state dict these change the shape of, a regular expression.
        side (int): Of the images, in pixels.
        changes (dict): What else makes its model small, as of ``--cfg-options``; the stock model's
            too.
        linear (bool): Whether there are Linear layers for the method that needs them.
        idle (str): Which adapters do not move in so short a run, a regular expression, as those of
            levels that no box is assigned to.
    """

    name: str
    task: ModuleType
    counts: dict
    resized: str
    side: int = 64
    changes: dict = field(default_factory=dict)
    linear: bool = True
    idle: str = '-'

    @property
    def file(self) -> Path:
        """The leaf itself."""
        return CONFIGS / 'peft' / f'{self.name}.py'

    @property
    def stock(self) -> str:
        """The stock config that it inherits."""
        return re.search(r"'(\w+::[^']+)'", self.file.read_text())[1]


@dataclass
class Chain:
    """What a leaf's way has left.

    Attributes:
        before (dict[str, Tensor]): The model's parameters before the first step.
        after (dict[str, Tensor]): After the last one.
        trained (set[str]): Which of them required a gradient.
        metrics (dict): Of the last validation.
        adapted (dict[str, Tensor]): What the adapted model predicts.
        base (dict[str, Tensor]): What it predicts without its adapters.
        merged (Path): The merged file.
    """

    before: dict[str, Tensor] = field(default_factory=dict)
    after: dict[str, Tensor] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    metrics: dict = field(default_factory=dict)
    adapted: dict[str, Tensor] = field(default_factory=dict)
    base: dict[str, Tensor] = field(default_factory=dict)
    merged: Path | None = None


def shrink(node, side: int) -> None:
    """Set every size of images in steps of pipelines to a square of a side, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _SIZES and value is not None:
                node[key] = _smaller(value, -(side // 2) if key == 'border' else side)
            elif key == 'heatmap_size':
                node[key] = (side // 4, side // 4)
            else:
                shrink(value, side)
    elif isinstance(node, (list, tuple)):
        for item in node:
            shrink(item, side)


def _smaller(value, side: int):
    if not isinstance(value, (list, tuple)):
        return side
    return [(side, side)] if isinstance(value[0], (list, tuple)) else (side, side)


def edited(
    name: str, folder: Path, method: str = 'lora', data: Path | None = None, **variables
) -> Path:
    """Write a copy of a leaf in which its variables have other values, as its user would.

    Args:
        name (str): The file ``configs/peft/NAME.py``.
        folder (Path): Where the copy is written.
        method (str): The file of ``_base_/peft`` that its one line names.
        data (Path, optional): A data set file in the place of the leaf's own. Defaults to None.
        variables: What stands at its top.

    Returns:
        Path: The copy.
    """
    copy, text = copy_of(f'peft/{name}.py', str(folder / f'{name}.py'))
    text, count = re.subn(r"'peft/lora\.py'", f"'peft/{method}.py'", text)
    assert count == 1, f'{name} does not name its method in one place'
    if data is not None:
        own = r"__import__\('mmadapt'\)\.base\('datasets/\w+\.py'\)"
        text, count = re.subn(own, repr(str(data)), text)
        assert count, f'{name} does not name its data set file'
    for variable, value in variables.items():
        text, count = re.subn(rf'^{variable} = .*$', f'{variable} = {value!r}', text, flags=re.M)
        assert count == 1, f'{variable} is not one variable of {name}'
    copy.write_text(text)
    return copy


def small_config(
    leaf: Leaf, folder: Path, base='base.pth', method: str = 'lora', data: Path | None = None
) -> Config:
    """Return the config of a short run, made of a copy of the leaf.

    Args:
        leaf (Leaf): Which.
        folder (Path): Where the copy is written. Data is looked for below the folder of the
            process, as the leaf says.
        base (Path): The checkpoint to start from.
        method (str): The file of ``_base_/peft`` that its one line names.
        data (Path, optional): A data set file in the place of the leaf's own. Defaults to None.
    """
    cfg = Config.fromfile(edited(leaf.name, folder, method, data, **leaf.task.VARIABLES))
    cfg.merge_from_dict(copy.deepcopy(leaf.changes))
    for loop in ('train', 'val', 'test'):
        loader = cfg[f'{loop}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
        shrink(loader.dataset, leaf.side)
    shrink(cfg.custom_hooks, leaf.side)
    shrink(cfg.get('data_preprocessor'), leaf.side)
    shrink(cfg.model.get('data_preprocessor'), leaf.side)
    cfg.load_from, cfg.randomness = str(base), dict(seed=0)
    cfg.experiment_name = cfg.visualizer.name = f'{leaf.name}_{folder.name}'
    cfg.log_level = 'ERROR'
    if 'accumulative_counts' in cfg.optim_wrapper:
        cfg.optim_wrapper.accumulative_counts = 1
    return cfg


def stock_model(leaf: Leaf, counts: dict | None = None) -> nn.Module:
    """Return the stock model, seeded, as if it were pretrained.

    Args:
        leaf (Leaf): Whose.
        counts (dict, optional): Other numbers of classes than the stock ones.
    """
    cfg = stock_config(leaf.stock)
    cfg.merge_from_dict(copy.deepcopy({**leaf.changes, **(counts or {})}))
    without_downloads(cfg.model)
    shrink(cfg.model.get('data_preprocessor'), leaf.side)
    init_default_scope(leaf.stock.split('::')[0])
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    for parameter in model.parameters():
        # Not only where init_weights puts it: a bias of 0 hides what is lost, and scores that are
        # equal but for rounding are ordered by chance.
        spread = parameter.std().item() if parameter.numel() > 1 else 0.0
        parameter.data += 0.1 * max(spread, 0.2) * torch.randn_like(parameter)
    _calibrate(model, leaf)
    return model


def _calibrate(model: nn.Module, leaf: Leaf) -> None:
    """Give BatchNorm the statistics of random weights, or nothing reaches the deeper layers."""
    norms = [module for module in model.eval().modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    leaf.task.predict(model, leaf.side)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval().momentum = momentum
        # A channel that varies little in two images would be blown up in others.
        norm.running_var += norm.running_var.mean()


def without_downloads(node) -> None:
    """Drop what would fetch pretrained weights, at any depth of a model's config."""
    init = node.get('init_cfg') if isinstance(node, dict) else None
    if isinstance(init, dict) and init.get('type') == 'Pretrained':
        node['init_cfg'] = None
    if isinstance(node, (dict, list, tuple)):
        for item in node.values() if isinstance(node, dict) else node:
            without_downloads(item)


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters(remove_duplicate=False))  # a key each, as in checkpoints


@HOOKS.register_module()
class WatchLeaf(Hook):
    """Notes in :attr:`chain` what a training does."""

    priority = 'LOWEST'
    chain: Chain
    leaf: Leaf

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.chain.before:
            parameters = _parameters(unwrap(runner.model))
            self.chain.before = {name: p.detach().clone() for name, p in parameters.items()}
            self.chain.trained = {name for name, p in parameters.items() if p.requires_grad}

    def after_val_epoch(self, runner, metrics=None):
        self.chain.metrics = metrics

    def after_train(self, runner):
        model = unwrap(runner.model)
        self.chain.after = {name: p.detach().clone() for name, p in _parameters(model).items()}
        # What is exported, which happens after this.
        model = copy.deepcopy([model, *averaged_models(runner)][-1]).eval()
        self.chain.adapted = self.leaf.task.predict(model, self.leaf.side)
        for name, parameter in model.named_parameters():
            if '.lora_B' in name:
                parameter.data.zero_()
        self.chain.base = self.leaf.task.predict(model, self.leaf.side)


def run_chain(leaf: Leaf, folder: Path) -> Chain:
    """Write a base, train a leaf of it as `mmadapt train` does, and merge as `mmadapt merge` does.

    Args:
        leaf (Leaf): Which.
        folder (Path): Where everything is written. The folder of the process is the one below which
            the task's data is.
    """
    base = folder / 'base.pth'
    torch.save(dict(meta={}, state_dict=stock_model(leaf).state_dict()), base)
    chain, config = train_leaf(leaf, small_config(leaf, folder, base), folder)
    chain.merged = folder / 'merged.pth'
    merge.main([str(config), str(folder / 'run' / 'adapter'), str(chain.merged)])
    return chain


def train_leaf(leaf: Leaf, cfg: Config, folder: Path) -> tuple[Chain, Path]:
    """Train a leaf as `mmadapt train` does.

    Args:
        leaf (Leaf): Which.
        cfg (Config): What :func:`small_config` returns; it is changed.
        folder (Path): Where everything is written, the training in ``run``.

    Returns:
        tuple[Chain, Path]: What it has left, and the config.
    """
    cfg.custom_hooks.append(dict(type='WatchLeaf'))
    # In two steps everything is to move by as much as can be seen in what is predicted.
    cfg.optim_wrapper.optimizer = dict(type='Adam', lr=5e-3, eps=1e-16)
    config = folder / 'short.py'
    config.write_text('\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items()))
    WatchLeaf.chain, WatchLeaf.leaf = chain, _ = Chain(), leaf
    train.main([str(config), '--work-dir', str(folder / 'run')])
    return chain, config


def predict_in_stock(chains: dict[Leaf, Chain], folder: Path) -> dict[str, dict[str, Tensor]]:
    """Have stock models predict from merged files, all in one process that has no mmadapt.

    Args:
        chains (dict[Leaf, Chain]): The leaves' ways.
        folder (Path): For what is written.

    Returns:
        dict[str, dict[str, Tensor]]: What each one predicts, by the leaf's name.
    """
    plan = [
        dict(
            name=leaf.name,
            stock=leaf.stock,
            options={**leaf.changes, **leaf.counts},
            merged=str(chain.merged),
            task=leaf.task.__name__,
            side=leaf.side,
        )
        for leaf, chain in chains.items()
    ]
    (folder / 'plan.json').write_text(json.dumps(plan))
    command = [sys.executable, '-W', 'ignore', HERE / 'stock_predictions.py', folder / 'plan.json']
    environment = dict(os.environ, PYTHONPATH=str(HERE), CUDA_VISIBLE_DEVICES='-1')
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / 'plan.pth')


def resized_keys(chain: Chain) -> set[str]:
    """Return the keys that a stock checkpoint has in another shape than the trained model."""
    base = torch.load(chain.merged.with_name('base.pth'))['state_dict']
    merged = torch.load(chain.merged, weights_only=False)['state_dict']
    assert base.keys() == merged.keys()
    return {key for key, value in base.items() if value.shape != merged[key].shape}


def assert_trains_what_is_new(leaf: Leaf, chain: Chain) -> None:
    """Assert that the layers that depend on classes and the adapters train, and nothing else moves.

    Args:
        leaf (Leaf): Which.
        chain (Chain): What it has left.
    """
    moved = {key for key, value in chain.after.items() if not torch.equal(value, chain.before[key])}
    assert moved <= chain.trained, 'called frozen, moved'
    new = resized_keys(chain)
    assert all(re.fullmatch(leaf.resized, key) for key in new)
    new &= chain.after.keys()  # what is no buffer
    assert new == {key for key in chain.after if re.fullmatch(leaf.resized, key)}
    assert bool(new) == bool(leaf.counts)
    assert not {key for key in new - moved if not re.fullmatch(leaf.idle, key)}
    adapters = {key for key in chain.trained if '.lora_' in key}
    assert adapters
    assert not {key for key in adapters - moved if not re.fullmatch(leaf.idle, key)}
    assert set(leaf.task.METRICS) <= chain.metrics.keys()
    with pytest.raises(AssertionError):  # the adapters matter
        leaf.task.assert_same(chain.base, chain.adapted)


def assert_trains_by(method: str, leaf: Leaf, model: nn.Module, batch: dict, folder: Path) -> None:
    """Assert that a leaf with another method in its one line trains what that says.

    Args:
        method (str): The file of ``_base_/peft``.
        leaf (Leaf): Which.
        model (nn.Module): What :func:`stock_model` returns for the leaf's classes; it is changed.
        batch (dict): What :func:`first_batch` returns; it is changed.
        folder (Path): For what is written.
    """
    if method == 'qlora':
        pytest.importorskip('bitsandbytes')
    cfg = small_config(leaf, folder, method=method)
    if method == 'qlora' and not leaf.linear:
        with pytest.raises(UserError, match=r"peft.targets='all-linear'|none to quantize"):
            step(leaf, model, cfg, batch)
        return
    at_rest = step(leaf, model, cfg, batch)
    # What is before a matrix of zeros has no gradient yet.
    assert not {key for key in at_rest if '.lora_A' not in key and not re.fullmatch(leaf.idle, key)}


def first_batch(cfg: Config) -> dict:
    """Return what a config's own data loader gives first."""
    init_default_scope(cfg.default_scope)
    set_random_seed(0)
    return next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))


def step(leaf: Leaf, model: nn.Module, cfg: Config, batch: dict) -> set[str]:
    """Inject what a config says into a model, and take one step of the config's optimizer.

    Args:
        leaf (Leaf): Whose model it is.
        model (nn.Module): What :func:`stock_model` returns for the leaf's classes; it is changed.
        cfg (Config): What :func:`small_config` returns.
        batch (dict): What :func:`first_batch` returns; it is changed.

    Returns:
        set[str]: The parameters that train and did not move.
    """
    check_run(cfg)
    MessageHub.get_current_instance().update_info('iter', 0)
    torch.manual_seed(0)
    peft = dict(cfg.peft, export=None)  # only the hook reads it
    inject(model, peft, [key for key in model.state_dict() if re.fullmatch(leaf.resized, key)])
    wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    for group in wrapper.param_groups:
        group['lr'] = 1e4  # no step is lost in rounding
    trained = {name for name, p in _parameters(model).items() if p.requires_grad}
    statistics = {
        f'{prefix}.{name}'
        for prefix, module in model.named_modules(remove_duplicate=False)
        if statistics_move(module)
        for name, _ in module.named_buffers(recurse=False)
    }
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train_step(batch, wrapper)
    after = model.state_dict()
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved
    assert moved <= trained | statistics, 'called frozen, moved'
    return trained - moved
