"""What the package uses of others though they have not promised it, and which files use it.

A release that has renamed something of it fails here, in one test that says what and where it was
used. A private name that the package uses and that stands in no table fails too: write it down, or
do without.
"""

import pytest
from private_uses import (
    PACKAGE,
    all_uses,
    exists,
    is_private,
    matches,
    mentions,
    overrides,
    uses_in,
)

# By its full name, what begins with an underscore or is in a module that does.
CONTRACT = {
    # MMEngine's runners, strategies and optimizer wrappers.
    'mmengine.runner.Runner._train_loop': 'runs.py',
    'mmengine.runner.Runner._val_loop': 'runs.py',
    'mmengine.runner.Runner._test_loop': 'runs.py',
    'mmengine.runner.Runner._resume': 'runs.py',
    'mmengine.runner.Runner._load_from': 'runs.py',
    'mmengine.runner.Runner._hooks': 'runs.py',
    'mmengine.runner.Runner._randomness_cfg': 'runs.py',
    'mmengine.runner.Runner._init_model_weights': 'runs.py strategies/fsdp2/strategy.py strategies/lifecycle.py',
    'mmengine.runner.FlexibleRunner._train_loop': 'runs.py',
    'mmengine.runner.FlexibleRunner._val_loop': 'runs.py',
    'mmengine.runner.FlexibleRunner._test_loop': 'runs.py',
    'mmengine.runner.FlexibleRunner._resume': 'runs.py',
    'mmengine.runner.FlexibleRunner._load_from': 'runs.py',
    'mmengine.runner.FlexibleRunner._hooks': 'runs.py',
    'mmengine.runner.FlexibleRunner._randomness_cfg': 'runs.py',
    'mmengine.runner.FlexibleRunner._compile': 'runner/flexible_runner.py',
    'mmengine._strategy.BaseStrategy': 'strategies/choice.py',
    'mmengine._strategy.BaseStrategy._init_model_weights': 'runs.py strategies/fsdp2/strategy.py strategies/lifecycle.py',
    'mmengine._strategy.BaseStrategy._prepared': 'strategies/lifecycle.py',
    'mmengine._strategy.BaseStrategy._prepared_components': 'strategies/lifecycle.py',
    'mmengine._strategy.BaseStrategy._randomness': 'strategies/fsdp2/strategy.py strategies/lifecycle.py',
    'mmengine._strategy.BaseStrategy._scale_lr': 'strategies/lifecycle.py',
    'mmengine._strategy.BaseStrategy._set_randomness': 'runner/flexible_runner.py strategies/lifecycle.py',
    'mmengine._strategy.BaseStrategy._setup_env': 'strategies/ddp.py',
    'mmengine._strategy.BaseStrategy._setup_distributed': 'strategies/fsdp2/strategy.py',
    'mmengine._strategy.SingleDeviceStrategy': 'strategies/lifecycle.py',
    'mmengine._strategy.DDPStrategy': 'strategies/ddp.py',
    'mmengine._strategy.DDPStrategy._wrap_model': 'strategies/ddp.py',
    'mmengine._strategy.deepspeed.MMDeepSpeedEngineWrapper': 'strategies/deepspeed/engine.py',
    'mmengine.optim.OptimWrapper._accumulative_counts': 'runs.py',
    'mmengine.optim.OptimWrapper._inner_count': 'runs.py strategies/deepspeed/engine.py',
    'mmengine.optim.OptimWrapper._clip_grad': 'optim/autocast.py',
    'mmengine.optim.AmpOptimWrapper._scale_update_param': 'optim/autocast.py',
    'mmengine.optim.DefaultOptimWrapperConstructor._validate_cfg': 'optim/lora_plus.py',
    'mmengine.optim._ParamScheduler': 'optim/named_lr.py',
    'mmengine.optim._ParamScheduler._get_value': 'optim/named_lr.py',
    'mmengine.optim._ParamScheduler._global_step': 'optim/named_lr.py optim/resumed.py',
    'mmengine.optim._ParamScheduler._last_value': 'optim/resumed.py',
    'mmengine.hooks.CheckpointHook._init_rule': 'preflight/metrics.py',
    # The rest of MMEngine, and MMCV.
    'mmengine.config.Config._cfg_dict': 'preflight/misspelled.py preflight/packages.py',
    'mmengine.config.Config._format_python_code': 'compat/config_text.py',
    'mmengine.config.Config._file2dict': 'cli/reading.py',
    'mmengine.config.Config._parse_lazy_import': 'cli/reading.py',
    'mmengine.config.DictAction._parse_iterable': 'cli/options.py',
    'mmengine.dataset.BaseDataset._indices': 'datasets/nothing_left.py',
    'mmengine.dataset.BaseDataset._load_metainfo': 'datasets/checks.py',
    'mmengine.dataset.BaseDataset._serialize_data': 'datasets/nothing_left.py',
    'mmengine.dist.utils._init_dist_pytorch': 'compat/__init__.py compat/cpu.py',
    'mmengine.dist.utils._init_dist_mpi': 'compat/__init__.py compat/cpu.py',
    'mmengine.dist.utils._init_dist_slurm': 'compat/__init__.py compat/cpu.py',
    'mmengine.logging.HistoryBuffer._statistics_methods': 'compat/checkpoint_globals.py',
    'mmengine.model.BaseModule._is_init': 'files/pretrained.py',
    'mmengine.model.utils._BatchNormXd': 'adapters/layers/norm.py norms.py',
    'mmengine.registry.root.RUNNERS._module_dict': 'compat/__init__.py',
    'mmengine.runner.checkpoint.CheckpointLoader._schemes': 'compat/__init__.py files/loader.py',
    'mmengine.runner.checkpoint._load_checkpoint_to_model': 'compat/__init__.py compat/inference.py',
    'mmcv.cnn.bricks.conv_ws.ConvAWS2d._get_weight': 'adapters/layers/mmcv_cnn.py',
    # torch.
    'torch.nn.Module._parameters': 'adapters/layer.py files/loaded_keys.py memory/islands.py '
    'memory/rematerialize/entry.py norms.py '
    'quantization/linear.py strategies/fsdp2/scalars.py '
    'strategies/fsdp2/units.py peft/changes.py peft/class_counts.py peft/inject.py '
    'peft/read_layers.py peft/rules.py peft/targets.py',
    'torch.nn.Module._buffers': 'files/stored_tensors.py files/loaded_keys.py hooks/model_attributes.py '
    'memory/rematerialize/entry.py peft/changes.py '
    'peft/class_counts.py peft/rules.py',
    'torch.nn.Module._modules': 'norms.py',
    'torch.nn.Module._non_persistent_buffers_set': 'hooks/model_attributes.py',
    'torch.nn.Module._forward_hooks': 'folding/watched.py memory/inherited.py',
    'torch.nn.Module._forward_pre_hooks': 'folding/watched.py memory/inherited.py',
    'torch.nn.Module._backward_hooks': 'folding/watched.py',
    'torch.nn.Module._backward_pre_hooks': 'folding/watched.py',
    'torch.nn.Module._load_from_state_dict': 'adapters/layer.py quantization/linear.py',
    'torch.nn.Module._register_load_state_dict_pre_hook': 'files/loaded_keys.py',
    'torch.nn.Module._metadata': 'strategies/fsdp2/strategy.py strategies/lifecycle.py',
    'torch.nn.Conv1d._conv_forward': 'adapters/layers/conv.py folding/conv_module.py folding/install.py',
    'torch.nn.Conv2d._conv_forward': 'adapters/layers/conv.py folding/conv_module.py folding/install.py',
    'torch.nn.Conv3d._conv_forward': 'adapters/layers/conv.py folding/conv_module.py folding/install.py',
    'torch.nn.ConvTranspose2d._output_padding': 'adapters/layers/transposed.py',
    'torch.nn.MultiheadAttention._qkv_same_embed_dim': 'adapters/layers/attention.py',
    'torch.nn.modules.batchnorm._BatchNorm': 'folding/affine.py folding/conv_module.py '
    'folding/install.py folding/scaled_conv.py',
    'torch.nn.modules.batchnorm._NormBase': 'norms.py',
    'torch.nn.modules.conv._ConvNd': 'folding/sites.py peft/rules.py',
    'torch.nn.Module._compiled_call_impl': 'memory/rematerialize/entry.py',
    'torch.Tensor._base': 'memory/rematerialize/tracing.py meters/tally.py',
    'torch.Tensor._fix_weakref': 'memory/rematerialize/values.py',
    'torch.Tensor._version': 'memory/offload.py memory/rematerialize/kept.py '
    'memory/rematerialize/saved.py memory/rematerialize/values.py',
    'torch.UntypedStorage._cdata': 'memory/rematerialize/kept.py '
    'memory/rematerialize/values.py meters/shapes.py meters/step.py',
    'torch._C._autograd._top_saved_tensors_default_hooks': 'memory/rematerialize/saved.py',
    'torch._C': 'memory/rematerialize/tracing.py',
    'torch._C._functorch': 'memory/rematerialize/saving.py',
    'torch._C._current_graph_task_id': 'folding/scales.py',
    'torch._ops.OpOverload._schema': 'meters/shapes.py',
    'torch.amp.GradScaler._found_inf_per_device': 'optim/autocast.py',
    'torch.autograd.graph._engine_run_backward': 'planning/needs.py',
    'torch._dynamo.eval_frame.OptimizedModule._orig_mod': 'memory/rematerialize/entry.py runs.py',
    'torch._dynamo.eval_frame._TorchDynamoContext._torchdynamo_orig_callable': 'files/merged.py',
    'torch.distributed.elastic.agent.server.local_elastic_agent.LocalElasticAgent._start_workers': 'cli/launcher.py',
    'torch.distributed.elastic.multiprocessing.api._terminate_process_handler': 'cli/launcher.py',
    'torch.distributed.tensor._utils.compute_local_shape_and_global_offset': 'strategies/fsdp2/state.py',
    'torch.utils._python_dispatch.TorchDispatchMode': 'meters/shapes.py',
    'torch.utils._pytree.keystr': 'files/sharded.py',
    'torch.utils._pytree.tree_flatten': 'memory/checkpointing.py',
    'torch.utils._pytree.tree_leaves': 'meters/shapes.py',
    'torch.utils._pytree.tree_map_only': 'files/sharded.py meters/like_cuda.py meters/shapes.py strategies/fsdp2/state.py',
    'torch.utils._pytree.tree_map_with_path': 'files/sharded.py',
    'torch.utils._pytree.tree_unflatten': 'memory/checkpointing.py',
    'torch.utils.cpp_extension._get_build_directory': 'strategies/deepspeed/operators.py',
    'torch._weights_only_unpickler._marked_safe_globals_set': 'compat/__init__.py',
    # Others, where they are installed.
    'numpy._core.multiarray': 'compat/checkpoint_globals.py',
    'mmpose.datasets.datasets.base.BaseCocoStyleDataset._load_annotations': 'datasets/pose_checks.py',
    'bitsandbytes.autograd._functions': 'quantization/bnb.py',
    'deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3._set_fp32_optimizer_param_groups': 'strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3._clear_fp32_optimizer_param_groups': 'strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.stage_1_and_2.DeepSpeedZeroOptimizer._hp_optimizer_states_linked': 'strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.stage_1_and_2.DeepSpeedZeroOptimizer._lazy_init_hp_params_optimizer_state': 'strategies/deepspeed/state.py',
    'transformers.PreTrainedModel._set_gradient_checkpointing': 'peft/recomputation.py',
    'transformers.modeling_utils.PreTrainedModel._gradient_checkpointing_func': 'peft/recomputation.py',
}

# What has no underscore and is in nobody's documentation.
UNDOCUMENTED = {
    'torch._C._functorch.is_functorch_wrapped_tensor': 'memory/rematerialize/saving.py',
    'torch._C.DisableTorchFunction': 'memory/rematerialize/tracing.py',
    'mmengine.registry.registry.get_object_from_string': 'files/harmless.py',
    'deepspeed.git_version_info.installed_ops': 'strategies/deepspeed/operators.py',
    'deepspeed.linear.optimized_linear.LoRAOptimizedLinear.ds_optim_param': 'strategies/deepspeed/engine.py',
    'deepspeed.ops.op_builder.builder.CUDAMismatchException': 'strategies/deepspeed/operators.py',
    'deepspeed.ops.op_builder.builder.MissingCUDAException': 'strategies/deepspeed/operators.py',
    'deepspeed.runtime.engine.DeepSpeedEngine.basic_optimizer': 'strategies/deepspeed/engine.py',
    'deepspeed.runtime.engine.DeepSpeedEngine.skipped_steps': 'strategies/deepspeed/engine.py',
    'deepspeed.runtime.engine.DeepSpeedEngine.was_step_applied': 'strategies/deepspeed/engine.py',
    'deepspeed.runtime.zero.partition_parameters.Init.ds_id': 'strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.partition_parameters.Init.ds_numel': 'measuring/row.py',
    'deepspeed.runtime.zero.partition_parameters.Init.ds_shape': 'strategies/deepspeed/engine.py strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.partition_parameters.Init.ds_tensor': 'meters/tally.py strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3.fp32_partitioned_groups_flat': 'strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3.get_param_id': 'strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3.grad_position': 'strategies/deepspeed/state.py',
    'deepspeed.runtime.zero.stage_1_and_2.DeepSpeedZeroOptimizer.single_partition_of_fp32_groups': 'strategies/deepspeed/state.py',
}

# What looks alike. Our own names, where a file uses another one's or sets them by `vars`:
OURS = {
    '_check': 'memory/config.py peft/config.py',
    '_checks_configs': 'compat/run_configs.py',
    '_compute_factored': 'adapters/layers/embedding.py',
    '_inplace_before_folding': 'folding/install.py',
    '_is_loading': 'adapters/layer.py',
    '_is_sharded': 'adapters/layer.py',
    '_mmadapt': 'peft/state.py',
    '_mmadapt_repaired': 'compat/cpu.py',
    '_once': 'compat/mismatches.py',
    '_pack': 'meters/tally.py',
    '_run': 'adapters/layers/embedding.py',
}
# Words of configs, parts of names, and what Python documents:
WORDS = {
    '_base_': 'config_files.py datasets/metainfo.py files/described_model.py jobs/stock.py',
    '_bytes': 'measuring/rows.py',
    '_dataloader': 'preflight/arguments.py',
    '_delete_': 'jobs/leaf.py planning/lines.py',
    '_ds_': 'hooks/model_attributes.py',
    '_exit': 'cli/exit.py',
    '_fields': 'memory/islands.py',
    '_name': 'folding/sites.py',
    '_scope_': 'files/harmless.py preflight/arguments.py',
}


def missing(table, package):
    """Return a line for each name of a package that is not there."""
    return [
        f'{path} is gone; used by {", ".join(f"mmadapt/{file}" for file in files.split())}'
        for path, files in table.items()
        if path.split('.')[0] == package and not exists(path)
    ]


def unlisted(uses):
    """Return a line for each use that no table has."""
    exempt = {
        (name, file)
        for table in (OURS, WORDS)
        for name, files in table.items()
        for file in files.split()
    }
    return [
        f'mmadapt/{file} uses {name}, of which CONTRACT does not know'
        for name, files in sorted(uses.items())
        for file in sorted(files)
        if (name, file) not in exempt
        and not any(
            matches(name, path) for path, known in CONTRACT.items() if file in known.split()
        )
    ]


@pytest.fixture(scope='module')
def uses():
    found = {name: {*files} for name, files in all_uses().items()}
    for name, files in overrides().items():
        found.setdefault(name, set()).update(files)
    return found


@pytest.mark.parametrize('package', sorted({path.split('.')[0] for path in CONTRACT}))
def test_what_is_used_of_others_is_still_there(package):
    pytest.importorskip(package, exc_type=ImportError)
    gone = [*missing(CONTRACT, package), *missing(UNDOCUMENTED, package)]
    assert not gone, '\n'.join(['', *gone])


def test_no_private_name_is_used_that_is_not_written_down(uses):
    found = unlisted(uses)
    assert not found, '\n'.join(['', *found])


def test_nothing_is_written_down_that_is_not_used(uses):
    stale = []
    for table in (CONTRACT, OURS, WORDS):
        for path, files in table.items():
            # A private module that a path only passes through is used with what is in it.
            last = path.rpartition('.')[2]
            stale += [
                f'{path}: not in mmadapt/{file}'
                for file in files.split()
                if not any(
                    file in found and (matches(name, path) if '.' in name else matches(name, last))
                    for name, found in uses.items()
                )
            ]
    stale += [
        f'{path}: not in mmadapt/{file}'
        for path, files in UNDOCUMENTED.items()
        for file in files.split()
        if path.rpartition('.')[2] not in mentions((PACKAGE / file).read_text())
    ]
    assert not stale, '\n'.join(['', *stale])


def test_a_name_that_is_gone_is_named_with_the_files_that_use_it():
    renamed = {
        'mmengine.runner.Runner._loop_that_trains': 'a.py b.py',
        'mmengine._strategies.DDPStrategy': 'c.py',
        'mmengine.runner.Runner._resume': 'd.py',
    }
    assert missing(renamed, 'mmengine') == [
        'mmengine.runner.Runner._loop_that_trains is gone; used by mmadapt/a.py, mmadapt/b.py',
        'mmengine._strategies.DDPStrategy is gone; used by mmadapt/c.py',
    ]


def test_a_new_use_is_named_with_its_file():
    one = {'files/load_adapters.py'}
    assert unlisted({'_call_stack': one, '_fields': one}) == [
        'mmadapt/files/load_adapters.py uses _call_stack, of which CONTRACT does not know',
        'mmadapt/files/load_adapters.py uses _fields, of which CONTRACT does not know',
    ]


def test_uses_are_what_a_module_has_not_defined():
    assert uses_in("""
from torch._C import Size
from ._local import thing
import torch.utils._pytree as pytree

class A(Base):
    def _own(self):
        self._set = self._own()
        return self._set + self._inherited

def run(runner, name):
    if getattr(runner, '_resume', None) or _helper:
        return f'_{name}_in_a_text', runner._own
    return getattr(runner, f'_{name}_loop'), '_a text', '__init__', '_'
""") == {'torch._C.Size', 'torch.utils._pytree', '_inherited', '_resume', '_own', '_*_loop'}


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('_a', True),
        ('_a_', True),
        ('__a', True),
        ('_', False),
        ('__', False),
        ('__init__', False),
        ('a', False),
        ('_a b', False),
    ],
)
def test_private_is_what_begins_with_an_underscore(name, expected):
    assert is_private(name) is expected
