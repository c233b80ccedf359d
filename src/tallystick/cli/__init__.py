"""The commands. Each module adds its parser and runs; ``main`` turns errors into exit codes."""
