"""python -m transferkit"""

from transferkit.cli.main import main

if __name__ == "__main__":
    main()
