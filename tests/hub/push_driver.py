"""Runs in a process of its own, since huggingface_hub reads its address on import: one command a line, as JSON.

{"arguments": [...], "token": "..."} -> {"status": 0, "out": "...", "err": "..."}
"""

import contextlib
import io
import json
import os
import sys

from anatomy_vlm.cli import main


for line in sys.stdin:
    request = json.loads(line)
    os.environ["HF_TOKEN"] = request["token"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(request["arguments"])
    print(json.dumps({"status": status, "out": out.getvalue(), "err": err.getvalue()}), flush=True)
