"""Low-rank adapters: a few weights beside the frozen ones of a generator. Source: Hu et al. 2021, arXiv:2106.09685."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch

from kaizen.errors import BadModel

if TYPE_CHECKING:
    from peft import PeftModel

ALPHA_PER_RANK = 2.0  # the adapters' product is scaled by alpha / rank, so another rank needs no other learning rate


def with_adapters(model: Any, rank: int) -> PeftModel:  # noqa: ANN401 (transformers' own)
    """Freeze `model` and put adapters of `rank` beside all its linear layers but the last. They begin as no change."""
    from peft import LoraConfig, get_peft_model  # seconds, with transformers, which `merged` need not cost

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=int(ALPHA_PER_RANK * rank),
        lora_dropout=0.0,
        target_modules="all-linear",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it asks transformers for something by its old name
        return cast("PeftModel", get_peft_model(model, config))


def merged(model: PeftModel, weights: Mapping[str, torch.Tensor]) -> Any:  # noqa: ANN401 (transformers' own)
    """Return the plain model with the trained adapters `weights` (by their names in `model`) worked into it.

    Raises:
        BadModel: a weight is NaN or infinite, or they are of another model.
    """
    if bad := sorted(name for name, value in weights.items() if not bool(torch.isfinite(value).all())):
        raise BadModel(f"{len(bad)} trained weights are NaN or infinite ({bad[0]}).",
                       advice="Do not use it: lower the learning rate, or look at the data.")  # fmt: skip
    found = model.load_state_dict(dict(weights), strict=False)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if found.unexpected_keys or learning - set(weights):
        raise BadModel("The trained weights are of another model.", advice="Train again.")
    return model.merge_and_unload()
