"""The command line: `kerass2s COMMAND`; the only room that knows all the others."""

from __future__ import annotations

from kerass2s.cli import benchmarking, deploying, evaluating, exporting, inference, listing, training
from kerass2s.cli.app import app

__all__ = ["app", "main"]

training.register(app)
inference.register(app)
evaluating.register(app)
exporting.register(app)
deploying.register(app)
listing.register(app)
benchmarking.register(app)


def main() -> None:
    """Run the command line and exit: 0 on success, 2 on a user's mistake, 1 on anything else that went wrong."""
    app()
