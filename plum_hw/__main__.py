"""`python -m plum_hw`: the `plum` command line."""

from plum_hw.cli import main

if __name__ == "__main__":
    main()
