"""All rows of one model in one setting, measured side by side."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mmadapt import UserError

from .cases import Case
from .merged import merge_error
from .rounds import (
    Record,
    compile_parts,
    first_step,
    inference,
    rotated,
    training_step,
)
from .rows import REFERENCE, Row
from .variants import Variant, build_variant

WARM_UP = 1


class Section:
    """The rows of one model, without or with mixed precision and compilation.

    Args:
        case (Case): The model and its batch.
        rows (list[Row]): The rows, full fine-tuning among them.
        left_out (dict[str, str]): Rows that cannot be had, and why.
        amp (bool): Whether forward passes run under bfloat16 autocast.
        compiled (bool): Whether backbone and neck are compiled.
        say (callable): Takes lines on the progress.

    Attributes:
        failed (dict[str, str]): Rows that raised an error, and which.
    """

    def __init__(
        self,
        case: Case,
        rows: list[Row],
        left_out: dict[str, str],
        amp: bool,
        compiled: bool,
        say: Callable[[str], None],
    ) -> None:
        self.case, self.amp, self.compiled, self._say = case, amp, compiled, say
        self._rows = rows
        self.left_out, self.failed = dict(left_out), {}
        self.variants: dict[str, Variant] = {}
        self.records: dict[str, Record] = {}
        self._base_inference: list[float] = []

    @property
    def title(self) -> str:
        """str: The model and the setting."""
        return self.case.name + ', bfloat16' * self.amp + ', compiled' * self.compiled

    def run(self, rounds: int) -> None:
        """Measure everything; what is measured is there too when this is interrupted."""
        # Each variant compiles its own code, and beyond a number of them torch gives up in silence.
        with torch._dynamo.config.patch(
            recompile_limit=1000,
            accumulated_recompile_limit=10000,
            fail_on_recompile_limit_hit=True,
        ):
            for row in self._rows:
                self._build(row)
                if REFERENCE in self.failed:
                    return
            self._train(rounds)
        if not self.compiled:
            self._merge()
            self._infer(rounds)

    def results(self) -> dict:
        """Return what has been measured so far, in bytes and seconds."""
        parameters = sum(p.numel() for p in self.case.model.parameters())
        rows = [self._result(name) for name, record in self.records.items() if record.steps]
        return dict(
            model=self.case.name,
            size=self.case.size,
            batch=self.case.batch,
            parameters=parameters,
            amp=self.amp,
            compiled=self.compiled,
            rounds=max((row['rounds'] for row in rows), default=0),
            rows=rows,
            left_out=self.left_out,
            failed=self.failed,
        )

    def _build(self, row: Row) -> None:
        if row.name.endswith('-unfolded') and not any(
            isinstance(m, _BatchNorm) for m in self.case.model.modules()
        ):
            self.left_out[row.name] = 'there is no BatchNorm to fold'
            return
        if self.compiled and row.remade != 'nothing':
            self.left_out[row.name] = 'torch.compile chooses itself what it keeps'
            return
        start = time.perf_counter()
        try:
            variant = build_variant(row, self.case)
            if self.compiled:
                compile_parts(variant.model)
            self.records[row.name] = first_step(variant, self.case, self.amp)
        except UserError as error:
            self.left_out[row.name] = str(error)
            return
        # One row that breaks must not take an hour's measurement of the others with it.
        except Exception as error:
            self._fail(row.name, error)
            return
        self.variants[row.name] = variant
        self._say(
            f'{self.title}: {row.name} built, {time.perf_counter() - start:.1f} s '
            f'({len(self.variants)} of {len(self._rows)})'
        )

    def _fail(self, name: str, error: Exception) -> None:
        lines = str(error).strip().splitlines() or ['']
        self.failed[name] = f'{type(error).__name__}: {lines[0][:200]}'
        self._say(f'{self.title}: {name} FAILED, {self.failed[name]}')

    def _train(self, rounds: int) -> None:
        for round_ in range(-WARM_UP, rounds):
            start = time.perf_counter()
            for name in rotated(list(self.variants), round_):
                before = time.process_time()
                parts = training_step(self.variants[name], self.case, round_ + WARM_UP, self.amp)
                if round_ >= 0:
                    self.records[name].steps.append(parts)
                    self.records[name].processor.append(time.process_time() - before)
            seconds = time.perf_counter() - start
            self._say(
                f'{self.title}: steps, '
                + (f'round {round_ + 1} of {rounds}' if round_ >= 0 else 'warm-up')
                + f', {seconds:.1f} s, {seconds * (rounds - 1 - round_):.0f} s left'
            )

    def _merge(self) -> None:
        for name, variant in self.variants.items():
            variant.optimizer = None  # its state is of no more use, and large
            if variant.merge is None:
                continue
            try:
                self.records[name].merge_error = merge_error(variant, self.case)
            except Exception as error:
                self._fail(name, error)

    def _infer(self, rounds: int) -> None:
        times = {
            name: self.records[name].inference
            for name in self.variants
            if self.records[name].merge_error is not None
        }
        if not times:
            return
        models = {name: self.variants[name].model for name in times}
        models[''], times[''] = self.case.model, self._base_inference
        for round_ in range(-WARM_UP, rounds):
            for name in rotated(list(models), round_):
                seconds = inference(models[name], self.case, self.amp)
                if round_ >= 0:
                    times[name].append(seconds)
        self._say(f'{self.title}: {rounds} rounds of merged inference done')

    def _result(self, name: str) -> dict:
        record, variant, full = (self.records[name], self.variants[name], self.records[REFERENCE])
        forward, backward, optimizer = (median(part) for part in zip(*record.steps, strict=True))
        # Round by round: what slows the machine down slows both of a pair down.
        ratios = [sum(a) / sum(b) for a, b in zip(record.steps, full.steps, strict=False)]
        processor = [a / b for a, b in zip(record.processor, full.processor, strict=False)]
        merged = [a / b for a, b in zip(record.inference, self._base_inference, strict=False)]
        return dict(
            row=name,
            title=variant.row.title,
            rounds=len(record.steps),
            step_s=median(sum(parts) for parts in record.steps),
            forward_s=forward,
            backward_s=backward,
            optimizer_s=optimizer,
            ratio=median(ratios) if ratios else None,
            ratios=ratios,
            # What other programs take from this one is not in it. A GPU works by itself.
            processor_ratio=median(processor)
            if processor and self.case.device.type == 'cpu'
            else None,
            processor_ratios=processor,
            saved_bytes=record.saved_bytes,
            saved_ratio=record.saved_bytes / full.saved_bytes,
            peak_bytes=record.peak_bytes,
            peak_ratio=record.peak_bytes / full.peak_bytes,
            optimizer_bytes=record.optimizer_bytes,
            trainable=record.trainable,
            total=record.total,
            trainable_percent=100 * record.trainable / record.total,
            adapter_bytes=record.file_bytes,
            inference_ratio=median(merged) if merged else None,
            inference_ratios=merged,
            merge_error=record.merge_error,
            injection_s=variant.injection,
            notes=variant.notes,
        )
