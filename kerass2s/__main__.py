"""`python -m kerass2s` is the command line."""

from kerass2s.cli import main

if __name__ == "__main__":
    main()
