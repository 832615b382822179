#!/usr/bin/env bash
# What the memory page says of a CPU, measured on one GPU in about eight minutes:
#
#   tools/gpu_tables.sh build/gpu
#
# leaves a table in Markdown and one in JSON for each model. Every row runs in a process of its own,
# in bfloat16 autocast, with random images; nothing is downloaded. DEVICE, SIZE, BATCH, ITERATIONS and
# SWIN_L_SIZE may be set, to try it on a CPU first: DEVICE=cpu SIZE=64 BATCH=1 ITERATIONS=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:?usage: tools/gpu_tables.sh FOLDER}
device=${DEVICE:-cuda} size=${SIZE:-640} batch=${BATCH:-8} iterations=${ITERATIONS:-10}
python=${PYTHON:-python}
mkdir -p "$out"

measure() {  # NAME CONFIG RECIPES... -- MORE
  local name=$1 config=$2
  shift 2
  "$python" tools/memory_table.py "$config" --device "$device" --iterations "$iterations" \
    --warm-up 3 --force --out "$out/$name.md" --json "$out/$name.json" --recipes "$@"
}

for model in rtmdet/rtmdet_s_8xb32-300e_coco swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco; do
  measure "$(basename "$model")" "mmdet::$model.py" \
    amp rematerialize+amp checkpoint+amp lora+amp lora+rematerialize+amp lora+checkpoint+amp \
    ssf+amp ssf+rematerialize+amp \
    --size "$size" "$size" --batch "$batch"
done
measure dino-5scale_swin-l mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py \
  none rematerialize amp rematerialize+amp checkpoint:backbone amp+checkpoint:backbone \
  checkpoint:backbone+checkpoint:encoder amp+checkpoint:backbone+checkpoint:encoder \
  ${SWIN_L_SIZE:+--size $SWIN_L_SIZE}
# Beside Hugging Face's PEFT and with LoRA-FA and all levels, by turns in one process.
"$python" tools/benchmark.py --device "$device" --models rtmdet-s mask-rcnn-swin-t --size "$size" \
  --batch "$batch" --amp on --rounds "$iterations" --out "$out/benchmark.md" \
  --json "$out/benchmark.json" --rows full-remade lora-r8 lora-r8-remade lora-r8-levels lora-fa-r8 \
  lora-fa-r8-remade lora-fa-r8-levels ssf ssf-remade hf-lora-r8
