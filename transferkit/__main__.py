"""python -m transferkit"""

from transferkit.zoo import stops

if __name__ == "__main__":
    stops.take()  # before click and torch are imported: that takes a second, or many
    from transferkit.cli.main import main

    main()
