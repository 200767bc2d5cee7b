"""A module under DeepSpeed: ZeRO, gradient clipping, bfloat16. Nothing is compiled on the way."""

from __future__ import annotations

from typing import Any

import deepspeed
import deepspeed.ops
import torch

from train.plan import Plan

_NEVER = 10**9


def start_engine(module: torch.nn.Module, plan: Plan, *, share: int, steps: int) -> Any:  # noqa: ANN401 (deepspeed's)
    """Wrap `module` for training; every worker must call it, after torch.distributed is up.

    Args:
        share: examples of one step that this worker sees.
        steps: of the whole run, for the learning rate.
    """
    _no_shared_memory_operator()
    module.register_state_dict_post_hook(_leave_out_frozen)
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # torch's own optimizer: DeepSpeed's for CPUs is compiled at its first use.
    optimizer = torch.optim.AdamW(learning, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: plan.rate(step, steps))
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=engine_config(plan, share=share, bfloat16=has_bfloat16(plan)),
        dist_init_required=False,
    )
    return engine


def engine_config(plan: Plan, *, share: int, bfloat16: bool) -> dict[str, Any]:
    """DeepSpeed's configuration for `plan`. Weights stay float32 under autocast, so what is exported is exact."""
    return {
        "train_micro_batch_size_per_gpu": share,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": plan.clip,
        "zero_optimization": {"stage": plan.zero_stage},
        "zero_allow_untested_optimizer": True,
        "torch_autocast": {"enabled": bfloat16, "dtype": "bfloat16"},
        "steps_per_print": _NEVER,
    }


def has_bfloat16(plan: Plan) -> bool:
    """Whether matrix products are done in bfloat16."""
    if plan.precision != "auto":
        return plan.precision == "bfloat16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def learnt_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What learnt, by name, float32 on the CPU. Every worker calls it: stage 3 gathers pieces."""
    found = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
                found[name] = parameter.detach().to("cpu", torch.float32, copy=True)
    return found


def _leave_out_frozen(module: torch.nn.Module, state: dict[str, Any], prefix: str, _: object) -> None:
    """Of checkpoints. DeepSpeed leaves frozen weights out by their first name; a tied output layer has another one."""
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            state.pop(prefix + name, None)


def _no_shared_memory_operator() -> None:
    """On CPUs DeepSpeed compiles an operator for reductions between processes of one machine: 40 s with a compiler.

    It pays for inference over several sockets only; saying that no operator is compatible leaves the work to gloo.
    """
    if not torch.cuda.is_available():
        deepspeed.ops.__dict__["__compatible_ops__"] = {}
