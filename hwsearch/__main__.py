"""`python -m hwsearch`, where the command `hwsearch` is not on the path."""

from hwsearch.cli.start import main

if __name__ == "__main__":
    main()
