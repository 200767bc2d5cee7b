"""Rung 4: the generator learns from corrections (imitation) and from preferences (DPO), through low-rank adapters.

    python -m train.generator --dataset ID [--parent RELEASE] [--turn ID] [--epochs N] [--batch N] [--learning-rate X]
        [--rank N] [--beta X] [--workers N] [--zero-stage 0..3] [--max-steps N] [--json]

The same command again goes on where a killed one was. A model of some billion weights wants GPUs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from kaizen.config import GeneratorSettings, Settings
from kaizen.errors import InvalidInput
from kaizen.learning.chats import Chat, Tokens, chats, tokenised
from kaizen.learning.dataset import read_dataset
from kaizen.learning.export import export_generator
from kaizen.learning.lora import merged, with_adapters
from kaizen.learning.losses import IGNORED, answer_log_probabilities, imitation, preference
from kaizen.models.chat_model import end_of_answer, load_chat_model
from kaizen.records import Dataset, Release
from kaizen.release import answering_of, generator_of
from kaizen.workspace import Workspace, open_workspace
from train.command import Learnt, Rung, run_command
from train.gather import gather
from train.learner import Tensors
from train.loop import train
from train.plan import Plan

RUNG = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorTask:
    """Which generator learns from which data set. `generator`: of the release that it begins as; `rank` of adapters."""

    settings: Settings
    dataset: str
    release: Release
    rank: int
    beta: float
    seed: int

    def open(self) -> GeneratorLearner:
        """Read data and model."""
        workspace = open_workspace(self.settings)
        try:
            generator = generator_of(self.release, self.settings.generator)
            instructions = str(self.release.parts["prompt"]["instructions"])
            content = read_dataset(workspace.store, self.dataset)
            pool = chats(content.demonstrations, answering_of(self.release), generator, instructions)
            return GeneratorLearner(generator, workspace.model_path(generator.model), pool, self)
        finally:
            workspace.ledger.close()


class GeneratorLearner:
    """A generator with adapters, and the demonstrations that it learns from."""

    def __init__(self, generator: GeneratorSettings, path: Path, pool: Sequence[Chat], task: GeneratorTask) -> None:
        self._tokenizer, model = load_chat_model(path, torch.float32)
        self._end = end_of_answer(model, self._tokenizer)
        self._longest = generator.max_tokens
        self._pool = self._fitting(pool, generator.context_tokens)
        self.examples = len(self._pool)
        torch.manual_seed(task.seed)  # adapters begin at random, the same in every worker
        compares = any(chat.rejected for chat in self._pool)
        self.module: Instructed = Instructed(with_adapters(model, task.rank), task.beta, compares=compares)

    @property
    def tokenizer(self) -> Any:  # noqa: ANN401 (transformers' own)
        """The generator's tokenizer."""
        return self._tokenizer

    def batch(self, rows: Sequence[int], step: int) -> Tensors:
        """Chosen answers (b, t) and, where any example has them, rejected ones; `step` changes nothing."""
        chosen = [self._pool[row] for row in rows]
        tokens = [self._tokens(chat, chat.chosen) for chat in chosen]
        if self.module.compares:
            # A demonstration without a rejected answer stands there with its own, which the loss then leaves out.
            tokens += [self._tokens(chat, chat.rejected or chat.chosen) for chat in chosen]
        return {
            **left_padded(tokens),
            "compared": torch.tensor([bool(chat.rejected) for chat in chosen]),
            "weights": torch.tensor([chat.weight for chat in chosen]),
        }

    def _tokens(self, chat: Chat, answer: str) -> Tokens:
        return tokenised(chat.prompt, answer, self._tokenizer, end=self._end, longest_answer=self._longest)

    def _fitting(self, pool: Sequence[Chat], context: int) -> list[Chat]:
        kept = [chat for chat in pool if len(self._tokens(chat, "").prompt) <= context]
        if not kept:
            raise InvalidInput("No demonstration fits in the generator's context.",
                               advice="Raise generator.context_tokens, or lower answering.source_tokens.")  # fmt: skip
        return kept


class Instructed(torch.nn.Module):
    """Imitation of corrections and preference among answers, each row by its weight. `compares`: any row has a pair."""

    def __init__(self, model: Any, beta: float, *, compares: bool) -> None:  # noqa: ANN401 (peft's own)
        super().__init__()
        self.model = model
        self.compares = compares
        self._beta = beta

    def forward(self, batch: Tensors) -> torch.Tensor:
        """Return the weighted mean loss, scaled for a mean over workers; see `learner.Learner`."""
        labels, weights = batch["labels"], batch["weights"]
        logits = self.logits(batch)
        rows = len(weights)
        with torch.autocast(logits.device.type, enabled=False):
            losses = imitation(logits[:rows], labels[:rows])
            if self.compares:
                total, _ = answer_log_probabilities(logits, labels)
                pairs = preference(total[:rows], total[rows:], *self._reference(batch), self._beta)
                losses = torch.where(batch["compared"], pairs, losses)
        workers = torch.distributed.get_world_size()
        return workers * (losses * weights).sum() / gather(weights).sum()

    def _reference(self, batch: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """What the generator gave both answers before it learnt: the same weights without the adapters."""
        with torch.no_grad(), self.model.disable_adapter():
            total, _ = answer_log_probabilities(self.logits(batch), batch["labels"])
        rows = len(batch["weights"])
        return total[:rows], total[rows:]

    def logits(self, batch: Tensors) -> torch.Tensor:
        """(b, answer + 1, v): for the last tokens only, where all answers are; a vocabulary is large."""
        mask = batch["mask"]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = self.model(
            input_ids=batch["ids"], attention_mask=mask, position_ids=positions, use_cache=False,
            logits_to_keep=batch["labels"].shape[1],
        )  # fmt: skip
        logits: torch.Tensor = out.logits
        return logits


def left_padded(rows: Sequence[Tokens]) -> Tensors:
    """Prompts with their answers, ends aligned: ids and mask (b, t), labels (b, longest answer + 1) of the last."""
    longest = max(len(row.prompt) + len(row.answer) for row in rows)
    kept = max(len(row.answer) for row in rows) + 1
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full((len(rows), kept), IGNORED)
    for i, row in enumerate(rows):
        whole = torch.tensor([*row.prompt, *row.answer])
        ids[i, -len(whole) :] = whole
        mask[i, -len(whole) :] = 1
        labels[i, -len(row.answer) :] = torch.tensor(row.answer)
    return {"ids": ids, "mask": mask, "labels": labels}


def learn_generator(
    workspace: Workspace, parent: Release, dataset: Dataset, plan: Plan, run: Path, *, rank: int, beta: float
) -> Learnt:
    """Train on the connected cluster and store the new generator. Raises BadModel, InvalidInput, Unavailable."""
    generator = generator_of(parent, workspace.settings.generator)
    if generator.kind not in ("llama_cpp", "transformers"):
        raise InvalidInput(f"The release's generator is {generator.kind}: it has no weights here that could learn.",
                           advice="Learn from a release with a generator of its own.")  # fmt: skip
    task = GeneratorTask(
        settings=workspace.settings, dataset=dataset.artifact, release=parent, rank=rank, beta=beta, seed=plan.seed
    )
    trained = train(task, plan, run, what="generator")
    learner = task.open()
    weights = {name.removeprefix("model."): value for name, value in trained.weights.items()}
    model = merged(learner.module.model, weights)
    part, apart = export_generator(model, learner.tokenizer, generator, workspace.store)
    figures = {"demonstrations": learner.examples, "export_divergence": round(apart, 5)}
    return Learnt(parts={"generator": part}, trained=trained, figures=figures)


def main(arguments: list[str] | None = None) -> int:
    """Run as a command; returns the exit status."""
    rung = Rung(number=RUNG, module="train.generator", description=__doc__ or "", epochs=2, batch=8, learning_rate=1e-4)
    parser = rung.parser()
    parser.add_argument("--rank", type=int, default=16, help="of the adapters")
    parser.add_argument("--beta", type=float, default=0.1, help="how dearly leaving the old generator is paid for")
    return run_command(rung, parser.parse_args(arguments), learn_generator, ("rank", "beta"))


if __name__ == "__main__":
    sys.exit(main())
