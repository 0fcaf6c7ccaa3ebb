"""Folders that hosts of models are given: a web page, and what servers read."""

from __future__ import annotations

from kerass2s.deploy.web import write_page

__all__ = ["write_page"]
