"""llama.cpp's server with one model. Says its address, and ends when nobody holds its standard input any more."""

import sys

import xllamacpp

model, context, embeds = sys.argv[1], int(sys.argv[2]), len(sys.argv) > 3
params = xllamacpp.CommonParams()
params.model.path = model
params.n_ctx = context
params.n_parallel = 1
params.hostnames = ["127.0.0.1"]
params.port = 0
params.embedding = embeds
server = xllamacpp.Server(params)
print("listening at", server.listening_address, flush=True)
sys.stdin.read()
