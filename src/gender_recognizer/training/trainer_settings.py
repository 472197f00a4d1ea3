"""The options of Lightning's trainer and of loggers, with their defaults.

configs/trainer and configs/logger show them.
"""

from dataclasses import dataclass, fields
from typing import Any


@dataclass
class TrainerSettings:
    """The arguments of Lightning's Trainer that a text can give; None is its own default unless it says otherwise.

    Attributes:
        accelerator: cpu, gpu, tpu, mps; auto takes what there is.
        strategy: of several devices, such as ddp.
        devices: how many, or which, such as [0,1].
        num_nodes: machines.
        precision: auto is bf16-mixed where the processor computes in it, else 32-true.
        logger: false logs nothing; true is what the group logger says.
        fast_dev_run: true, or a number, tries one batch, or so many, of everything and keeps no model.
        max_epochs: None is 30 from random weights, more where the pictures are few, and 10 from trained ones.
        min_epochs: at least so many, whatever early stopping says.
        max_steps: at most so many; -1 for no limit.
        min_steps: at least so many.
        max_time: such as 00:02:00:00 for two hours.
        limit_train_batches: number, or share such as 0.1, of the batches of an epoch.
        limit_val_batches: the same of the validation part.
        limit_test_batches: the same of the test part.
        limit_predict_batches: of prediction, which training does not do.
        overfit_batches: number or share of training batches to use for validation as well, to find faults.
        val_check_interval: validate after so many batches, or such a share of an epoch.
        check_val_every_n_epoch: validate after so many epochs.
        num_sanity_val_steps: validation batches to try before training.
        log_every_n_steps: how often what changes within an epoch is logged.
        enable_checkpointing: needed: the result is the best checkpoint.
        enable_progress_bar: false leaves out the bar below the lines; a pipe or a file never has one.
        enable_model_summary: true prints the network's layers.
        accumulate_grad_batches: add the gradients of so many batches before a step.
        gradient_clip_val: largest norm, or value, of gradients.
        gradient_clip_algorithm: norm or value.
        deterministic: true refuses operations whose results vary; warn warns.
        benchmark: let cuDNN try which of its algorithms is fastest.
        inference_mode: switch off all of autograd in validation, not only gradients.
        use_distributed_sampler: has no effect: the loaders share out pictures themselves.
        profiler: simple, advanced or pytorch: measure where time goes.
        detect_anomaly: find the operation that made a gradient NaN; slow.
        barebones: for measurements of Lightning itself; refuses what training needs here.
        sync_batchnorm: share statistics of batch normalisation between devices.
        reload_dataloaders_every_n_epochs: 0 for never.
        enable_autolog_hparams: has no effect: the options are logged at the end, with the results.
        model_registry: of Lightning's own cloud.
    """

    accelerator: str = "auto"
    strategy: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    precision: Any = "auto"
    logger: bool = True
    fast_dev_run: Any = False
    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: Any = None
    limit_train_batches: Any = None
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    limit_predict_batches: Any = None
    overfit_batches: Any = 0.0
    val_check_interval: Any = None
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int | None = 0
    log_every_n_steps: int | None = 10
    enable_checkpointing: bool | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = False
    accumulate_grad_batches: int = 1
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    deterministic: Any = None
    benchmark: bool | None = None
    inference_mode: bool = True
    use_distributed_sampler: bool = True
    profiler: str | None = None
    detect_anomaly: bool = False
    barebones: bool = False
    sync_batchnorm: bool = False
    reload_dataloaders_every_n_epochs: int = 0
    enable_autolog_hparams: bool = True
    model_registry: str | None = None

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to train with or nothing to keep."""
        if self.max_epochs is not None and self.max_epochs < 1:
            raise ValueError(f"trainer.max_epochs is {self.max_epochs}; expected a whole number, 1 or more")
        if self.max_steps == 0 or self.max_steps < -1:
            raise ValueError(f"trainer.max_steps is {self.max_steps}; expected 1 or more, or -1 for no limit")
        if self.enable_checkpointing is False or self.barebones:
            name = "barebones" if self.barebones else "enable_checkpointing"
            raise ValueError(
                f"trainer.{name} is {getattr(self, name)}: the result of training is its best checkpoint; "
                "to try whether everything works, use trainer.fast_dev_run=true"
            )
        if self.limit_val_batches is not None and self.limit_val_batches == 0:
            raise ValueError(
                "trainer.limit_val_batches is 0; the best epoch is chosen by validation, expected 1 or more"
            )


@dataclass
class LoggerSettings:
    """Where curves and results are logged; `logger=[tensorboard,csv]` names several, `logger=[]` none.

    Attributes:
        tensorboard: in the run folder, for `tensorboard --logdir outputs`; taken where none is named.
        csv: metrics.csv in the run folder.
        mlflow: arguments of Lightning's MLFlowLogger (extra mlflow).
        wandb: arguments of Lightning's WandbLogger (extra wandb); offline unless told otherwise.
    """

    tensorboard: dict[str, Any] | None = None
    csv: dict[str, Any] | None = None
    mlflow: dict[str, Any] | None = None
    wandb: dict[str, Any] | None = None

    def named(self) -> dict[str, dict[str, Any]]:
        """Return the arguments of each logger that is wanted, by its name."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: options for name, options in chosen.items() if options is not None} or {"tensorboard": {}}
