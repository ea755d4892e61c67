"""``python -m builder`` is ``lockship``."""

from builder.cli import main

if __name__ == "__main__":
    main()
