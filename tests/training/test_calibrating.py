"""What a model trained on few pictures says of its own sureness."""

import pytest
from conftest import make_colour_data, train_settings

from gender_recognizer.models.predictor import load_predictor
from gender_recognizer.training.run import train


@pytest.mark.usefixtures("light_training")
@pytest.mark.parametrize(("count", "is_enough"), [(75, True), (20, False)])
def test_an_accuracy_is_promised_from_all_pictures_that_did_not_train_or_that_is_said_before(
    tmp_path, caplog, count, is_enough
):
    root = make_colour_data(tmp_path / "data", count, wrong=0)
    options = [f"data.root={root}", f"data.cache_dir={tmp_path}/cache", f"outputs={tmp_path}", "data.split=random"]
    options += ["data.split_fractions=[0.2,0.4,0.4]", "trainer.max_epochs=1", f"+run_dir={tmp_path}/run"]
    with caplog.at_level("INFO"):
        result = train(train_settings(*options))
    points = load_predictor(result.checkpoint).info.operating_points
    assert bool(points) == is_enough
    assert ("target_accuracy= will not work with this model" in caplog.text) == (not is_enough)
    if points:
        assert points[0].share == 1


@pytest.mark.usefixtures("light_training")
@pytest.mark.parametrize("run_dir", ["out/run", "out/sweep/0"])
def test_few_pictures_for_random_weights_are_told_of_the_bundled_model_once(
    tmp_path, colour_data, cache_dir, caplog, run_dir
):
    options = [f"data.root={colour_data}", f"data.cache_dir={cache_dir}", f"outputs={tmp_path}/out"]
    options += ["trainer.max_epochs=1", "trainer.limit_train_batches=1", f"+run_dir={tmp_path}/{run_dir}"]
    with caplog.at_level("INFO"):
        result = train(train_settings(*options))
        found = [record for record in caplog.records if "init_from=bundled" in record.getMessage()]
        assert len(found) == (1 if run_dir == "out/run" else 0)
        caplog.clear()
        train(train_settings(*options, f"init_from={result.checkpoint}", f"++run_dir={tmp_path}/out/other"))
    assert "init_from=bundled" not in caplog.text
