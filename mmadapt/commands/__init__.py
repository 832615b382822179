"""The subcommands of ``mmadapt``, a module each with ``main(arguments)``."""
