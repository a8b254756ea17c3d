from featsvc.hashing.warm import warm


def test_warm_runs_everything_twice_without_harm() -> None:
    warm()
    warm()
