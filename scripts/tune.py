"""Search for good training options with Optuna: unpromising trials are stopped early, and the same call goes on.

    python scripts/tune.py data.root=folder-with-female-and-male tune.num_trials=30

`--help` explains the options.
"""

from pathlib import Path

import hydra
from command import fail, register_resolvers
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gender_recognizer.training.settings import TuneSettings
from gender_recognizer.training.tuning import run


@hydra.main(version_base="1.3", config_path="../configs", config_name="tune")
def main(cfg: DictConfig) -> None:
    """Turn the configuration into settings and search."""
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TuneSettings), cfg))
        settings.run_dir = Path(HydraConfig.get().runtime.output_dir)
        run(settings)
    except (ValueError, OSError) as error:
        fail(error)


if __name__ == "__main__":
    register_resolvers()
    main()
