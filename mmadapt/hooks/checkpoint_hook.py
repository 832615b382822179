"""Checkpoints that hold what was trained, and what the end of training leaves."""

import os.path as osp
from collections import defaultdict

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..classes import names_of_run
from ..config_model import build_again
from ..digest import tensor_digest
from ..files import (
    MERGED_NAMES,
    READ_BY,
    AdapterRecord,
    BaseRecord,
    fingerprint,
    frozen_tensors,
    lacks_only_buffers,
    note_contents,
    read_checkpoint,
    rebuild,
    save_adapter,
    stored_keys,
    write_merged,
)
from ..files.described_model import DescribedModel
from ..logs import warn
from ..peft import PEFTConfig
from ..runs import averaged_models, checkpoint_hooks


class PEFTCheckpointHook(Hook):
    """Drop the frozen base from checkpoints and export the adapter.

    Brought along by :class:`~mmadapt.hooks.inject_hook.PEFTInjectHook`; no config can name it.

    Args:
        model (nn.Module): The adapted model, not wrapped.
        config (PEFTConfig): The value of ``peft``.
        base (BaseRecord): Where the frozen weights come from; its fingerprint is filled in.

    Attributes:
        written (list[str]): What the end of training has exported: folders, the best ones last,
            and the merged model.
    """

    # After EMAHook, which looks for every parameter in the state dict that is saved.
    priority = 'LOWEST'

    def __init__(self, model: nn.Module, config: PEFTConfig, base: BaseRecord) -> None:
        self.model = model
        self.config = config
        self.base = base
        self._frozen: dict[str, str] = {}
        self.written: list[str] = []
        # Without adapters the folder has whole layers, of a model that trains fully all of it.
        self._folder = 'trained' if config.method is None else 'adapter'

    def before_wrap(self, runner) -> None:
        """Note the fingerprint of the frozen weights, now that they are loaded."""
        self._note_base()

    def before_train(self, runner) -> None:
        """Note the fingerprint of the frozen weights, now that they are loaded."""
        if isinstance(runner, Runner):
            self._note_base()

    @master_only  # which may be the only process that has them by now
    def _note_base(self) -> None:
        frozen = frozen_tensors(self.model, stored_keys(self.model, self.base.not_in_base))
        self._frozen = {
            key: value if isinstance(value, str) else tensor_digest(value)
            for key, value in frozen.items()
        }
        self.base.fingerprint = fingerprint(self._frozen)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep what is trained; record how to get the rest."""
        stored = self._stored_keys()
        names = names_of_run(runner)
        record = AdapterRecord.of(
            self.model,
            self.base,
            names.get('classes'),
            self.config.adapter,
            names.get('keypoints'),
        ).to_dict()
        if lacks_only_buffers(self.model, stored):  # which are small, and stock tools can read it
            record['base']['fingerprint'] = fingerprint({})
            note_contents(checkpoint, record)
            return
        for name, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
            if name in checkpoint:
                checkpoint[name] = _on_one_storage(
                    {
                        key: value
                        for key, value in checkpoint[name].items()
                        if not key.startswith(prefix) or key.removeprefix(prefix) in stored
                    }
                )
        note_contents(checkpoint, record)

    def after_train(self, runner) -> None:
        """Export the adapter, the best one, and the merged model if asked for.

        The weights are those that were validated: their moving average where there is an EMAHook.
        """
        source = [self.model, *averaged_models(runner)][-1]
        strategy = getattr(runner, 'strategy', None)
        values = source.state_dict() if strategy is None else strategy.full_state_dict(source)
        if is_main_process():
            self._stored_keys()  # notes in `base` which buffers have moved
            self._export_all(runner, source, values)

    def _export_all(self, runner, source: nn.Module, values: dict[str, Tensor]) -> None:
        folder = osp.join(runner.work_dir, self._folder)
        self._export(runner, folder, values)
        for name, path in self._best_checkpoints(runner):
            self._export(
                runner, osp.join(runner.work_dir, name), read_checkpoint(path)['state_dict']
            )
        export = self.config.export
        if export is not None:
            if getattr(getattr(runner, 'strategy', None), 'sharded', False):
                source = _rebuilt(runner, folder, self.config.base)
            path = osp.join(runner.work_dir, MERGED_NAMES[export])
            metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None)
            write_merged(path, source, metainfo, export)
            self.written.append(path)
            print_log(f'merged model: {path} (for {READ_BY[export]})', 'current')

    def _export(self, runner, folder: str, state_dict: dict) -> None:
        names = names_of_run(runner)
        meta = getattr(runner.train_dataloader.dataset, 'metainfo', None)
        save_adapter(
            self.model,
            folder,
            self.base,
            names.get('classes'),
            state_dict,
            names.get('keypoints'),
            DescribedModel.of(runner.cfg, meta),
        )
        self.written.append(folder)
        what = 'trained weights' if self.config.method is None else 'adapter'
        print_log(f'{what}: {folder}', 'current')

    def _stored_keys(self) -> set:
        stored = stored_keys(self.model, self.base.not_in_base)
        # A module may keep a statistic in a buffer of its own that no rule here knows of.
        moved = {
            key
            for key, buffer in self.model.named_buffers()
            if key in self._frozen and tensor_digest(buffer) != self._frozen[key]
        }
        if not moved <= set(self.base.not_in_base):
            self.base.not_in_base = sorted({*self.base.not_in_base, *moved})
            self.base.fingerprint = fingerprint(
                {
                    key: digest
                    for key, digest in self._frozen.items()
                    if key not in self.base.not_in_base
                }
            )
        return stored | moved

    def _best_checkpoints(self, runner):
        for hook in checkpoint_hooks(runner.hooks):
            if not hook.save_best:
                continue
            paths = getattr(hook, 'best_ckpt_path_dict', None) or {
                '': getattr(hook, 'best_ckpt_path', None)
            }
            for metric, path in paths.items():
                if path and '://' in path:
                    warn(f'{path} is not local: `mmadapt merge` takes it as it is')
                elif path and osp.exists(path):
                    name = f'best_{self._folder}'
                    yield '_'.join(filter(None, [name, metric.replace('/', '_')])), path


def _rebuilt(runner, folder: str, base: str | None) -> nn.Module:
    """Return the whole model, of whose weights each process has a part."""
    model = build_again(runner.cfg)
    rebuild(model, folder, base)
    return model


def _on_one_storage(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # A file of torch.save has some 200 bytes around every storage, which counts for small tensors.
    alike = defaultdict(list)
    for key, tensor in tensors.items():
        if not isinstance(tensor, DTensor):  # these have a file a process
            alike[tensor.dtype, tensor.device].append(key)
    moved: dict[str, Tensor] = {}
    for keys in alike.values():
        together = torch.cat([tensors[key].flatten() for key in keys])
        pieces = together.split([tensors[key].numel() for key in keys])
        moved.update(
            (key, piece.view(tensors[key].shape)) for key, piece in zip(keys, pieces, strict=True)
        )
    return {key: moved.get(key, tensor) for key, tensor in tensors.items()}
