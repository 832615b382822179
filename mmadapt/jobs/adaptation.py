"""What a job adapts, trains and quantizes, and what it leaves at the end."""

from mmengine.config import ConfigDict

from .draft import Draft
from .job import Job

_FILES = dict(LoRA='lora', DoRA='dora', SSF='ssf')
# Rank and alpha where the job has none.
_DEFAULTS = dict(LoRA=(8, 16), DoRA=(16, 8))
_RANKED = ('r', 'alpha', 'dropout', 'fan_in_fan_out', 'init_lora_weights')
_INITS = ('gaussian', 'orthogonal', 'pissa', 'olora')
_FOUR = ('bnb_4bit_compute_dtype', 'bnb_4bit_quant_type', 'bnb_4bit_use_double_quant')
_EIGHT = (
    'llm_int8_threshold',
    'llm_int8_skip_modules',
    'llm_int8_enable_fp32_cpu_offload',
    'llm_int8_has_fp16_weight',
)


def peft_file(job: Job) -> str | None:
    """Return the file of ``_base_/peft`` that a job's way of adapting is, None where it is none.

    Args:
        job (Job): The job; what becomes of PEFT_METHOD, FULL_FINE_TUNING and LAST_LAYER_TUNING is
            noted.
    """
    said, other = job.get('PEFT_METHOD'), job.get('method')
    if said and other and said != other:
        job.refuse('method', f'PEFT_METHOD says {said}; leave one of them out')
        return None
    key, method = ('PEFT_METHOD', said) if said else ('method', other)
    whole, last = job.get('FULL_FINE_TUNING'), job.get('LAST_LAYER_TUNING')
    if method and whole:
        job.refuse(
            'FULL_FINE_TUNING', f'trains everything, and {key} is {method}; leave one of them out'
        )
        return None
    if whole and last:
        job.refuse(
            'LAST_LAYER_TUNING', 'FULL_FINE_TUNING trains the other layers too; leave one out'
        )
        return None
    if method:
        file = f'peft/{_FILES[method]}.py'
        job.became(key, file)
        if 'FULL_FINE_TUNING' in job:
            job.became('FULL_FINE_TUNING', 'the base stays frozen')
    elif whole:
        file = 'peft/full.py'
        job.became('FULL_FINE_TUNING', file)
        if 'LAST_LAYER_TUNING' in job:
            job.became('LAST_LAYER_TUNING', 'all layers train')
    elif last:
        file = 'peft/last_layer.py'
        job.became('LAST_LAYER_TUNING', file)
        if 'FULL_FINE_TUNING' in job:
            job.became('FULL_FINE_TUNING', 'the base stays frozen')
    else:
        job.refuse(
            'PEFT_METHOD',
            'nothing would train: PEFT_METHOD: LoRA, DoRA or SSF, LAST_LAYER_TUNING or '
            'FULL_FINE_TUNING',
        )
        return None
    return file


def set_adaptation(draft: Draft) -> None:
    """PEFT_METHOD and its arguments, targets, the head, quantization, what is exported."""
    job, peft = draft.job, draft.cfg.peft
    method = job.get('PEFT_METHOD') or job.get('method')
    if method in _DEFAULTS:
        _set_low_rank(job, peft.method, method)
    else:
        for key in (*_RANKED, 'peft_type'):
            if key in job:
                job.warn(key, f'is of LoRA and DoRA; this job trains {method or "without either"}')
    if method in _DEFAULTS and 'peft_type' in job:
        _check_type(job, method)
    if method:
        _set_targets(job, peft)
        if 'LAST_LAYER_TUNING' in job:
            peft.head = 'train' if job.get('LAST_LAYER_TUNING') else 'adapt'
            job.became('LAST_LAYER_TUNING', f'peft.head = {peft.head!r}')
    else:
        for key in ('target_modules', 'auto_select_modules'):
            if key in job:
                job.warn(key, 'nothing is adapted without PEFT_METHOD')
    _set_quantization(job, peft, method)
    _set_export(job, peft)
    imports = (draft.cfg.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    if 'mmadapt' not in imports:
        draft.cfg.custom_imports = ConfigDict(
            imports=[*imports, 'mmadapt'], allow_failed_imports=False
        )
    draft.add_hook(type='PEFTInjectHook')


def _set_low_rank(job: Job, method: ConfigDict, name: str) -> None:
    rank, alpha = _DEFAULTS[name]
    r, alpha = job.get('r', rank), job.get('alpha', alpha)
    dropout = float(job.get('dropout'))
    method.update(r=r, alpha=alpha, dropout=dropout)
    job.became('r, alpha', f'peft.method r={r}, alpha={alpha}: scale {alpha / r:g}')
    job.became('dropout', f'peft.method.dropout = {dropout:g}')
    init = job.get('init_lora_weights')
    if init is True:
        if 'init_lora_weights' in job:
            job.became('init_lora_weights', 'A at random, B 0: the model begins as the base')
    elif init in _INITS:
        method.init = init
        job.became('init_lora_weights', f'peft.method.init = {init!r}')
    else:
        said = 'random adapters would change the base at once' if init is False else 'is unknown'
        job.refuse('init_lora_weights', f'{said}: True, {", ".join(_INITS)}')
    if job.get('fan_in_fan_out'):
        job.warn('fan_in_fan_out', 'how a layer stores its weight is known by its type')
    elif 'fan_in_fan_out' in job:
        job.became('fan_in_fan_out', 'how a layer stores its weight is known by its type')


def _check_type(job: Job, method: str) -> None:
    said = job.get('peft_type')
    if said.lower() not in (method.lower(), 'lora'):  # Hugging Face has DoRA as a form of LoRA
        job.refuse('peft_type', f'is {said}, and PEFT_METHOD {method}')
    else:
        job.became('peft_type', method)


def _set_targets(job: Job, peft: ConfigDict) -> None:
    named, auto = job.get('target_modules'), job.get('auto_select_modules')
    if named and not auto:
        peft.targets = named
        job.became('target_modules', f'peft.targets = {named}')
        if 'auto_select_modules' in job:
            job.became('auto_select_modules', 'those of target_modules')
        return
    peft.targets = 'auto'
    if named:
        job.warn('target_modules', 'auto_select_modules chooses them: set it to False')
    if auto is False:
        job.warn('auto_select_modules', "no target_modules to take instead: peft.targets = 'auto'")
    elif 'auto_select_modules' in job:
        job.became('auto_select_modules', "peft.targets = 'auto'")


def _set_quantization(job: Job, peft: ConfigDict, method: str | None) -> None:
    four, eight = job.get('load_in_4bit'), job.get('load_in_8bit')
    if four and eight:
        job.refuse('load_in_8bit', 'load_in_4bit is True as well; leave one of them out')
        return
    for key, bits, own in (('load_in_4bit', four, _FOUR), ('load_in_8bit', eight, _EIGHT)):
        if bits:
            continue
        if key in job:
            job.became(key, 'the base stays as it is')
        for name in own:
            if name in job and not (name == 'llm_int8_skip_modules' and four):
                job.warn(name, f'counts with {key}: True only')
    if not four and not eight:
        return
    if method is None:
        job.refuse(
            'load_in_4bit, load_in_8bit',
            'what is quantized stays frozen; name PEFT_METHOD to train beside it',
        )
        return
    skip = job.get('llm_int8_skip_modules') or []
    if four:
        quant = ConfigDict(
            bits=4,
            type=job.get('bnb_4bit_quant_type'),
            compute_dtype=job.get('bnb_4bit_compute_dtype'),
            double_quant=job.get('bnb_4bit_use_double_quant'),
        )
        job.became('load_in_4bit', f'peft.quant = {dict(quant)}')
        for key in _FOUR:
            if key in job:
                job.became(key, f'peft.quant: {job.get(key)}')
    else:
        quant = ConfigDict(
            bits=8,
            threshold=float(job.get('llm_int8_threshold')),
            has_fp16_weights=job.get('llm_int8_has_fp16_weight'),
        )
        job.became('load_in_8bit', f'peft.quant = {dict(quant)}')
        for key in ('llm_int8_threshold', 'llm_int8_has_fp16_weight'):
            if key in job:
                job.became(key, f'peft.quant: {job.get(key)}')
        if job.get('llm_int8_enable_fp32_cpu_offload'):
            job.warn(
                'llm_int8_enable_fp32_cpu_offload',
                'a model is on one device here; FSDP: True with fsdp_offload_params: True keeps '
                'weights on the CPU, and llm_int8_skip_modules keeps layers in float32',
            )
        elif 'llm_int8_enable_fp32_cpu_offload' in job:
            job.became('llm_int8_enable_fp32_cpu_offload', 'all layers are on one device')
    if skip:
        quant.skip = skip
        job.became('llm_int8_skip_modules', f'peft.quant.skip = {skip}')
    peft.quant = quant


def _set_export(job: Job, peft: ConfigDict) -> None:
    merges = job.get('MERGE_ADAPTER')
    if merges is None:
        merges = 'SAVE_METHOD' in job
    how = job.get('SAVE_METHOD')
    if how == 'save_pretrained':
        job.refuse(
            'SAVE_METHOD',
            'save_pretrained is of Hugging Face models; of these: state_dict, safetensors, '
            'full_torch_model',
        )
        return
    if not merges:
        peft.export = None
        job.became('MERGE_ADAPTER', 'not merged: the adapter folder is what is left')
        if 'SAVE_METHOD' in job:
            job.warn('SAVE_METHOD', 'MERGE_ADAPTER is False: nothing is merged and saved so')
        return
    peft.export = how
    name = dict(
        state_dict='merged_model_state_dict.pth',
        safetensors='merged_model.safetensors',
        full_torch_model='merged_model.pth',
    )[how]
    if 'MERGE_ADAPTER' in job:
        job.became('MERGE_ADAPTER', f'merged at the end: {name}')
    job.became('SAVE_METHOD', f'peft.export = {how!r}: {name}')
