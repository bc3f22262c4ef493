"""What MLflow's own client finds: `read.py URI EXPERIMENT...` prints, for each experiment, its runs as JSON."""

import hashlib
import json
import os
import sys

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

uri, experiments = sys.argv[1], sys.argv[2:]
client = MlflowClient(uri)


def files(run, path=None):
    for found in client.list_artifacts(run.info.run_id, path):
        if found.is_dir:
            yield from files(run, found.path)
        else:
            local = download_artifacts(run_id=run.info.run_id, artifact_path=found.path, tracking_uri=uri)
            with open(local, "rb") as file:
                yield found.path, hashlib.sha256(file.read()).hexdigest()
            os.remove(local)


def told(run):
    history = {
        key: [[entry.value, entry.timestamp, entry.step] for entry in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }
    return {
        "id": run.info.run_id,
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "metrics": history,
        "tags": run.data.tags,
        "files": dict(files(run)),
    }


all_told = {}
for name in experiments:
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    all_told[name] = [told(run) for run in runs]
json.dump(all_told, sys.stdout)
