"""The sub-commands of `anatomy-vlm`, one module each: `add_arguments` and `run`, heavy imports inside `run`."""
