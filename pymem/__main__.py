"""``python -m pymem``: the command line where the script is not on the path."""

from pymem.cli import main

if __name__ == "__main__":
    main()
