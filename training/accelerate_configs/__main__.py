"""Print the file of a configuration."""

import sys

from anatomy_vlm.training.accelerate_configs import config_names, config_path


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(
            f"usage: python -m anatomy_vlm.training.accelerate_configs {{{','.join(config_names())}}}", file=sys.stderr
        )
        return 2
    try:
        print(config_path(arguments[0]))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
