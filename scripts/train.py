"""Train a network on folders of pictures, one folder a class.

    python scripts/train.py model=smallcnn data.root=folder-with-female-and-male

`--help` explains the options.
"""

import sys
from pathlib import Path

import hydra
from command import fail, register_resolvers
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from gender_recognizer.training.run import best_accuracy, run
from gender_recognizer.training.settings import TrainSettings


@hydra.main(version_base="1.3", config_path="../configs", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Turn the configuration into settings and train."""
    hydra_config = HydraConfig.get()
    run_dir = Path(hydra_config.runtime.output_dir)
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainSettings), cfg))
        chosen = ("model=", "model.", "experiment=")
        if settings.init_from is not None and not any(o.startswith(chosen) for o in hydra_config.overrides.task):
            settings.model = {}
        settings.run_dir = run_dir
        if hydra_config.mode == RunMode.MULTIRUN:
            return best_accuracy(settings)
        run(settings)
    except (ValueError, OSError) as error:
        if hydra_config.mode != RunMode.MULTIRUN:
            fail(error)
        (run_dir / "failed.txt").write_text(f"{type(error).__name__}: {error}\n")
        return float("nan")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    register_resolvers()
    if rank_zero_only.rank > 0:  # one run folder, whoever starts the processes: only the first one writes
        sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"]
    main()
