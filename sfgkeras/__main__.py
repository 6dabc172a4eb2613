"""`python -m sfgkeras` is the command line, for where its program is not on the path."""

from sfgkeras.cli import main

if __name__ == "__main__":
    main()
