"""A whole MLflow server in one process: `serve.py FOLDER PORT` (0: a free one).

Prints its port on one line when it serves. Ends when its standard input does, and so with whoever started it.
"""

import os
import socket
import sys
import threading
from pathlib import Path

folder, port = Path(sys.argv[1]).resolve(), int(sys.argv[2])


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()

# As the command `mlflow server` tells its own worker processes.
from mlflow import server  # noqa: E402

os.environ[server.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/runs.db"
os.environ[server.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
os.environ[server.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder / "artifacts")
os.environ[server.SERVE_ARTIFACTS_ENV_VAR] = "true"

import uvicorn  # noqa: E402
from mlflow.server import handlers  # noqa: E402
from mlflow.server.fastapi_app import app  # noqa: E402

# Makes the database.
handlers.initialize_backend_stores(
    os.environ[server.BACKEND_STORE_URI_ENV_VAR],
    default_artifact_root="mlflow-artifacts:/",
)

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen(64)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
