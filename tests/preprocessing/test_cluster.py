import os
import signal
import socket
import time

import numpy as np
import pytest

from sfgkeras.data.nifti import read_image
from sfgkeras.errors import ConfigError
from sfgkeras.preprocessing.folder import run_folder
from sfgkeras.preprocessing.folder.manifest import Manifest


@pytest.mark.slow
def test_a_cluster_loses_nothing_and_does_nothing_twice_when_a_worker_is_killed(cohort):
    from distributed import Client, LocalCluster

    for number in range(4, 12):
        source = cohort / "images" / f"s{number % 4}.nii.gz"
        (cohort / "images" / f"s{number}.nii.gz").write_bytes(source.read_bytes())
    steps, settings = "n4, nyul, whiten", {"n4_iterations": "20, 20"}
    events = []
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster, Client(cluster.scheduler_address, set_as_default=False) as client:  # fmt: skip
        pids = list(client.run(os.getpid).values())

        def kill_one(done, total, subject_id, status):
            if status == "done" and not any(event[1] == "done" for event in events):
                os.kill(pids[0], signal.SIGKILL)
            events.append((subject_id, status))

        result = run_folder(
            cohort / "images", cohort / "out", steps, settings, scheduler=cluster.scheduler_address,
            pictures=False, progress=kill_one,
        )  # fmt: skip
    assert result.exit_code == 0
    assert sorted(result.done) == sorted(f"s{number}" for number in range(12))
    assert len([event for event in events if event[1] == "done"]) == 12
    rows = (cohort / "out" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 13
    assert set(Manifest(cohort / "out" / "manifest.csv").records) == set(result.done)
    local = run_folder(cohort / "images", cohort / "local", steps, settings, pictures=False)
    for name, path in local.outputs.items():
        np.testing.assert_allclose(read_image(result.outputs[name]).array, read_image(path).array, atol=2e-3)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://127.0.0.1:9", "does not answer .Connection refused."),
        ("127.0.0.1:9", "does not answer .Connection refused."),
        ("tcp://no-such-host.invalid:8786", "does not answer"),
        ("tcp://127.0.0.1", "is no address .it has no host or no port.; write e.g. tcp://head:8786"),
        ("tcp://127.0.0.1:port", "is no address"),
        ("8786", "is no address"),
    ],
)
def test_a_scheduler_that_does_not_answer_is_refused_at_once_in_one_line(cohort, address, words):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"^scheduler = {address!r} {words}") as refused:
        run_folder(cohort / "images", cohort / "out", "whiten", scheduler=address, pictures=False)
    assert time.monotonic() - began < 10
    assert len(str(refused.value).splitlines()) == 1


def test_what_listens_and_is_no_scheduler_is_refused(cohort, monkeypatch):
    monkeypatch.setattr("sfgkeras.preprocessing.folder.cluster.SECONDS_TO_CONNECT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match="does not answer") as refused:
            run_folder(cohort / "images", cohort / "out", "whiten", scheduler=address, pictures=False)
    assert len(str(refused.value).splitlines()) == 1
