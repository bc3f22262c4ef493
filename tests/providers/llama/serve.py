"""llama.cpp's server with one model: `serve.py MODEL CONTEXT [embeds]`.

Says its address, and ends when nobody holds its standard input any more.
"""

import os
import sys

# Threads that wait for each other sleep: on a machine that is busy, spinning takes the time of those that are waited for.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import xllamacpp  # noqa: E402

model, context, embeds = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
params = xllamacpp.CommonParams()
params.model.path = model
params.n_ctx = context
# One slot: what a prompt has in common with the one before is not read again.
params.n_parallel = 1
# A prompt is read by all cores. Each word waits for the slowest of its threads: one is as fast where others are at work.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = os.cpu_count()
params.hostnames = ["127.0.0.1"]
params.port = 0
if embeds:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # A text is read at once.
    params.n_batch = params.n_ubatch = context
server = xllamacpp.Server(params)
print("listening at", server.listening_address, flush=True)
sys.stdin.read()
