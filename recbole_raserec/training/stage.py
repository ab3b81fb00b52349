"""RecBole's Trainer for one stage, with seeded epochs, exact resume, safe checkpoints, and ranks instead of scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import init_seed
from torch import Tensor, nn
from torch.nn.utils.clip_grad import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from recbole_raserec.config.config import Config
from recbole_raserec.errors import ConfigError
from recbole_raserec.evaluation.metrics import Metrics, recbole_metrics
from recbole_raserec.evaluation.ranking import Ranks
from recbole_raserec.runtime import processes
from recbole_raserec.runtime.files import only_writer
from recbole_raserec.runtime.machine import HeapGrowth, return_freed
from recbole_raserec.runtime.progress import bar
from recbole_raserec.runtime.recbole_faults import without_anomaly_mode
from recbole_raserec.training import checkpoints
from recbole_raserec.training.course import Course, OnEpoch, check_finite, seed_of
from recbole_raserec.training.optimizers import FUSED, DenseAndSparse, averaged, in_order, lazy_and_rest, without


class StageTrainer(Trainer):
    """One training stage of ``module``, validated on the validation part.

    Subclasses define a step (:meth:`batches`, :meth:`loss`) and the ranking of a part (:meth:`rank`).

    Parameters
    ----------
    module : the module that is trained.
    stage : name of the stage in logs and checkpoints.
    data_sha256 : SHA-256 of the data.
    source : identifies the input of the stage; with the configuration it gives the names of the checkpoints.
    """

    rate = "learning_rate"  # the parameter that is the stage's learning rate
    lazy: Sequence[Tensor] = ()  # weights with sparse gradients
    validates = True  # whether the validation part decides which epoch is kept; only then weights are averaged

    def __init__(self, config: Config, module: nn.Module, stage: str, data_sha256: str, source: str) -> None:
        super().__init__(config, module)
        self.stage, self.data_sha256 = stage, data_sha256
        folder = Path(self.tensorboard.log_dir)
        self.tensorboard.close()
        self.tensorboard: SummaryWriter = SummaryWriter(str(folder / stage))  # a folder per stage separates the curves
        name = checkpoints.fingerprint(config.plain(), source, stage)
        stem = f"{config['dataset']}-{config['backbone']}-{stage}-{name}"
        self.saved_model_file = str(Path(self.checkpoint_dir) / f"{stem}.pth")
        self.last_file = Path(self.checkpoint_dir) / f"{stem}.last.pth"
        self.curve: list[float] = []  # validation score of every evaluated epoch
        self.heap = HeapGrowth()
        self.earlier = 0.0  # training seconds of the earlier processes, if the run was resumed
        decay = config["ema_decay"] if self.validates else 0.0
        self.average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None

    # -- what a subclass defines -------------------------------------------------------------------

    def batches(self, epoch: int) -> Iterable[Any]:
        """The batches of an epoch (or this process's shares of them). Their order depends only on (seed, epoch)."""
        raise NotImplementedError

    def loss(self, batch: Any) -> Tensor:
        """Scalar loss of one batch. If several processes share the batch, the sum of their losses is its loss."""
        raise NotImplementedError

    def rank(self, part: Any, show_progress: bool) -> Ranks:
        """Ranks of a part's targets under both protocols."""
        raise NotImplementedError

    def zero_loss(self) -> Tensor:
        """Zero loss that keeps every dense parameter in the graph, for a process whose share of a batch is empty."""
        return 0.0 * torch.stack([p.sum() for p in without(self.model.parameters(), self.lazy)]).sum()

    def _build_optimizer(self, **kwargs: Any) -> Any:
        """RecBole's optimiser. Adam is fused, and it is lazy for embeddings with sparse gradients."""
        adam = self.learner.lower() == "adam"
        self.lazy, rest = lazy_and_rest(self.model, allowed=adam and not self.weight_decay and not self.clip_grad_norm)
        dense = super()._build_optimizer(**{"params": rest, **kwargs})
        if adam and FUSED:
            for group in dense.param_groups:
                group["fused"] = True
        return DenseAndSparse(dense, torch.optim.SparseAdam(self.lazy, lr=self.learning_rate)) if self.lazy else dense

    # -- the stage ---------------------------------------------------------------------------------

    def run(self, valid_part: Any, show_progress: bool, on_epoch: OnEpoch | None = None) -> dict[str, float]:
        """Train until early stopping, restore the best epoch, and return its validation metrics.

        With ``resume`` a run goes on after its last epoch as if never interrupted. A finished run is only loaded.

        Parameters
        ----------
        on_epoch : called with the stage and the score of each validation, also for validations before a resumption.
        """

        def after(epoch: int, score: float) -> None:
            self._save_last(epoch)
            if on_epoch is not None:
                on_epoch(self.stage, score)

        with self._alone():
            return self._run(valid_part, show_progress, on_epoch, after)

    def _alone(self) -> AbstractContextManager[None]:
        """No other process trains the same stage in the same folder meanwhile. With ``resume`` one waits for it."""
        files = self.last_file, bool(self.config["resume"]), Path(self.saved_model_file)
        return only_writer(*files) if processes.rank() == 0 else nullcontext()

    def _run(self, valid_part: Any, show_progress: bool, on_epoch: OnEpoch | None, after: Any) -> dict[str, float]:
        finished = self.config["resume"] and self._restore_last()
        if on_epoch is not None:
            for score in self.curve:
                on_epoch(self.stage, score)
        if not finished:
            self.fit(None, valid_part, show_progress=show_progress, callback_fn=after)
            self._save_last(self.epochs - 1, finished=True)
        path = self.saved_model_file
        best = processes.from_first(lambda: checkpoints.best_of(Path(path), self.best_valid_result, self.device))
        if best is None:
            raise ConfigError("checkpoint_dir", path, "the best epoch cannot be read", "run the command again")
        self.model.load_state_dict(best["state_dict"])
        self.tensorboard.close()
        return_freed()  # a search may be next, with large blocks of its own
        return best["valid"]

    @property
    def course(self) -> Course:
        """The course of the training so far, including the time before a resumption."""
        return Course(self.curve, [float(loss) for loss in self.train_loss_dict.values()], self.earlier)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """RecBole's ``fit``. It also starts the clock of the seconds that the checkpoints store."""
        self._start = perf_counter()
        return super().fit(*args, **kwargs)

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, show_progress: bool = False) -> float:
        seed = seed_of(self.config["seed"], self.stage, epoch_idx)
        init_seed(seed, self.config["reproducibility"])
        self.model.train()
        total = torch.zeros((), device=self.device)
        batches = self.batches(epoch_idx)
        if processes.rank() > 0:
            torch.manual_seed(seed + processes.rank())  # same batches in all processes, different dropout
        with without_anomaly_mode():
            for batch in bar(f"{self.stage} {epoch_idx:>3}", show_progress)(batches):
                total += self._step(batch)
                self.heap.after_step()
        self.heap.after_epoch()
        total = processes.total(total)
        check_finite(total.item(), self.model, self._place(epoch_idx), self.rate, self.config[self.rate])
        if self.validates and (epoch_idx + 1) % self.eval_step:  # no validation follows, after which it is saved
            self.train_loss_dict[epoch_idx] = total.item()
            self._save_last(epoch_idx)
        return total.item()

    def _place(self, epoch: int) -> str:
        kept = f"; {self.last_file} has the epoch before" if epoch else ""
        return f"in epoch {epoch} of stage {self.stage}{kept}"

    def _step(self, batch: Any) -> Tensor:
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.enable_amp):
            loss = self.loss(batch)
        loss.backward()
        processes.sum_gradients(self.model.parameters(), self.lazy)
        if self.clip_grad_norm:
            clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return loss.detach()

    def evaluate(self, eval_data: Any, *args: Any, show_progress: bool = False, **kwargs: Any) -> dict[str, float]:
        """RecBole's metrics of a part, by the unmasked ranking."""
        return recbole_metrics(self.rank(eval_data, show_progress).unmasked, Metrics.of(self.config))

    # -- checkpoints -------------------------------------------------------------------------------

    def _state(self, epoch: int) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "epoch": epoch,
            "config": self.config.plain(),
            "data_sha256": self.data_sha256,
            "state_dict": self.model.state_dict(),
        }

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        with averaged(self.model, self.average):
            score, self._valid_result = super()._valid_epoch(valid_data, show_progress)
        self.curve.append(float(score))
        return score, self._valid_result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        """Save the best epoch so far."""
        with averaged(self.model, self.average):
            state = {**self._state(epoch), "valid": self._valid_result, "curve": self.curve}
            self._write(self.saved_model_file, state)

    def _save_last(self, epoch: int, finished: bool = False) -> None:
        progress = {
            "finished": finished,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": self.best_valid_result,
            "curve": self.curve,
            "losses": self.train_loss_dict,
            "seconds": self.earlier + perf_counter() - self._start,
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }
        self._write(self.last_file, {**self._state(epoch), **progress})

    def _restore_last(self) -> bool:
        """Restore the state of the last epoch that is whole. Return True if training had finished."""
        last = processes.from_first(self._last_good)  # the other processes need no access to its folder
        if last is None:
            return False
        self._restore(last)
        self.logger.info(f"{self.stage}: resumed after epoch {last['epoch']} from {self.last_file}")
        return bool(last["finished"]) or self.cur_step > self.stopping_step or self.start_epoch >= self.epochs

    def _last_good(self) -> dict[str, Any] | None:
        best = Path(self.saved_model_file) if self.validates else None
        return checkpoints.last_good(self.last_file, best, self.device)

    def _write(self, path: str | Path, state: dict[str, Any]) -> None:
        if processes.rank() == 0:
            checkpoints.save(Path(path), state, keep=True)

    def _restore(self, last: dict[str, Any]) -> None:
        names, earlier = list(self.model.state_dict()), list(last["state_dict"])
        self.model.load_state_dict(last["state_dict"])
        self.optimizer.load_state_dict(in_order(last["optimizer"], earlier, names))
        if self.average is not None:
            self.average.load_state_dict(last["average"])
        self.start_epoch, self.cur_step, self.curve = last["epoch"] + 1, last["cur_step"], last["curve"]
        self.best_valid_score, self.best_valid_result = last["best_valid_score"], last["best_valid_result"]
        self.train_loss_dict, self.earlier = last.get("losses", {}), last.get("seconds", 0.0)  # not in older files
